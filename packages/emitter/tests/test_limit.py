"""Sampling and rate limits: what is held back is counted exactly, and the counts are in the events that pass."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.errors import ConfigError
from dataplane_emitter import configure, level
from dataplane_emitter.limit import RATE_LIMITED, SAMPLED, Limit
from dataplane_emitter.settings import LimitConfig
from dataplane_emitter.testing import capture_events

INFO = level.from_name("info")


def _limit(clock: Callable[[], float] = lambda: 0.0, **settings: Any) -> Limit:
    return Limit(LimitConfig(**settings), clock)


def test_a_rate_lets_a_burst_and_then_a_trickle_pass() -> None:
    """`burst` at once, then `per_second`; the next that passes tells how many did not."""
    now = 0.0
    limit = _limit(lambda: now, per_second=2, burst=3)
    assert [limit.admit("a", INFO, "") for _ in range(5)] == [0, 0, 0, RATE_LIMITED, RATE_LIMITED]
    now = 0.5
    assert [limit.admit("a", INFO, "") for _ in range(2)] == [2, RATE_LIMITED]
    now = 100.0
    assert [limit.admit("a", INFO, "") for _ in range(4)] == [1, 0, 0, RATE_LIMITED]


def test_kinds_are_limited_apart() -> None:
    """Loggers, levels and, if asked for, messages each have their own share; errors are not limited by default."""
    limit = _limit(per_second=1)
    assert limit.admit("a", INFO, "x") == 0
    assert limit.admit("a", INFO, "y") == RATE_LIMITED
    assert limit.admit("b", INFO, "x") == 0
    assert limit.admit("a", level.from_name("debug"), "x") == 0
    assert [limit.admit("a", level.from_name("error"), "x") for _ in range(3)] == [0, 0, 0]
    by_message = _limit(per_second=1, by="message")
    assert [by_message.admit("a", INFO, name) for name in "xyx"] == [0, 0, RATE_LIMITED]


def test_made_up_messages_cost_no_memory_and_no_count() -> None:
    """Beyond thousands of messages the rest share one limit, and every one is still counted."""
    limit = _limit(per_second=1, by="message")
    verdicts = [limit.admit("a", INFO, str(number)) for number in range(10_000)]
    held = sum(isinstance(verdict, str) for verdict in verdicts)
    assert held > 5_000
    assert sum(count for _, count in limit.pending()) == held
    assert list(limit.pending()) == []


@given(st.floats(0, 1), st.integers(1, 300))
def test_a_sample_is_counted_exactly(sample: float, total: int) -> None:
    """Passed plus told plus pending is everything, whatever chance decides."""
    limit = _limit(sample=sample)
    verdicts = [limit.admit("a", INFO, "") for _ in range(total)]
    passed = [verdict for verdict in verdicts if not isinstance(verdict, str)]
    assert {verdict for verdict in verdicts if isinstance(verdict, str)} <= {SAMPLED}
    assert len(passed) + sum(passed) + sum(count for _, count in limit.pending()) == total


def test_sixteen_threads_are_counted_exactly() -> None:
    """No count is lost or told twice between threads."""
    limit = _limit(sample=0.1)
    verdicts: list[str | int] = []

    def work() -> None:
        verdicts.extend([limit.admit("a", INFO, "") for _ in range(2_000)])

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed = [verdict for verdict in verdicts if not isinstance(verdict, str)]
    assert len(passed) + sum(passed) + sum(count for _, count in limit.pending()) == 32_000


def test_counts_are_in_the_events_and_in_the_account() -> None:
    """`event.suppressed` of all events, and the account's `rate_limited`, are all that was held back."""
    with capture_events(limits=[{"logger": "chatty", "per_second": 0.001, "burst": 2, "by": "message"}]) as captured:
        logger = logging.getLogger("chatty.db")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(captured.emitter.handler())
        for number in range(10):
            logger.info("row %d", number)
            captured.emitter.processor()(None, "info", {"event": "x", "logger": "quiet"})
        logger.error("errors pass")
        captured.emitter.pipeline.tell_suppressed()
        events, stats = captured.events, captured.emitter.stats()
        logger.handlers.clear()
    chatty = [event for event in events if event["log"].get("logger", "").startswith("chatty")]
    assert [event["message"] for event in chatty] == ["row 0", "row 1", "errors pass", "8 events held back: row %d"]
    assert chatty[-1]["event"]["suppressed"] == 8
    assert chatty[-1]["log"]["level"] == "info"
    assert len(events) == 14
    assert stats.dropped == {"rate_limited": 8}


def test_the_last_counts_are_sent_at_the_end(bus: Any, dataset: str, capfd: pytest.CaptureFixture[str]) -> None:
    """On a real server: passed plus suppressed is what was logged, also for those after the last that passed."""
    emitter = configure(service=dataset, namespace="test", servers=bus.url, limits=[{"sample": 0.2}])
    for _ in range(1_000):
        emitter.processor()(None, "info", {"event": "x"})
    emitter.close(10)
    events = bus.events(dataset)
    passed = sum(event["message"] == "x" for event in events)
    assert 100 < passed < 350
    assert passed + sum(event["event"].get("suppressed", 0) for event in events) == 1_000
    final = bus.accounts(dataset)[-1]
    assert final.dropped == {"sampled": 1_000 - passed}
    assert final.accepted == final.acknowledged + 1_000 - passed
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"logger": "a"}, "limits.0: limits nothing"),
        ({"sample": 2}, "limits.0.sample: 2 is no share"),
        ({"per_second": -1}, "limits.0: per_second and burst"),
        ({"sample": 0.5, "max_level": "loud"}, 'limits.0.max_level: "loud" is no level'),
    ],
)
def test_limits_that_cannot_work_are_refused(limit: dict[str, Any], words: str) -> None:
    """A wrong limit is refused at the start, in one line."""
    with pytest.raises(ConfigError) as caught:
        configure(service="x", limits=[limit])
    assert words in str(caught.value)
