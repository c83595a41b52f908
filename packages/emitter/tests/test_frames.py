"""Frames that are cut again, or sent again."""

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.frame import Frame, FrameEncoder, decode_payload
from dataplane_emitter.frames import Framer

_SOURCE = "9f3c2a7be1d04c55"


def _framer() -> Framer:
    return Framer(cast("Any", None), FrameEncoder())  # only events of a queue need an account


def _frame(count: int, *, replay: bool) -> Frame:
    lines = b"".join(b'{"_id":"%d","message":"%s"}\n' % (number, b"x" * 3000) for number in range(count))
    return FrameEncoder().encode("logs.a.b.c", _SOURCE, lines, first=1, end=count + 1, count=count, replay=replay)


@given(count=st.integers(1, 20), was_marked=st.booleans(), may_be_stored=st.booleans())
def test_parts_are_marked_where_their_events_may_be_there(count: int, was_marked: bool, may_be_stored: bool) -> None:
    """What may be stored as a whole, or was a re-send itself, comes in marked parts; anything else does not."""
    frame = _frame(count, replay=was_marked)
    parts = _framer().smaller(frame, replay=may_be_stored)
    assert [("Dp-Replay" in part.headers) for part in parts] == [was_marked or may_be_stored] * len(parts)
    if count > 1:
        joined = b"".join(decode_payload(part.payload, part.headers) for part in parts)
        assert joined == decode_payload(frame.payload, frame.headers)
