"""Groups events into frames of the target size. Pure.

Flows in: the events of consecutive lines. Flows out: groups in order. Invariant: every event is in exactly one group,
and the first event of a group always fits.
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


def group_events(
    events: list[bytes], lines: list[bytes], start: Position, target_bytes: int, newline_length: int = 1
) -> Iterator[Group]:
    """Yield the events in groups of at most `target_bytes`; `start` is the place before the first line.

    `events` has for each line what was made of it: one event, several, or nothing where a filter dropped it.
    """
    if sum(map(len, events)) <= target_bytes:
        yield _group(events, lines, start, newline_length)
        return
    begin, size = 0, 0
    place = start
    for index, event in enumerate(events):
        if size and size + len(event) > target_bytes:
            group = _group(events[begin:index], lines[begin:index], place, newline_length)
            yield group
            begin, size, place = index, 0, group.upto
        size += len(event)
    yield _group(events[begin:], lines[begin:], place, newline_length)


def _group(events: list[bytes], lines: list[bytes], start: Position, newline_length: int) -> Group:
    payload = b"".join(events)
    count = payload.count(b"\n")
    end = start.offset + sum(map(len, lines)) + len(lines) * newline_length
    upto = Position(end, start.sequence + count, start.dropped + events.count(b""))
    return Group(payload, start.offset, upto, count)
