"""Traces that would take longer to write than a log call may."""

import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator

import pytest

from dataplane_emitter import trouble
from dataplane_emitter.abridge import abridged, is_long
from dataplane_emitter.testing import capture_events

_FRAMES = 5_000


@pytest.fixture
def _deep() -> Iterator[None]:
    """Let tests call deeply."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(_FRAMES + 500)
    yield
    sys.setrecursionlimit(limit)


def _even(steps: int) -> int:
    return _odd(steps - 1) if steps else _at_the_bottom()


def _odd(steps: int) -> int:
    return _even(steps - 1)


def _at_the_bottom() -> int:
    raise RecursionError("the own line")


def _chained(steps: int) -> None:
    if not steps:
        raise LookupError("the first cause")
    try:
        _chained(steps - 1)
    except LookupError as error:
        raise LookupError(f"level {steps}") from error


def _caught(function: Callable[[int], object], steps: int) -> BaseException:
    try:
        function(steps)
    except Exception as error:  # noqa: BLE001 - what this is for
        return error
    raise AssertionError("nothing was raised")


def _took(function: Callable[[BaseException], object], error: BaseException) -> float:
    """Return the best of three times, after a first one that reads the sources."""
    function(error)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        function(error)
        times.append(time.perf_counter() - started)
    return min(times)


@pytest.mark.usefixtures("_deep")
def test_a_trace_of_thousands_of_frames_costs_no_more_than_one_of_a_hundred() -> None:
    """The head, where it was caught, and the tail, where it was raised, stay, and the exception's own line."""
    error = _caught(_even, _FRAMES)
    told = trouble.from_exception(error)
    assert told is not None
    lines = told["stack_trace"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert ", in _caught" in lines[1]
    assert "    function(steps)" in lines
    assert any(line.endswith(f"{_FRAMES + 3 - 100} frames left out …") for line in lines)
    assert '    raise RecursionError("the own line")' in lines[-4:]
    assert lines[-1] == "RecursionError: the own line"
    whole = _took(traceback.format_exception, error)
    assert _took(trouble.from_exception, error) < whole / 10


def test_the_log_call_itself_is_as_quick() -> None:
    """`logging.exception` with such a trace costs a part of what `traceback` would."""
    error = _caught(_even, 900)
    with capture_events() as captured:
        handler = captured.emitter.handler()

        def log(error: BaseException) -> None:
            info = (type(error), error, error.__traceback__)
            handler.handle(logging.LogRecord("app", 40, __file__, 1, "broken", None, info))

        assert _took(log, error) < _took(traceback.format_exception, error) / 2
        event = captured.events[0]
    assert event["error"]["stack_trace"].endswith("RecursionError: the own line\n")


def test_a_long_chain_keeps_its_first_cause_and_its_last_exception() -> None:
    """Hundreds of exceptions that led to each other are told by those at both ends."""
    text = abridged(_caught(_chained, 400))
    first, last = text.index("LookupError: the first cause"), text.index("LookupError: level 400")
    assert first < text.index(f"… {401 - 12} exceptions left out …") < last
    assert text.count("direct cause") == 11
    assert text.endswith("LookupError: level 400\n")


def test_what_else_is_endless_is_bounded() -> None:
    """Groups with many members, groups in groups, many notes, endless messages, and causes in a circle."""
    wide = ExceptionGroup("wide", [ValueError(number) for number in range(100_000)])
    noted = ValueError("noted")
    for number in range(1_000):
        noted.add_note(f"note {number}")
    nested: Exception = ValueError("inside")
    for _ in range(200):
        nested = ExceptionGroup("nested", [nested])
    endless = ValueError("begin" + "x" * 500_000 + "end")
    circle, other = ValueError("circle"), ValueError("other")
    circle.__cause__, other.__cause__ = other, circle
    for error, words in (
        (wide, ["ExceptionGroup: wide", "ValueError: 0", "ValueError: 3", "99996 members left out"]),
        (noted, ["ValueError: noted", "note 9\n", "990 notes left out"]),
        (nested, ["nested", "members left out"]),
        (endless, ["ValueError: begin", "characters left out", "end\n"]),
    ):
        assert is_long(error)
        told = trouble.from_exception(error)
        assert told is not None
        assert len(told["stack_trace"]) < 10_000
        for word in words:
            assert word in told["stack_trace"]
    assert not is_long(circle)
    assert abridged(circle).count("ValueError") == 2


def test_an_ordinary_trace_is_what_python_prints() -> None:
    """Causes, contexts, notes and groups of ordinary size are left to `traceback`, to the letter."""
    error = _caught(_chained, 5)
    error.add_note("try again later")
    error.__context__ = ExceptionGroup("several", [_caught(_even, 10), KeyError("x")])
    assert not is_long(error)
    told = trouble.from_exception(error)
    assert told is not None
    assert told["stack_trace"] == "".join(traceback.format_exception(error))
