"""Exceptions that signal handlers raise in the middle of log calls."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataplane_emitter import trouble
from dataplane_emitter.testing import capture_events

RunProgram = Callable[..., Any]

_PROGRAM = """
    import logging, signal, sys, threading, time
    from dataplane_emitter import configure
    emitter = configure(service=sys.argv[2], namespace="test", servers=sys.argv[1])
    handler, processor = emitter.handler(), emitter.processor()
    record = logging.makeLogRecord({"msg": "%s %s", "args": ("x", 1), "levelno": 20, "levelname": "INFO"})
    odd = logging.makeLogRecord({"msg": "%s", "args": ({"password": "x", "at": object()},), "odd": object()})
    class Late(Exception if sys.argv[3] == "Exception" else BaseException):
        pass

    class Limit:
        is_armed, raised = False, 0
        def __call__(self, _, frame):
            if self.is_armed:
                self.is_armed, self.raised, self.where = False, self.raised + 1, frame
                raise Late

    limit = Limit()
    signal.signal(signal.SIGALRM, limit)
    while limit.raised < 400:
        try:
            limit.is_armed = True
            signal.setitimer(signal.ITIMER_REAL, 0.0005 + limit.raised * 1e-6)
            while limit.is_armed:
                handler.handle(record)
                processor(None, "info", {"event": "x", "number": 1})
                processor(None, "error", {"event": "%s", "odd": {b"a"}})
                handler.handle(odd)
        except Late:
            continue
        raise AssertionError(f"kept in {limit.where.f_code}")

    other = threading.Thread(target=processor, args=(None, "info", {"event": "of another thread"}))
    other.start()
    other.join(10)
    assert not other.is_alive()
    assert emitter.flush(20)
    stats = emitter.stats()
    assert stats.accepted == stats.acknowledged, stats
"""


@pytest.mark.parametrize("kind", ["Exception", "BaseException"])
def test_a_time_limit_reaches_the_program(bus: Any, run_program: RunProgram, dataset: str, kind: str) -> None:
    """What a signal's handler raises in a log call is for the program; no lock stays held and the account adds up."""
    run_program(_PROGRAM, bus.url, dataset, kind, timeout_s=90)
    assert bus.events(dataset)[-1]["message"] == "of another thread"


class _LateError(Exception):
    """What a time limit raises."""


class _SlowError(Exception):
    """Takes so long to say its notes that a time limit ends it."""

    @property
    def __notes__(self) -> list[str]:
        os.kill(os.getpid(), signal.SIGUSR1)
        return []


@pytest.fixture
def _limit() -> Iterator[None]:
    """Raise what a time limit raises at SIGUSR1."""

    def end(*_: object) -> None:
        raise _LateError

    before = signal.signal(signal.SIGUSR1, end)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("_limit")
def test_a_time_limit_ends_the_writing_of_a_trace() -> None:
    """Writing a trace is what takes longest in a log call; a limit that meets it is not taken for its own error."""
    with pytest.raises(_LateError):
        trouble.from_exception(_SlowError("slow"))


def _late(*_: object) -> Any:
    """What of the application's own is called in a log call, and takes too long."""
    os.kill(os.getpid(), signal.SIGUSR1)


class _SlowTime:
    isoformat = _late


class _SlowLabels(dict[str, str]):
    items = _late


@pytest.mark.usefixtures("_limit")
def test_a_time_limit_ends_what_a_log_call_asks_for() -> None:
    """Fields that are asked for, filters, times and labels are the application's own code, and may be interrupted."""
    with capture_events(fields={"slow": _late}) as captured, pytest.raises(_LateError):
        captured.emitter.processor()(None, "info", {"event": "x"})
    with capture_events() as captured:
        filtering = captured.emitter.handler()
        filtering.addFilter(_late)
        for call in (
            lambda: filtering.handle(logging.makeLogRecord({"msg": "x"})),
            lambda: captured.emitter.processor()(None, "info", {"event": "x", "timestamp": _SlowTime()}),
            lambda: captured.emitter.counter("x").inc(1, _SlowLabels(a="b")),
        ):
            with pytest.raises(_LateError):
                call()
