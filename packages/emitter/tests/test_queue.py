"""The bounded queue and its policies."""

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_emitter import level
from dataplane_emitter.envelope import Route
from dataplane_emitter.queue import BoundedQueue, Entry
from dataplane_emitter.settings import Overflow, QueueConfig

_ROUTE = Route("logs.test.d.h", {"dataset": "d"}, b',"event":{"dataset":"d","sequence":', -1, b"", 10)


def _queue(max_events: int = 1_000, max_bytes: int = 10**9, overflow: Overflow = "drop_lowest") -> BoundedQueue:
    return BoundedQueue(QueueConfig(max_events=max_events, max_bytes=max_bytes, overflow=overflow))


def _bodies(queue: BoundedQueue) -> list[bytes]:
    return [entry.body for entry in queue.take(10**6, 10**9)]


def test_events_leave_in_the_order_they_came() -> None:
    """The rank says what is dropped, not what is first."""
    queue = _queue()
    for number, rank in enumerate([level.ERROR, level.DEBUG, level.INFO, level.DEBUG, level.WARNING]):
        queue.put(Entry.of(rank, _ROUTE, b"%d" % number))
    assert _bodies(queue) == [b"0", b"1", b"2", b"3", b"4"]


def test_errors_outlive_debug() -> None:
    """By default the oldest of the least important events leaves first, and never for one worth less."""
    queue = _queue(max_events=3)
    for rank, body in [(level.ERROR, b"e1"), (level.DEBUG, b"d1"), (level.DEBUG, b"d2"), (level.ERROR, b"e2"),
                       (level.INFO, b"i1"), (level.ERROR, b"e3"), (level.DEBUG, b"d3")]:  # fmt: skip
        queue.put(Entry.of(rank, _ROUTE, body))
    assert _bodies(queue) == [b"e1", b"e2", b"e3"]
    assert queue.dropped == {"queue_full": 4}


@pytest.mark.parametrize(("overflow", "left"), [("drop_oldest", [b"1", b"2"]), ("drop_newest", [b"0", b"1"])])
def test_other_policies_go_by_age(overflow: Overflow, left: list[bytes]) -> None:
    """`drop_oldest` keeps the latest, `drop_newest` the first, whatever their level."""
    queue = _queue(max_events=2, overflow=overflow)
    for number, rank in enumerate([level.ERROR, level.DEBUG, level.INFO]):
        queue.put(Entry.of(rank, _ROUTE, b"%d" % number))
    assert _bodies(queue) == left


def test_bytes_are_a_bound_too() -> None:
    """Many small events leave for a large one, and what is larger than the queue is dropped itself."""
    queue = _queue(max_bytes=100)
    for _ in range(5):
        queue.put(Entry.of(level.INFO, _ROUTE, b"x" * 10))
    queue.put(Entry.of(level.INFO, _ROUTE, b"y" * 70))
    queue.put(Entry.of(level.ERROR, _ROUTE, b"z" * 200))
    assert queue.queued_bytes <= 100
    assert _bodies(queue)[-1] == b"y" * 70
    assert queue.dropped["queue_full"] == 5


def test_try_put_drops_nothing() -> None:
    """A point that finds no room is given back, uncounted."""
    queue = _queue(max_events=1)
    assert queue.try_put(Entry.of(level.ERROR, _ROUTE, b"1"))
    assert not queue.try_put(Entry.of(level.ERROR, _ROUTE, b"2"))
    assert queue.counts().accepted == 1
    assert queue.dropped == {}


def test_a_closed_queue_counts_what_comes_late() -> None:
    """After closing, what waits can be taken, what comes is counted as dropped."""
    queue = _queue()
    queue.put(Entry.of(level.INFO, _ROUTE, b"1"))
    queue.close()
    queue.put(Entry.of(level.INFO, _ROUTE, b"2"))
    assert _bodies(queue) == [b"1"]
    assert queue.dropped == {"closed": 1}


