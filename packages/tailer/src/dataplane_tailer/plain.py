"""Renders lines whose events have nothing but the line itself: the shortest way from bytes to bytes. Pure.

Flows in: lines of UTF-8 and their place. Flows out: their events, all in one piece or one by one. Invariant: both ways
give the same bytes.
"""

from codecs import BOM_UTF8
from collections.abc import Sequence

import orjson

from dataplane_common.event import encode, event_id
from dataplane_tailer.encoding import decode
from dataplane_tailer.origin import Origin, Tally
from dataplane_tailer.splice import INVALID_ENCODING, tags_of

#: The holes of one event in a byte format: offset in hexadecimal, message, offset, sequence.
_HOLES = 4


class PlainRenderer:
    """A renderer of UTF-8 lines whose events have the line as `message`; all that is constant is in its template."""

    def __init__(self, origin: Origin, tally: Tally | None = None) -> None:
        self._origin = origin
        self._tally = Tally() if tally is None else tally
        self._template = _template(origin)

    def __call__(self, lines: list[bytes], offset: int, sequence: int, at: str) -> list[bytes]:
        """Return the event of each line; see `render.Render`."""
        block = self.block(lines, offset, sequence, at)
        if block is not None:
            return block.splitlines(keepends=True)
        if len(lines) == 1:
            self._tally.count(invalid=1)
            return [self._undecodable(offset, sequence, at, lines[0])]
        events: list[bytes] = []
        for number, line in enumerate(lines, sequence):
            events += self([line], offset, number, at)
            offset += len(line) + 1
        return events

    def block(self, lines: list[bytes], offset: int, sequence: int, at: str) -> bytes | None:
        """Return the events of all lines joined, or None if one of them is not valid UTF-8.

        One byte format takes all arguments at once: a third less work than one format for each line.
        """
        offsets = [offset]
        for line in lines:
            offset += len(line) + 1
            offsets.append(offset)
        arguments: list[object] = [None] * (_HOLES * len(lines))
        try:
            arguments[1::_HOLES] = [orjson.dumps(line.decode()) for line in _texts(lines, offsets[0])]
        except UnicodeDecodeError:
            return None
        offsets.pop()
        arguments[0::_HOLES] = offsets
        arguments[2::_HOLES] = _decimals(offsets)
        arguments[3::_HOLES] = _decimals(range(sequence, sequence + len(lines)))
        shaped = self._template.replace(b"@AT@", at.encode())
        return (shaped * len(lines)) % tuple(arguments)

    def _undecodable(self, offset: int, sequence: int, at: str, line: bytes) -> bytes:
        text, _ = decode(line, "utf-8", is_first=offset == 0)
        document = {"message": text, **self._origin.envelope(offset, sequence)}
        document["tags"] = [*tags_of(document), INVALID_ENCODING]
        return encode(event_id(self._origin.source, offset), at, document)


def _decimals(numbers: Sequence[int]) -> list[bytes]:
    """Return numbers as decimals, by the fastest printer of integers at hand."""
    return orjson.dumps([*numbers])[1:-1].split(b",") if numbers else []


def _texts(lines: list[bytes], offset: int) -> list[bytes]:
    """Return lines without what is no text: a byte-order mark at the start of a file, a carriage return at an end."""
    if offset == 0 and lines and lines[0].startswith(BOM_UTF8):
        lines = [lines[0][len(BOM_UTF8) :], *lines[1:]]
    if b"\r" in b"\n".join(lines):
        return [line[:-1] if line[-1:] == b"\r" else line for line in lines]
    return lines


def _template(origin: Origin) -> bytes:
    """Return the event as a byte format with holes for offset (hex), message, offset and sequence."""
    document = {"message": "@MESSAGE@", **origin.envelope(-1, -1)}
    body = orjson.dumps(document).replace(b"%", b"%%")
    holes = ((b'"@MESSAGE@"', b"%b"), (b'"offset":-1', b'"offset":%b'), (b'"sequence":-1', b'"sequence":%b'))
    for mark, hole in holes:
        body = body.replace(mark, hole, 1)
    return b'{"_id":"%b-%%x","@timestamp":"@AT@",%b\n' % (origin.source.encode(), body[1:])
