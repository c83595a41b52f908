"""Groups events into frames of the target size. Pure.

Flows in: the events of consecutive lines. Flows out: groups in order. Invariant: every event is in exactly one group,
and the first event of a group always fits.
"""

from collections.abc import Iterator

import msgspec

from dataplane_tailer.positions import Position


class Group(msgspec.Struct, frozen=True, gc=False):
    """Events of one frame: from byte `first` up to `upto`."""

    payload: bytes
    first: int
    upto: Position
    count: int


def group_events(
    events: list[bytes],
    lines: list[bytes],
    start: Position,
    target_bytes: int,
    newline_length: int = 1,
    *,
    is_one_each: bool = False,
) -> Iterator[Group]:
    """Yield the events in groups of at most `target_bytes`; `start` is the place before the first line.

    `events` has for each line what was made of it: one event, several, or nothing where a filter dropped it;
    `is_one_each` promises one, so that nothing has to be counted.
    """
    for begin, end in _slices(events, target_bytes):
        payload = b"".join(events[begin:end])
        count = end - begin if is_one_each else payload.count(b"\n")
        dropped = 0 if is_one_each else events[begin:end].count(b"")
        offset = start.offset + sum(map(len, lines[begin:end])) + (end - begin) * newline_length
        upto = Position(offset, start.sequence + count, start.dropped + dropped)
        yield Group(payload, start.offset, upto, count)
        start = upto


def _slices(events: list[bytes], target_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of slices whose bytes stay within the target; the first event of each always fits."""
    begin, size = 0, sum(map(len, events))
    if size > target_bytes:
        size = 0
        for index, event in enumerate(events):
            if size and size + len(event) > target_bytes:
                yield begin, index
                begin, size = index, 0
            size += len(event)
    yield begin, len(events)
