"""Renders parsed lines the short way where they are usual ones: no object is made of them. Pure.

Flows in: lines and their place. Flows out: their events. Invariant: a line that is unusual in any way takes the long
way, and each event is the one that the long way gives.
"""

from collections.abc import Sequence
from itertools import compress

from dataplane_tailer.bulk import BulkRenderer, Render, decimals, places
from dataplane_tailer.parse import Quick
from dataplane_tailer.parse.parsed import Row
from dataplane_tailer.splice import Envelope

#: The holes of one event in a byte format, see `Envelope.template`.
_HOLES = 7


class QuickRenderer(BulkRenderer):
    """A renderer of the lines that `quick` understands; the others go through `otherwise`, one event each."""

    def __init__(self, envelope: Envelope, quick: Quick, otherwise: Render) -> None:
        self._envelope, self._quick, self._otherwise = envelope, quick, otherwise

    def bulk(self, lines: list[bytes], offset: int, sequence: int, at: str) -> bytes:
        """Return the events of all lines, joined."""
        rows = [*map(self._quick, lines)]
        if offset == 0 and rows:
            rows[0] = None  # a byte-order mark may be in front of the first line
        offsets, sequences = places(lines, offset)[:-1], range(sequence, sequence + len(lines))
        usual = [row for row in rows if row is not None]
        if len(usual) == len(rows):
            return self._shaped(usual, offsets, sequences, at)
        chosen = [row is not None for row in rows]
        block = self._shaped(usual, [*compress(offsets, chosen)], [*compress(sequences, chosen)], at)
        shaped = iter(block.splitlines(keepends=True))
        return b"".join(
            next(shaped) if is_usual else self._otherwise([line], start, number, at)[0]
            for is_usual, line, start, number in zip(chosen, lines, offsets, sequences, strict=True)
        )

    def _shaped(self, rows: list[Row], offsets: Sequence[int], sequences: Sequence[int], at: str) -> bytes:
        if not rows:
            return b""
        whens, logs, events, fields = zip(*rows, strict=True)
        arrival = at.encode()
        dated = self._envelope.template(number=b"%b", created=b',"created":"%b"' % arrival)
        if all(whens):
            shape = dated * len(rows)
        else:
            undated = self._envelope.template(number=b"%b", created=b"")
            shape = b"".join(dated if when else undated for when in whens)
            whens = tuple(when or arrival for when in whens)
        arguments: list[object] = [None] * (_HOLES * len(rows))
        columns = (offsets, whens, fields, logs, decimals(offsets), events, decimals(sequences))
        for index, column in enumerate(columns):
            arguments[index::_HOLES] = column
        return shape % tuple(arguments)
