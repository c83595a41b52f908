"""Groups events into frames of the target size. Pure.

Flows in: the events of consecutive lines. Flows out: groups in order.
Invariant: every event is in exactly one group, and the first event of a group always fits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dataplane_tailer.positions import Position


@dataclass(frozen=True, slots=True)
class Group:
    """Events of one frame: from byte `first` up to `upto`."""

    payload: bytes
    first: int
    upto: Position
    count: int


def group_events(events: list[bytes], lines: list[bytes], start: Position, target_bytes: int) -> Iterator[Group]:
    """Yield the events in groups of at most `target_bytes`; `start` is the place before the first line."""
    total = sum(map(len, events))
    if total <= target_bytes:
        yield _group(events, lines, start)
        return
    begin, size = 0, 0
    place = start
    for index, event in enumerate(events):
        if size and size + len(event) > target_bytes:
            group = _group(events[begin:index], lines[begin:index], place)
            yield group
            begin, size, place = index, 0, group.upto
        size += len(event)
    yield _group(events[begin:], lines[begin:], place)


def _group(events: list[bytes], lines: list[bytes], start: Position) -> Group:
    end = start.offset + sum(map(len, lines)) + len(lines)
    return Group(b"".join(events), start.offset, Position(end, start.sequence + len(events)), len(events))
