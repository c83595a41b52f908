"""Counters, gauges, histograms, timers: exact, bounded, harmless."""

import asyncio
import threading
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_emitter import buckets
from dataplane_emitter.series import CounterSeries, HistogramSeries
from dataplane_emitter.testing import Captured, capture_events


def _point(captured: Captured, name: str, **labels: str) -> dict[str, Any]:
    """Return the one point of that name with these labels."""
    (point,) = [
        point["metric"]
        for point in captured.points
        if point["metric"]["name"] == name and labels.items() <= point.get("labels", {}).items()
    ]
    return dict(point)


def test_bounds_are_fixed_and_grow_slowly() -> None:
    """There are at most 128 buckets, each bound at most 1.5 times the one before, and no key has a dot."""
    assert len(buckets.KEYS) == 128
    assert list(buckets.BOUNDS) == sorted(set(buckets.BOUNDS))
    assert max(upper / lower for lower, upper in pairwise(buckets.BOUNDS)) <= 1.5 + 1e-9
    assert not any("." in key for key in buckets.KEYS)
    assert (buckets.KEYS[0], buckets.KEYS[-2], buckets.KEYS[-1]) == ("10e-10", "10e11", "inf")
    assert (float("10e-10"), float("10e11")) == (1e-9, 1e12)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_value_is_in_the_bucket_of_its_bounds(value: float) -> None:
    """The lower bound is below the value, the upper one at or above it."""
    lower, upper = buckets.bounds_of(buckets.KEYS[buckets.index_of(value)])
    assert lower < value <= upper


def test_a_counter_sends_what_was_added_since(captured: Captured) -> None:
    """A point is a delta; an interval without additions has none."""
    orders = captured.emitter.counter("orders", unit="order", labels={"shop": "de"})
    orders.inc()
    orders.inc(4)
    first = captured.points
    assert len(first) == 1
    assert first[0]["metric"]["value"] == 5
    assert (first[0]["metric"]["type"], first[0]["metric"]["unit"]) == ("counter", "order")
    assert first[0]["metric"]["interval_ms"] >= 0
    assert first[0]["labels"] == {"shop": "de"}
    assert first[0]["event"]["dataset"] == "test"
    assert len(captured.points) == 1
    orders.inc(2)
    assert captured.total("orders", {"shop": "de"}) == 7


def test_labels_of_the_call_count_before_the_metrics_and_the_processs() -> None:
    """Precedence: process < metric < call; every value is a keyword."""
    with capture_events(labels={"region": "eu", "tier": "web", "zone": "a"}) as captured:
        counter = captured.emitter.counter("c", labels={"tier": "api", "zone": "b"})
        counter.inc(1, {"zone": 3, "ok": True})
        assert captured.points[0]["labels"] == {"region": "eu", "tier": "api", "zone": "3", "ok": "True"}


def test_a_bound_instrument_is_the_same_series(captured: Captured) -> None:
    """`bind` and labels at the call mean the same series."""
    counter = captured.emitter.counter("c")
    counter.bind(shop="de").inc()
    counter.inc(1, {"shop": "de"})
    captured.emitter.counter("c", labels={"shop": "de"}).inc()
    assert _point(captured, "c")["value"] == 3


def test_a_gauge_repeats_its_last_value(captured: Captured) -> None:
    """Each interval has the last value, also if nothing changed."""
    gauge = captured.emitter.gauge("pool")
    gauge.set(5)
    gauge.inc()
    gauge.dec(2)
    assert captured.points[-1]["metric"]["value"] == 4
    assert len(captured.points) == 2


def test_a_gauge_by_callback_is_asked_each_time(captured: Captured) -> None:
    """A callback gives the value of the moment; one that raises gives none and harms nothing."""
    values = iter([1.5, 2.5])
    captured.emitter.gauge("depth", callback=lambda: next(values))
    captured.emitter.gauge("broken", callback=lambda: 1 / 0)
    assert captured.points[-1]["metric"]["value"] == 1.5
    assert [point["metric"]["value"] for point in captured.points] == [1.5, 2.5]


def test_a_histogram_tells_count_sum_ends_and_buckets(captured: Captured) -> None:
    """A point has what percentiles are made of, under the fixed bounds."""
    sizes = captured.emitter.histogram("size", unit="By")
    for value in (0, 1, 1.2, 1.5, 1_000, 1e15):
        sizes.observe(value)
    point = _point(captured, "size")
    assert (point["count"], point["min"], point["max"]) == (6, 0, 1e15)
    assert point["sum"] == pytest.approx(1e15 + 1_003.7)
    assert point["buckets"] == {"10e-10": 1, "10e-1": 1, "15e-1": 2, "10e2": 1, "inf": 1}