def test_whoever_looks_sees_what_was_just_put() -> None:
    """Each way of looking counts what came before it."""
    looks: list[tuple[Callable[[BoundedQueue], object], object]] = [
        (len, 1),
        (lambda queue: queue.accepted, 1),
        (lambda queue: queue.queued_bytes, 11),
        (BoundedQueue.oldest, 1),
        (BoundedQueue.counts, (1, 0, 1, 11, {})),
        (lambda queue: (queue.clear("exit"), queue.dropped), (None, {"exit": 1})),
    ]
    for look, expected in looks:
        queue = _queue()
        queue.put(Entry.of(level.INFO, _ROUTE, b"x"))
        assert look(queue) == expected


def test_large_events_are_bounded_though_nobody_looks() -> None:
    """Where no thread takes or counts, calls themselves keep the bound."""
    queue = _queue(max_bytes=20_000)
    for _ in range(20):
        queue.put(Entry.of(level.INFO, _ROUTE, b"x" * 9_000))
    assert queue.dropped == {"queue_full": 18}


def test_take_stops_at_its_limits() -> None:
    """A take has at most so many events and bytes, but always one."""
    queue = _queue()
    for _ in range(5):
        queue.put(Entry.of(level.INFO, _ROUTE, b"x" * 90))
    assert len(queue.take(2, 10**6)) == 2
    assert len(queue.take(10, 150)) == 1
    assert len(queue.take(10, 1)) == 1
    assert queue.counts().taken == 4


def test_a_flood_lets_a_busy_reader_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 128th call stands aside, but only while the queue fills and its reader computes."""
    pauses: list[float] = []
    monkeypatch.setattr("dataplane_emitter.queue.time.sleep", pauses.append)
    queue = _queue(max_events=2_000)
    for _ in range(256):
        queue.put(Entry.of(level.INFO, _ROUTE, b"x"))
    assert pauses == []
    queue.is_reader_busy = True
    for _ in range(512):
        queue.put(Entry.of(level.INFO, _ROUTE, b"x"))
    assert len(pauses) == 4
    assert max(pauses) <= 0.0001
    queue.take(10**6, 10**6)
    for _ in range(128):
        queue.put(Entry.of(level.INFO, _ROUTE, b"x"))
    assert len(pauses) == 4


@given(
    overflow=st.sampled_from(["drop_lowest", "drop_oldest", "drop_newest"]),
    max_events=st.integers(1, 8),
    max_bytes=st.integers(40, 400),
    steps=st.lists(st.one_of(st.tuples(st.integers(0, 3), st.integers(0, 120)), st.integers(1, 4)), max_size=60),
)
def test_the_account_adds_up_within_bounds(
    overflow: Overflow, max_events: int, max_bytes: int, steps: list[tuple[int, int] | int]
) -> None:
    """Whatever is put and taken, accepted = taken + queued + dropped, and no bound is passed."""
    queue = _queue(max_events, max_bytes, overflow)
    numbers: list[int] = []
    put = 0
    for step in steps:
        if isinstance(step, int):
            numbers.extend(entry.number for entry in queue.take(step, 10**6))
        else:
            queue.put(Entry.of(step[0], _ROUTE, b"x" * step[1]))
            put += 1
        counts = queue.counts()
        assert counts.accepted == put
        assert counts.queued <= max_events
        assert 0 <= counts.queued_bytes <= max_bytes
        assert counts.accepted == counts.taken + counts.queued + sum(counts.dropped.values())
    assert numbers == sorted(numbers)


def test_sixteen_threads_lose_nothing() -> None:
    """Events of 16 threads, taken meanwhile by another one, are all taken or counted."""
    queue = _queue(max_events=500)
    done = threading.Event()
    taken: list[int] = []

    def put() -> None:
        for number in range(2_000):
            queue.put(Entry.of(number % 4, _ROUTE, b"x"))

    def take() -> None:
        while not done.is_set() or len(queue):
            taken.extend(entry.number for entry in queue.take(100, 10**6))

    taker = threading.Thread(target=take)
    putters = [threading.Thread(target=put) for _ in range(16)]
    for thread in [taker, *putters]:
        thread.start()
    for thread in putters:
        thread.join()
    done.set()
    taker.join()
    assert len(taken) + queue.dropped["queue_full"] == queue.accepted == 32_000
    assert len(set(taken)) == len(taken)
