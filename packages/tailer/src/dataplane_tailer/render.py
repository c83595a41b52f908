"""Renders lines as events. Pure.

Flows in: complete lines of one file and their place. Flows out: for each line its events, one line of JSON each: one as
a rule, none if a filter drops it, several if it is a block of container lines. Invariant: the same bytes at the same
place under the same source give the same event, times of arrival aside.
"""

from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import Any

import orjson

from dataplane_common.event import ECS_VERSION, encode, event_id, merge
from dataplane_tailer.config import InputConfig
from dataplane_tailer.encoding import decode, newline_of, resolve, split_lines
from dataplane_tailer.filters import Decide, decider
from dataplane_tailer.parse import Parse, Parsed, Quick, content_parser, parser, quick_parser
from dataplane_tailer.parse.container import READERS, block_reader
from dataplane_tailer.parse.parsed import as_message, unparsed
from dataplane_tailer.splice import INVALID_ENCODING, Envelope, splicer, tags_of

__all__ = [
    "INVALID_ENCODING",
    "SPLIT_LINE",
    "TOTALS",
    "Origin",
    "Render",
    "Tally",
    "parsed_renderer",
    "plain_renderer",
    "render_piece",
    "renderer",
]

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


@dataclass(slots=True)
class Tally:
    """What was rendered, and how: lines that no parser understood, invalid in their encoding, dropped by rule.

    `whole` counts the same for all files of a dataset, those that are closed by now, too.
    """

    unparsed: int = 0
    invalid: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    whole: "Tally | None" = None

    def count(self, *, unparsed: int = 0, invalid: int = 0, dropped: str = "") -> None:
        """Count lines of one kind."""
        self.unparsed += unparsed
        self.invalid += invalid
        if dropped:
            self.dropped[dropped] += 1
        if self.whole is not None:
            self.whole.count(unparsed=unparsed, invalid=invalid, dropped=dropped)


#: What this process has rendered, by dataset: files come and go, these counts only grow.
TOTALS: dict[str, Tally] = {}

#: (lines, offset, first sequence, time of arrival) → the events of each line, joined; count them by their newlines.
Render = Callable[[list[bytes], int, int, str], list[bytes]]
_RenderOne = Callable[[str, Parsed, int, int, str, bool], bytes]


def renderer(origin: Origin, entry: InputConfig, tally: Tally | None = None, *, encoding: str = "") -> Render:
    """Return what renders the lines of a file as its input says.

    `encoding` is the file's own if that is known better than the input says (see `encoding.resolve`). A line may be
    several joined by newlines, if `multiline.cutter` says that they are one event or one block.

    Raises:
        ConfigError: the input's keys cannot be used.
    """
    tally = Tally() if tally is None else tally
    tally.whole = TOTALS.setdefault(origin.dataset, Tally())
    name = resolve(encoding or entry.encoding, b"")
    decide = decider(entry.filters)
    if entry.parser in READERS:
        return _block_renderer(origin, entry, tally, name, decide)
    parse = parser(entry)
    if parse is None and decide is None and name == "utf-8":
        return plain_renderer(origin, tally)
    render = parsed_renderer(origin, parse or as_message, tally, encoding=name, decide=decide)
    envelope = Envelope(origin.source, origin.envelope)
    if name != "utf-8" or decide is not None or envelope.is_marked:
        return render
    quick = quick_parser(entry, envelope.taken | {"log", "event"}, envelope.event_taken)
    return render if quick is None else _quick_renderer(origin, quick, render)


def plain_renderer(origin: Origin, tally: Tally | None = None) -> Render:
    """Return a renderer of UTF-8 lines whose events have the line as `message`.

    One byte format per line: all that is constant for the file is in the template.
    """
    tally = Tally() if tally is None else tally
    template = _template(origin)
    dumps = orjson.dumps

    def render(lines: list[bytes], offset: int, sequence: int, at: str) -> list[bytes]:
        shaped = template.replace(b"@AT@", at.encode())
        offsets = [*accumulate([len(line) + 1 for line in lines], initial=offset)]
        try:
            return [
                shaped % (place, dumps(line.decode()), place, number)
                for line, place, number in zip(_texts(lines, offset), offsets, count(sequence), strict=False)
            ]
        except UnicodeDecodeError:
            if len(lines) == 1:
                tally.count(invalid=1)
                return [_undecodable(origin, offset, sequence, at, lines[0])]
        return [
            event
            for line, place, number in zip(lines, offsets, count(sequence), strict=False)
            for event in render([line], place, number, at)
        ]

    return render


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
    holes = ((b'"@MESSAGE@"', b"%b"), (b'"offset":-1', b'"offset":%d'), (b'"sequence":-1', b'"sequence":%d'))
    for mark, hole in holes:
        body = body.replace(mark, hole, 1)
    return b'{"_id":"%b-%%x","@timestamp":"@AT@",%b\n' % (origin.source.encode(), body[1:])


