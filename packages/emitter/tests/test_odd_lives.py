"""What applications do to emitters and handlers in the course of their lives, on purpose or not."""

import copy
import gc
import json
import logging
import logging.handlers
import pickle
import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from dataplane_emitter import Emitter, configure
from dataplane_emitter.testing import Captured

MakeEmitter = Callable[..., Emitter]
RunProgram = Callable[..., Any]


def _messages(bus: Any, dataset: str) -> list[str]:
    return [event["message"] for event in bus.events(dataset)]


def test_a_handler_may_be_removed_closed_and_added_again(bus: Any, make_emitter: MakeEmitter, dataset: str) -> None:
    """A handler has no state of its own to lose; `logging.shutdown` does not end the emitter either."""
    emitter = make_emitter(bus.url)
    log, handler = logging.Logger(dataset), emitter.handler()  # noqa: LOG001 - nobody else's
    log.addHandler(handler)
    log.info("first")
    log.removeHandler(handler)
    handler.flush()
    handler.close()
    log.info("to nobody")
    log.addHandler(handler)
    logging.shutdown()
    log.info("second")
    assert emitter.flush(10)
    assert _messages(bus, dataset) == ["first", "second"]


def test_after_close_everything_is_refused_and_nothing_raises(
    bus: Any, make_emitter: MakeEmitter, dataset: str
) -> None:
    """Closed twice, from any thread, and used afterwards: each event is counted as `closed`, instruments are deaf."""
    emitter = make_emitter(bus.url)
    threads = [threading.Thread(target=emitter.close, args=(5,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    emitter.close()
    emitter.processor()(None, "info", {"event": "late"})
    emitter.handler().handle(logging.makeLogRecord({"msg": "late"}))
    emitter.counter("late").inc()
    with emitter.timer("late"):
        pass
    assert not emitter.flush(1)
    assert emitter.stats().dropped == {"closed": 2}
    assert _messages(bus, dataset) == []


def test_two_emitters_of_one_service_are_two_sources(bus: Any, make_emitter: MakeEmitter, dataset: str) -> None:
    """`configure` called twice gives two emitters; closing one leaves the other at work."""
    first, second = make_emitter(bus.url), make_emitter(bus.url)
    first.processor()(None, "info", {"event": "of the first"})
    first.close(5)
    second.processor()(None, "info", {"event": "of the second"})
    assert second.flush(10)
    assert sorted(_messages(bus, dataset)) == ["of the first", "of the second"]
    assert len({event["dp"]["source"] for event in bus.events(dataset)}) == 2


def test_a_thread_may_configure_and_end(bus: Any, make_emitter: MakeEmitter, dataset: str) -> None:
    """The thread that configures need not live as long as the emitter."""
    made: list[Emitter] = []
    thread = threading.Thread(target=lambda: made.append(make_emitter(bus.url)))
    thread.start()
    thread.join()
    made[0].processor()(None, "info", {"event": "x"})
    assert made[0].flush(10)
    assert _messages(bus, dataset) == ["x"]


def test_who_keeps_only_a_handler_keeps_the_emitter(bus: Any, dataset: str) -> None:
    """Nothing ends because the application let go of the emitter itself."""
    emitter = configure(service=dataset, namespace="test", servers=bus.url)
    handler, seen = emitter.handler(), weakref.ref(emitter)
    del emitter
    gc.collect()
    handler.handle(logging.makeLogRecord({"msg": "x"}))
    left = seen()
    assert left is not None
    assert left.flush(10)
    left.close(1)
    assert _messages(bus, dataset) == ["x"]


def test_behind_other_handlers_records_arrive_whole(bus: Any, make_emitter: MakeEmitter, dataset: str) -> None:
    """Through `QueueHandler`, which writes the trace into the message, and `MemoryHandler`; extras included."""
    emitter = make_emitter(bus.url)
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(waiting, emitter.handler())  # type: ignore[arg-type]
    listener.start()
    memory = logging.handlers.MemoryHandler(10, target=emitter.handler())
    log = logging.Logger(dataset)  # noqa: LOG001 - nobody else's
    log.addHandler(logging.handlers.QueueHandler(waiting))  # type: ignore[arg-type]
    log.addHandler(memory)
    try:
        1 / 0  # noqa: B018 - to fail
    except ZeroDivisionError:
        log.exception("order %d", 7, extra={"shop": "de"})
    listener.stop()
    memory.close()
    assert emitter.flush(10)
    events = bus.events(dataset)
    assert [event["shop"] for event in events] == ["de", "de"]
    assert all("ZeroDivisionError" in json.dumps(event) for event in events)
    assert all(event["message"].startswith("order 7") for event in events)


def test_a_formatter_is_not_asked(captured: Captured) -> None:
    """A formatter is for texts; one that logs, or raises, or colours the level does no harm."""
    log, handler = logging.Logger("x"), captured.emitter.handler()  # noqa: LOG001 - nobody else's

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            log.warning("inner")
            raise RuntimeError(record.name)

    handler.setFormatter(Formatter())
    log.addHandler(handler)
    log.warning("outer")
    record = logging.makeLogRecord({"msg": "red", "levelno": logging.ERROR, "levelname": "\x1b[31mERROR\x1b[0m"})
    handler.handle(record)
    assert [event["message"] for event in captured.events] == ["outer", "red"]


def test_a_filter_that_raises_costs_no_event(captured: Captured) -> None:
    """Filters are honoured; one that fails lets the event pass."""
    handler = captured.emitter.handler()
    handler.addFilter(lambda record: bool(record.getMessage() != "no"))
    handler.handle(logging.makeLogRecord({"msg": "no"}))
    handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("x",)}))
    assert [event["message"] for event in captured.events] == ["%d x"]


