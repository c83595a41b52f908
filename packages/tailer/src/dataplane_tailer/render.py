"""Renders lines as events. Pure.

Flows in: complete lines of one file and their place. Flows out: one line of JSON each. Invariant: the same bytes at
the same place under the same source give the same event, times of arrival aside.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from dataplane_common.event import ECS_VERSION, encode, event_id, merge
from dataplane_tailer.cut import text_of
from dataplane_tailer.parse import Parsed

#: What marks an event whose line was not valid in its encoding.
INVALID_ENCODING = "invalid_encoding"
#: What marks an event that is a piece of a line above the limit.
SPLIT_LINE = "split_line"


@dataclass(frozen=True, slots=True)
class Origin:
    """What all events of one file share."""

    source: str
    path: str
    dataset: str
    host: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def envelope(self, offset: int, sequence: int) -> dict[str, Any]:
        """Return the envelope of the event at `offset`."""
        fixed = {
            "log": {"offset": offset, "file": {"path": self.path}},
            "host": {"name": self.host},
            "event": {"dataset": self.dataset, "sequence": sequence},
            "dp": {"source": self.source},
            "ecs": {"version": ECS_VERSION},
        }
        return merge({**self.fields, **_default_service(self)}, fixed)


def _default_service(origin: Origin) -> dict[str, Any]:
    named = "service.name" in origin.fields or "service" in origin.fields
    return {} if named else {"service.name": origin.dataset}


Render = Callable[[list[bytes], int, int, str], list[bytes]]


def plain_renderer(origin: Origin) -> Render:
    """Return a function (lines, offset, first sequence, time of arrival) → events whose `message` is the line.

    One byte format per line: all that is constant for the file is in the template.
    """
    template = _template(origin)

    def render(lines: list[bytes], offset: int, sequence: int, at: str) -> list[bytes]:
        shaped = template.replace(b"@AT@", at.encode())
        events: list[bytes] = []
        dumps, append = orjson.dumps, events.append
        for line in lines:
            try:
                text = line.decode()
            except UnicodeDecodeError:
                append(_undecodable(origin, offset, sequence, at, line))
            else:
                if text[-1:] == "\r":
                    text = text[:-1]
                append(shaped % (offset, dumps(text), offset, sequence))
            offset += len(line) + 1
            sequence += 1
        return events

    return render


def _template(origin: Origin) -> bytes:
    """Return the event as a byte format with holes for offset (hex), message, offset and sequence."""
    document = {"message": "@MESSAGE@", **origin.envelope(-1, -1)}
    body = orjson.dumps(document).replace(b"%", b"%%")
    holes = ((b'"@MESSAGE@"', b"%b"), (b'"offset":-1', b'"offset":%d'), (b'"sequence":-1', b'"sequence":%d'))
    for mark, hole in holes:
        body = body.replace(mark, hole, 1)
    return b'{"_id":"%b-%%x","@timestamp":"@AT@",%b\n' % (origin.source.encode(), body[1:])


def parsed_renderer(origin: Origin, parse: Callable[[str], Parsed]) -> Render:
    """Return a function like `plain_renderer`'s whose events have the fields that `parse` finds."""

    def render(lines: list[bytes], offset: int, sequence: int, at: str) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            text, valid = text_of(line)
            parsed = parse(text)
            document = merge(parsed.fields, _with_marks(origin.envelope(offset, sequence), parsed, at, valid=valid))
            events.append(encode(event_id(origin.source, offset), parsed.timestamp or at, document))
            offset += len(line) + 1
            sequence += 1
        return events

    return render


def render_piece(origin: Origin, place: tuple[int, int], sequence: int, at: str, data: bytes) -> bytes:
    """Return the event of a piece; `place` is (offset of the line, number of the piece)."""
    offset, piece = place
    text, valid = text_of(data, ended=False)
    document = {"message": text, **origin.envelope(offset, sequence)}
    document["tags"] = [SPLIT_LINE] if valid else [SPLIT_LINE, INVALID_ENCODING]
    return encode(event_id(origin.source, offset, piece), at, document)


def _undecodable(origin: Origin, offset: int, sequence: int, at: str, line: bytes) -> bytes:
    text, _ = text_of(line)
    document = {"message": text, **origin.envelope(offset, sequence), "tags": [INVALID_ENCODING]}
    return encode(event_id(origin.source, offset), at, document)


def _with_marks(envelope: dict[str, Any], parsed: Parsed, at: str, *, valid: bool) -> dict[str, Any]:
    if parsed.timestamp is not None:
        envelope["event"]["created"] = at
    if parsed.problem:
        envelope["error"] = {"message": parsed.problem}
    if not valid:
        envelope["tags"] = [INVALID_ENCODING]
    return envelope
