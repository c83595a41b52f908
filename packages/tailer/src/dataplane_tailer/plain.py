"""Renders lines whose events have nothing but the line itself: the shortest way from bytes to bytes. Pure.

Flows in: lines of UTF-8 and their place. Flows out: their events. Invariant: all that is constant is in a template.
"""

from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from dataplane_common.event import encode, event_id
from dataplane_tailer.bulk import BulkRenderer, decimals, filled, places
from dataplane_tailer.encoding import as_json, decode
from dataplane_tailer.origin import Origin, Tally
from dataplane_tailer.splice import INVALID_ENCODING, tags_of

#: What becomes holes of the byte format of an event, in whatever order they stand there.
MARKS = ((b'"@MESSAGE@"', b"%b"), (b'"sequence":-1', b'"sequence":%b'))


class PlainRenderer(BulkRenderer):
    """A renderer of UTF-8 lines whose events have the line as `message`."""

    def __init__(self, origin: Origin, tally: Tally | None = None) -> None:
        self._origin = origin
        self._tally = Tally() if tally is None else tally
        self._template = _template(origin)

    def bulk(self, lines: list[bytes], offset: int, sequence: int, at: str) -> bytes:
        """Return the events of all lines, joined."""
        offsets = places(lines, offset)
        try:
            messages = as_json(texts_of(lines, offset))
        except UnicodeDecodeError:
            return self._one_by_one(lines, offsets, sequence, at)
        offsets.pop()
        shaped = self._template.replace(b"@AT@", at.encode())
        numbers = decimals(range(sequence, sequence + len(lines)))
        return filled(shaped * len(lines), (offsets, messages, decimals(offsets), numbers))

    def _one_by_one(self, lines: list[bytes], offsets: list[int], sequence: int, at: str) -> bytes:
        if len(lines) > 1:
            placed = enumerate(zip(lines, offsets, strict=False), sequence)
            return b"".join(self.bulk([line], offset, number, at) for number, (line, offset) in placed)
        self._tally.count(invalid=1)
        text, _ = decode(lines[0], "utf-8", is_first=offsets[0] == 0)
        document = {"message": text, **self._origin.envelope(offsets[0], sequence)}
        document["tags"] = [*tags_of(document), INVALID_ENCODING]
        return encode(event_id(self._origin.source, offsets[0]), at, document)


def texts_of(lines: list[bytes], offset: int) -> list[bytes]:
    """Return lines without what is no text: a byte-order mark at the start of a file, a carriage return at an end."""
    if offset == 0 and lines and lines[0].startswith(BOM_UTF8):
        lines = [lines[0][len(BOM_UTF8) :], *lines[1:]]
    if b"\r" in b"\n".join(lines):
        return [line[:-1] if line[-1:] == b"\r" else line for line in lines]
    return lines


def _template(origin: Origin) -> bytes:
    """Return the event as a byte format with holes for offset (hex), message, offset and sequence."""
    document = {"message": "@MESSAGE@", **origin.envelope(-1, -1)}
    return line_format(origin.source, document, (*MARKS, (b'"offset":-1', b'"offset":%b')))


def line_format(source: str, document: Mapping[str, Any], marks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return an event as a byte format: its id has the position in hexadecimal, `marks` become the other holes."""
    body = orjson.dumps(document).replace(b"%", b"%%")
    for mark, hole in marks:
        body = body.replace(mark, hole, 1)
    return b'{"_id":"%b-%%x","@timestamp":"@AT@",%b\n' % (source.encode(), body[1:])
