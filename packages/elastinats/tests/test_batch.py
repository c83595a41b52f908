"""Batches keep their limits, and cutting parts loses nothing."""

from hypothesis import given
from hypothesis import strategies as st

from elastinats.batch import Batch
from elastinats.config import BatchConfig
from elastinats.part import Claim, Part, action, events, halve, limited, pick, seams

JOINT = seams("logs-web-prod", "2026-11-22T10:15:30.123456Z")


def part(*contents: str) -> Part:
    body = b"".join(action(f"id-{n}".encode(), f'{{"m":"{text}"}}'.encode(), JOINT) for n, text in enumerate(contents))
    return Part(Claim(None), "logs-web-prod", body, len(contents), framed=True, resent=False)  # type: ignore[arg-type]


def contents(parts) -> list[bytes]:
    return [found.content for each in parts for found in events(each)]


sizes = st.lists(st.integers(1, 400), min_size=1, max_size=30)


@given(sizes, st.integers(1, 1000), st.integers(1, 5))
def test_a_batch_passes_a_limit_only_with_a_single_part(lengths, max_bytes, max_count):
    """The first part always fits; later ones only within bytes and count."""
    batch = Batch(BatchConfig(max_bytes=max_bytes, max_count=max_count))
    for length in lengths:
        one = part("x" * length)
        if not batch.fits(one):
            batch.take()
        batch.add(one, 0.0)
        assert len(batch.parts) == 1 or (batch.size <= max_bytes and batch.count <= max_count)
        assert batch.size == sum(len(each.body) for each in batch.parts)


def test_a_batch_is_due_when_it_is_full_or_old():
    """An empty batch waits for ever, a part for its linger, a full one not at all."""
    batch = Batch(BatchConfig(max_bytes=10_000, max_count=2, linger_ms=200))
    assert batch.due_in_s(5.0) is None
    batch.add(part("a"), 5.0)
    assert batch.due_in_s(5.125) == 0.075 or abs((batch.due_in_s(5.125) or 0) - 0.075) < 1e-9
    assert batch.due_in_s(6.0) == 0.0
    batch.add(part("b"), 5.0)
    assert batch.due_in_s(5.0) == 0.0
    assert len(batch.take()) == 2
    assert batch.due_in_s(9.0) is None
    batch.add(part("x" * 10_000), 9.0)
    assert batch.due_in_s(9.0) == 0.0


@given(sizes, st.integers(1, 1500))
def test_a_large_part_is_cut_without_loss(lengths, max_bytes):
    """The pieces hold the same events in the same order, each within the limit or with one event."""
    whole = part(*("x" * length for length in lengths))
    pieces = limited(whole, max_bytes)
    assert contents(pieces) == contents([whole])
    assert all(len(piece.body) <= max_bytes or piece.count == 1 for piece in pieces)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_halving_ends_at_single_events(counts):
    """Halves share the events without loss, and both are smaller, so that a search by halving ends."""
    parts = [part(*(f"{number}-{each}" for each in range(count))) for number, count in enumerate(counts)]
    total = sum(counts)
    if total == 1:
        return
    first, second = halve(parts)
    assert contents(first) + contents(second) == contents(parts)
    assert sum(each.count for each in first) == total // 2
    assert all(each.count for each in first + second)


@given(st.lists(st.integers(0, 9), unique=True))
def test_picked_events_are_those_events(positions):
    """A part of some positions has exactly those events."""
    whole = part(*"abcdefghij")
    picked = pick(whole, positions)
    assert events(picked) == [events(whole)[position] for position in positions]
    assert picked.count == len(positions)