def test_a_timer_times_blocks_and_functions(captured: Captured) -> None:
    """Blocks and functions, sync and async, are counted with whether they failed; results and errors pass."""
    timer = captured.emitter.timer("work", labels={"kind": "x"})

    @timer
    def double(value: int) -> int:
        return 2 * value

    @timer
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def block() -> None:
        async with timer:
            await asyncio.sleep(0.01)

    with timer:
        assert double(2) == 4
    asyncio.run(block())
    with pytest.raises(ValueError, match="no"):
        asyncio.run(fail())
    assert _point(captured, "work", kind="x", had_error="true")["count"] == 1
    good = _point(captured, "work", kind="x", had_error="false")
    assert (good["count"], good["unit"], good["type"]) == (3, "s", "timer")
    assert 0.01 <= good["max"] < 1


def test_one_timer_serves_many_tasks_and_nests(captured: Captured) -> None:
    """Tasks that use the same timer at once each get their own time."""

    async def task(delay_s: float) -> None:
        with captured.emitter.timer("task"):
            await asyncio.sleep(delay_s)

    async def main() -> None:
        await asyncio.gather(task(0.1), task(0.01), task(0.05))

    started = time.perf_counter()
    asyncio.run(main())
    took = time.perf_counter() - started
    point = _point(captured, "task")
    assert point["count"] == 3
    assert point["min"] < 0.1 <= point["max"] <= took
    with captured.emitter.timer("nested"), captured.emitter.timer("nested"):
        pass
    assert captured.total("nested") == 2


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "5", None, 10**400])
def test_what_is_no_number_is_ignored(captured: Captured, wrong: Any) -> None:
    """No value that an application passes by mistake raises or spoils a series."""
    captured.emitter.counter("c").inc(wrong)
    captured.emitter.gauge("g").set(wrong)
    captured.emitter.gauge("g2").inc(wrong)
    captured.emitter.histogram("h").observe(wrong)
    captured.emitter.timer("t").observe(wrong)
    assert captured.points == []


def test_too_many_series_end_in_one() -> None:
    """Beyond `max_series`, what is counted goes to the series labelled `overflow`, and nothing is lost."""
    with capture_events(metrics={"max_series": 3}) as captured:
        counter = captured.emitter.counter("hits")
        for user in range(10):
            counter.inc(1, {"user": user})
        assert captured.total("hits") == 10
        assert captured.total("hits", {"overflow": "true"}) == 7
        assert len(captured.points) == 4
        assert captured.emitter.stats().series_refused == 7


def test_labels_that_cannot_be_hashed_still_count(captured: Captured) -> None:
    """A list as a label's value is its text."""
    captured.emitter.counter("c").inc(1, {"tags": [1, 2]})
    with captured.emitter.timer("t", labels={"tags": [1]}):
        pass
    assert captured.total("c", {"tags": "[1, 2]"}) == 1
    assert captured.total("t", {"tags": "[1]"}) == 1


def test_sixteen_threads_count_exactly() -> None:
    """Counters and histograms are exact over 16 threads while points are taken and given back."""
    counter = CounterSeries({})
    histogram = HistogramSeries({})
    done = threading.Event()
    counted: list[float] = []
    observed: list[dict[str, Any]] = []

    def use() -> None:
        for number in range(5_000):
            counter.add()
            histogram.observe(number)

    def collect() -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            value, values = counter.take(), histogram.take()
            if turn % 2:
                if value:
                    counter.give_back(value)
                if values:
                    histogram.give_back(values)
            else:
                counted.append(value["value"] if value else 0)
                observed.extend([values] if values else [])

    users = [threading.Thread(target=use) for _ in range(16)]
    collector = threading.Thread(target=collect)
    for thread in [collector, *users]:
        thread.start()
    for thread in users:
        thread.join()
    done.set()
    collector.join()
    last, last_values = counter.take(), histogram.take()
    counted.append(last["value"] if last else 0)
    observed.extend([last_values] if last_values else [])
    assert sum(counted) == 80_000
    assert sum(values["count"] for values in observed) == 80_000
    assert sum(sum(values["buckets"].values()) for values in observed) == 80_000
    assert sum(values["sum"] for values in observed) == 16 * sum(range(5_000))


@given(st.lists(st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 1.1]), max_size=5), max_size=5))
def test_a_point_given_back_is_merged(rounds: list[list[float]]) -> None:
    """Points given back and observed together are what one point of all values would be."""
    apart, together = HistogramSeries({}), HistogramSeries({})
    for values in rounds:
        taken = apart.take()
        for value in values:
            apart.observe(value)
            together.observe(value)
        if taken:
            apart.give_back(taken)
    left, right = apart.take(), together.take()
    assert (left is None) == (right is None)
    if left is not None and right is not None:
        assert left.pop("sum") == pytest.approx(right.pop("sum"), abs=1e-6)
        assert left == right


def test_a_delta_that_finds_no_room_waits_for_the_next_interval() -> None:
    """A full queue costs no count: it is in a later point, and not counted as dropped."""
    with capture_events(queue={"max_events": 1}) as captured:
        captured.emitter.counter("a").inc(3)
        captured.emitter.histogram("b").observe(1)
        assert captured.total("a") == 3
        assert captured.total("b") == 1
        assert captured.emitter.stats().dropped == {}
