"""Rules of grouping events into frames."""

from hypothesis import given
from hypothesis import strategies as st

from dataplane_tailer.frame import group_events
from dataplane_tailer.positions import Position

LINES = st.lists(st.binary(max_size=30), min_size=1)


@given(LINES, st.integers(min_value=1, max_value=100))
def test_groups_hold_every_event_once_and_in_order(lines: list[bytes], target: int) -> None:
    """The groups follow each other without a gap, in bytes, in sequence and in content."""
    events = [b"<" + line.replace(b"\n", b"") + b">\n" for line in lines]
    place, payload = Position(100, 7), b""
    for group in group_events(events, lines, place, target):
        assert group.first == place.offset
        assert group.upto.sequence == place.sequence + group.count
        assert len(group.payload) <= target or group.count == 1
        place = group.upto
        payload += group.payload
    assert payload == b"".join(events)
    assert place == Position(100 + sum(map(len, lines)) + len(lines), 7 + len(lines))