def test_copies_are_the_emitter_itself(captured: Captured) -> None:
    """Copied configurations of logging, and objects with metrics that are copied, go on with the same emitter."""
    emitter = captured.emitter
    assert copy.deepcopy(emitter) is emitter
    settings = copy.deepcopy({"handlers": {"bus": {"()": emitter.handler}}})
    settings["handlers"]["bus"]["()"]().handle(logging.makeLogRecord({"msg": "x"}))
    copy.deepcopy({"orders": emitter.counter("orders")})["orders"].inc()
    pickle.loads(pickle.dumps(emitter.processor()))(None, "info", {"event": "y"})  # noqa: S301 - our own
    assert [event["message"] for event in captured.events] == ["x", "y"]
    assert captured.total("orders") == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_handler_goes_to_spawned_processes(bus: Any, run_program: RunProgram, dataset: str, method: str) -> None:
    """Handed to a child that `multiprocessing` spawns, it works there under a source of the child's own."""
    program = """
        import logging, multiprocessing, sys
        from dataplane_emitter import configure

        def work(handler):
            log = logging.getLogger("child")
            log.addHandler(handler)
            log.warning("from the child")

        if __name__ == "__main__":
            emitter = configure(service=sys.argv[2], namespace="test", servers=sys.argv[1])
            emitter.processor()(None, "info", {"event": "from the parent"})
            child = multiprocessing.get_context(sys.argv[3]).Process(target=work, args=(emitter.handler(),))
            child.start()
            child.join()
            assert child.exitcode == 0
    """
    run_program(program, bus.url, dataset, method)
    assert sorted(_messages(bus, dataset)) == ["from the child", "from the parent"]
    assert len({event["dp"]["source"] for event in bus.events(dataset)}) == 2


@pytest.mark.parametrize("given", [float("inf"), 1e300, float("nan"), None, "x"])
def test_no_time_is_too_long_to_wait(bus: Any, make_emitter: MakeEmitter, given: Any) -> None:
    """A time-out without end, or one that is none, neither raises nor hinders `flush` and `close`."""
    emitter = make_emitter(bus.url)
    emitter.processor()(None, "info", {"event": "x"})
    emitter.flush(given)
    emitter.close(given)
    assert emitter.stats().acknowledged == 1


@pytest.mark.parametrize("seconds", [0.0, -1e9, 2e9, 1e11, 253_402_300_800.0, 1e17])
def test_a_clock_that_jumps_costs_no_event(captured: Captured, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Whatever the clock says, before 1970 or after 9999, events have a time, and the next ones the right one again."""
    process, handler = captured.emitter.processor(), captured.emitter.handler()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: int(seconds * 10**9))
        patch.setattr(time, "time", lambda: seconds)
        process(None, "info", {"event": "x"})
        handler.handle(logging.LogRecord("x", 20, "f.py", 1, "x", None, None))
    process(None, "info", {"event": "x"})
    times = [event["@timestamp"] for event in captured.events]
    assert times[0] == times[1]
    assert times[2][:4] == time.strftime("%Y", time.gmtime())
    assert captured.emitter.stats().dropped == {}


def test_code_of_the_application_cannot_end_the_emitters_thread(
    bus: Any, make_emitter: MakeEmitter, dataset: str
) -> None:
    """A callback or redactor that calls `sys.exit` on the emitter's thread costs its own value, nothing else."""

    def leave(*_: object) -> Any:
        raise SystemExit(3)

    emitter = make_emitter(bus.url, redact={"redactors": [leave]})
    emitter.gauge("leaves", callback=leave)
    emitter.counter("stays").inc()
    emitter.processor()(None, "info", {"event": "secret", "number": 1})
    assert emitter.flush(10)
    emitter.processor()(None, "info", {"event": "secret", "number": 2})
    assert emitter.flush(10)
    assert _messages(bus, dataset) == ["***", "***"]
    assert [point["metric"]["name"] for point in bus.events(dataset, "METRICS")] == ["stays"]


def test_what_is_logged_on_the_emitters_thread_never_comes_back(
    bus: Any, make_emitter: MakeEmitter, dataset: str
) -> None:
    """Callbacks may log; but sending causes no sending, and nobody counts such a record."""
    emitter = make_emitter(bus.url)
    log = logging.Logger(dataset)  # noqa: LOG001 - nobody else's
    log.addHandler(emitter.handler())
    emitter.gauge("asked", callback=lambda: log.warning("asked") or 1.0)
    assert emitter.flush(10)
    assert emitter.stats().accepted == 1
    assert _messages(bus, dataset) == []


def test_a_callback_may_close_the_emitter(
    bus: Any, make_emitter: MakeEmitter, wait_until: Callable[..., None], dataset: str
) -> None:
    """Closed from its own thread, an emitter still delivers and tells its final account."""
    emitter = make_emitter(bus.url)
    emitter.gauge("ends", callback=lambda: emitter.close(5) or 1.0)
    emitter.processor()(None, "info", {"event": "x"})
    emitter.flush(10)
    wait_until(lambda: any(account.final for account in bus.accounts(dataset)))
    assert _messages(bus, dataset) == ["x"]