def parsed_renderer(
    origin: Origin,
    parse: Parse,
    tally: Tally | None = None,
    *,
    encoding: str = "utf-8",
    decide: Decide | None = None,
) -> Render:
    """Return a renderer whose events have the fields that `parse` finds in the lines that `decide` lets through."""
    tally = Tally() if tally is None else tally
    render_one = _one_renderer(origin, tally)
    newline_length = len(newline_of(encoding))

    def render(lines: list[bytes], offset: int, sequence: int, at: str) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            text, is_valid = decode(line, encoding, is_first=offset == 0)
            if decide is not None and (rule := decide(text)) is not None:
                tally.count(dropped=rule)
                events.append(b"")
            else:
                events.append(render_one(text, parse(text, at), offset, sequence, at, is_valid))
                sequence += 1
            offset += len(line) + newline_length
        return events

    return render


def _quick_renderer(origin: Origin, quick: Quick, otherwise: Render) -> Render:
    """Return a renderer that takes the short way where a line is a usual one, and `otherwise` where it is not."""
    envelope = Envelope(origin.source, origin.envelope)

    def render(lines: list[bytes], offset: int, sequence: int, at: str) -> list[bytes]:
        events: list[bytes] = []
        arrival = at.encode()
        dated = envelope.template(created=b',"created":"%b"' % arrival)
        undated = envelope.template(when=arrival, created=b"")
        append = events.append
        for line in lines:
            found = quick(line) if offset else None  # a byte-order mark may be in front of the first line
            if found is None:
                events += otherwise([line], offset, sequence, at)
            else:
                when, log, event, fields = found
                if when:
                    append(dated % (offset, when, fields, log, offset, event, sequence))
                else:
                    append(undated % (offset, fields, log, offset, event, sequence))
            offset += len(line) + 1
            sequence += 1
        return events

    return render


def _one_renderer(origin: Origin, tally: Tally) -> _RenderOne:
    """Return what makes an event of one parsed text, and counts it."""
    splice = splicer(Envelope(origin.source, origin.envelope))

    def render_one(text: str, parsed: Parsed, offset: int, sequence: int, at: str, is_valid: bool) -> bytes:  # noqa: FBT001
        if not is_valid:
            tally.count(invalid=1)
        if parsed.problem:
            tally.count(unparsed=1)
        try:
            return splice(parsed, offset, sequence, at, is_valid)
        except RecursionError:
            tally.count(unparsed=1)
            return splice(unparsed(text, "nested too deeply"), offset, sequence, at, is_valid)

    return render_one


def _block_renderer(origin: Origin, entry: InputConfig, tally: Tally, encoding: str, decide: Decide | None) -> Render:
    """Return a renderer of blocks of container lines: one event for each line that the container wrote."""
    render_one = _one_renderer(origin, tally)
    newline = newline_of(encoding)
    read_block = block_reader(entry, content_parser(entry))

    def render(blocks: list[bytes], offset: int, sequence: int, at: str) -> list[bytes]:
        events: list[bytes] = []
        for block in blocks:
            lines = split_lines(block + newline, newline)
            starts = [*accumulate((len(line) + len(newline) for line in lines), initial=offset)]
            texts = [decode(line, encoding, is_first=start == 0) for line, start in zip(lines, starts, strict=False)]
            made: list[bytes] = []
            for index, text, parsed in read_block([text for text, _ in texts], at):
                if decide is not None and (rule := decide(text)) is not None:
                    tally.count(dropped=rule)
                else:
                    made.append(render_one(text, parsed, starts[index], sequence, at, texts[index][1]))
                    sequence += 1
            events.append(b"".join(made))
            offset = starts[-1]
        return events

    return render


def render_piece(
    origin: Origin, place: tuple[int, int], sequence: int, at: str, data: bytes, *, encoding: str = "utf-8"
) -> bytes:
    """Return the event of a piece; `place` is (offset of the line, number of the piece)."""
    offset, piece = place
    text, valid = decode(data, encoding, ended=False, is_first=offset == 0 and piece == 1)
    document = {"message": text, **origin.envelope(offset, sequence)}
    document["tags"] = [*tags_of(document), SPLIT_LINE] if valid else [*tags_of(document), SPLIT_LINE, INVALID_ENCODING]
    return encode(event_id(origin.source, offset, piece), at, document)


def _undecodable(origin: Origin, offset: int, sequence: int, at: str, line: bytes) -> bytes:
    text, _ = decode(line, "utf-8", is_first=offset == 0)
    document = {"message": text, **origin.envelope(offset, sequence)}
    document["tags"] = [*tags_of(document), INVALID_ENCODING]
    return encode(event_id(origin.source, offset), at, document)
