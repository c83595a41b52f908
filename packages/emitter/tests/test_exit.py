"""Every way in which a process ends, and what is delivered then."""

import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from dataplane_common.local import free_port

RunProgram = Callable[..., Any]

_PROGRAM = """
    import logging, os, signal, sys, threading, time
    from dataplane_emitter import configure

    url, dataset, end = sys.argv[1:]
    emitter = configure(service=dataset, namespace="test", servers=url)
    logging.getLogger().addHandler(emitter.handler())
    for number in range(100):
        logging.warning("work", extra={"number": number})
    emitter.counter("done").inc()
    if end == "sys.exit":
        sys.exit(3)
    elif end == "exception":
        raise RuntimeError("unhandled")
    elif end == "sigterm, handled":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    elif end == "sigint":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests may ignore it
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    elif end == "os._exit, flushed":
        emitter.flush(5)
        os._exit(0)
    elif end == "thread":
        thread = threading.Thread(target=lambda: (time.sleep(0.2), logging.warning("late", extra={"number": 100})))
        thread.start()
"""


@pytest.mark.parametrize(
    ("end", "code", "count"),
    [
        ("end", 0, 100),
        ("sys.exit", 3, 100),
        ("exception", 1, 100),
        ("sigterm, handled", 0, 100),
        ("sigint", -2, 100),
        ("os._exit, flushed", 0, 100),
        ("thread", 0, 101),
    ],
)
def test_an_orderly_end_delivers_everything(
    bus: Any, run_program: RunProgram, dataset: str, end: str, code: int, count: int
) -> None:
    """Each end that runs Python's exit functions, or flushes itself, delivers all logs and metrics."""
    done = run_program(_PROGRAM, bus.url, dataset, end, check=False)
    assert done.returncode == code, done.stderr
    assert "dataplane_emitter" not in done.stderr
    assert sorted(event["number"] for event in bus.events(dataset)) == list(range(count))
    assert len(bus.events(dataset, "METRICS")) == 1


_SUDDEN = """
    import os, signal, sys, time
    from dataplane_emitter import configure

    emitter = configure(service=sys.argv[2], namespace="test", servers=sys.argv[1], linger_ms=20)
    emitter.processor()(None, "info", {"event": "before"})
    while emitter.stats().acknowledged < 1:
        time.sleep(0.01)
    emitter.processor()(None, "info", {"event": "at the end"})
    if sys.argv[3] == "_exit":
        os._exit(0)
    os.kill(os.getpid(), getattr(signal, sys.argv[3]))
    time.sleep(10)
"""


@pytest.mark.parametrize("end", ["_exit", "SIGKILL", "SIGTERM"])
def test_a_sudden_end_loses_at_most_the_linger(bus: Any, run_program: RunProgram, dataset: str, end: str) -> None:
    """Where Python itself gets no chance, what was acknowledged is there; only the last moments may be missing."""
    run_program(_SUDDEN, bus.url, dataset, end, check=False)
    messages = [event["message"] for event in bus.events(dataset)]
    assert messages[0] == "before"
    assert len(messages) <= 2


_WITHOUT_A_BUS = """
import sys
from dataplane_emitter import configure
emitter = configure(service="x", servers=sys.argv[1], exit_timeout_s=float(sys.argv[2]))
emitter.processor()(None, "info", {"event": "lost"})
if sys.argv[3] == "close":
    emitter.close()
    print(emitter.stats().dropped)
"""


@pytest.mark.parametrize("how", ["close", "exit"])
def test_the_end_keeps_its_deadline_without_a_bus(end_before: Callable[..., Any], how: str) -> None:
    """With the bus away, the process ends within its deadline, and one line says how much was not delivered."""
    command = [sys.executable, "-W", "error", "-c", _WITHOUT_A_BUS, f"nats://127.0.0.1:{free_port().number}"]
    done, output, errors = end_before([*command, "0.3", how], [*command, "60", how])
    assert done.returncode == 0
    assert output == ("{'exit': 1}\n" if how == "close" else "")
    assert "1 events were not delivered" in errors


def test_the_end_keeps_its_deadline_with_a_frozen_server(own_bus: Any, run_program: RunProgram, dataset: str) -> None:
    """With the server stopped by SIGSTOP in the middle, the process still ends in time."""
    freezing = """
        import subprocess, sys, time, os, signal
        from dataplane_emitter import configure
        emitter = configure(service=sys.argv[2], namespace="test", servers=sys.argv[1], exit_timeout_s=1)
        log = emitter.processor()
        log(None, "info", {"event": "x"})
        assert emitter.flush(10)
        os.kill(int(sys.argv[3]), signal.SIGSTOP)
        for _ in range(20_000):
            log(None, "info", {"event": "y" * 500})
        time.sleep(0.3)
    """
    started = time.monotonic()
    done = run_program(freezing, own_bus.url, dataset, str(own_bus.server.process.pid), check=False)
    took = time.monotonic() - started
    own_bus.server.resume()
    assert done.returncode == 0, done.stderr
    assert took < 8
    assert "were not delivered" in done.stderr


def test_names_are_resolved_at_the_very_end(bus: Any, run_program: RunProgram, dataset: str) -> None:
    """A program that ends before the connection is made still delivers, although no thread can be started any more."""
    program = """
        import sys
        from dataplane_emitter import configure
        log = configure(service=sys.argv[2], namespace="test", servers=sys.argv[1]).processor()
        log(None, "info", {"event": "short"})
    """
    run_program(program, bus.url.replace("127.0.0.1", "localhost"), dataset)
    assert [event["message"] for event in bus.events(dataset)] == ["short"]


def test_importing_needs_no_other_logging_library(run_program: RunProgram) -> None:
    """The emitter imports without structlog, Typer and Rich, and starts no thread by itself."""
    program = """
        import sys, threading
        import dataplane_emitter, dataplane_emitter.testing
        print(sorted({"structlog", "typer", "rich", "pytest"} & sys.modules.keys()), threading.active_count())
    """
    assert run_program(program).stdout == "[] 1\n"


def test_a_signal_handler_may_log(bus: Any, run_program: RunProgram, dataset: str) -> None:
    """A handler that logs in the middle of log calls never waits for them."""
    program = """
        import logging, signal, sys, time
        from dataplane_emitter import configure
        emitter = configure(service=sys.argv[2], namespace="test", servers=sys.argv[1])
        log = logging.getLogger("app")
        log.setLevel(logging.INFO)
        log.addHandler(emitter.handler())
        count = 0
        def handle(*_):
            global count
            count += 1
            log.info("signal")
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        end = time.monotonic() + 1
        logged = 0
        while time.monotonic() < end:
            log.info("main")
            logged += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert count > 100
        assert emitter.flush(20)
        stats = emitter.stats()
        assert stats.accepted == stats.acknowledged == count + logged, (stats, count, logged)
    """
    run_program(program, bus.url, dataset, timeout_s=60)
