"""Renders parsed lines the short way where they are usual ones: no object is made of them. Pure.

Flows in: lines and their place. Flows out: their events. Invariant: a line that is unusual in any way takes the long
way, and each event is the one that the long way gives.
"""

from collections.abc import Sequence
from itertools import compress

from dataplane_tailer.bulk import BulkRenderer, Render, decimals, filled, places
from dataplane_tailer.parse import Columns, Quick
from dataplane_tailer.splice import Envelope


class QuickRenderer(BulkRenderer):
    """A renderer of the lines that `quick` understands; the others go through `otherwise`, one event each."""

    def __init__(self, envelope: Envelope, quick: Quick, otherwise: Render) -> None:
        self._envelope, self._quick, self._otherwise = envelope, quick, otherwise

    def bulk(self, lines: list[bytes], offset: int, sequence: int, at: str) -> bytes:
        """Return the events of all lines, joined."""
        if offset == 0 and lines:  # a byte-order mark may be in front of the first line
            first = self._otherwise(lines[:1], offset, sequence, at)
            return first[0] + self.bulk(lines[1:], len(lines[0]) + 1, sequence + 1, at)
        found = self._quick(lines)
        if found is None:
            return b"".join(self._otherwise(lines, offset, sequence, at))
        offsets, sequences = places(lines, offset)[:-1], range(sequence, sequence + len(lines))
        if len(found.whens) == len(lines):
            return self._shaped(found, offsets, sequences, at)
        chosen = found.chosen
        block = self._shaped(found, [*compress(offsets, chosen)], [*compress(sequences, chosen)], at)
        shaped = iter(block.splitlines(keepends=True))
        return b"".join(
            next(shaped) if is_usual else self._otherwise([line], start, number, at)[0]
            for is_usual, line, start, number in zip(chosen, lines, offsets, sequences, strict=True)
        )

    def _shaped(self, found: Columns, offsets: Sequence[int], sequences: Sequence[int], at: str) -> bytes:
        """Return the events of the usual lines; one without a time of its own gets that of its arrival."""
        more = {"log": b"" if found.logs is None else b"%b", "event": b"" if found.events is None else b"%b"}
        arrival, whens = at.encode(), found.whens
        dated = self._envelope.template(found.fields, **more, created=b',"created":"%b"' % arrival)
        if all(whens):
            shape = dated * len(whens)
        else:
            undated = self._envelope.template(found.fields, **more, created=b"")
            shape = b"".join(dated if when else undated for when in whens)
            whens = [when or arrival for when in whens]
        logs, events = ([] if column is None else [column] for column in (found.logs, found.events))
        columns = (offsets, whens, *found.columns, *logs, decimals(offsets), *events, decimals(sequences))
        return filled(shape, columns)
