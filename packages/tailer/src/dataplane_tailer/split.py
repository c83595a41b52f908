"""Cuts an event that no message holds into pieces, and gives them numbers. Pure.

Flows in: the bytes of the event, and how far later events have numbers. Flows out: boundaries. Invariant: events that
were sent keep their ids and their numbers (docs/adr/0010): the first piece has the event's own number, the others take
the next free ones.
"""

from itertools import accumulate

from dataplane_tailer.cut import cut_evenly
from dataplane_tailer.state import Boundary


def split_event(
    data: bytes, first: int, limit: int, taken: int, *, known: Boundary | None = None, newline: bytes = b"\n"
) -> list[Boundary]:
    """Return pieces of at most `limit` bytes, or nothing if there would be one only.

    `first` is the event's place, `known` its boundary if it has one, `taken` the highest number that is in use.
    """
    text = _without_end(data, newline)
    lengths = cut_evenly(text, limit, len(newline))
    if len(lengths) == 1:
        return []
    lengths[-1] += len(data) - len(text)
    known = known or Boundary(first, first + len(data), first, 0, ends_line=True)
    starts = [*accumulate(lengths, initial=first)]
    return [
        Boundary(
            starts[number - 1],
            starts[number],
            known.line_start if known.piece else first,
            known.piece or number,
            ends_line=known.ends_line and number == len(lengths),
            parts=(*known.parts, number) if known.piece else (),
            sequence=taken + number - 1 if number > 1 else known.sequence,
        )
        for number in range(1, len(lengths) + 1)
    ]


def _without_end(data: bytes, newline: bytes) -> bytes:
    """Return what of an event is text, so that no piece is without any."""
    return data.removesuffix(newline).removesuffix(newline.replace(b"\n", b"\r"))
