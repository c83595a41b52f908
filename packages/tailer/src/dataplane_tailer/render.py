"""Renders lines as events. Pure.

Flows in: complete lines of one file and their place. Flows out: for each line its events, one line of JSON each: one as
a rule, none if a filter drops it, several if it is a block of container lines. Invariant: the same bytes at the same
place under the same source give the same event, times of arrival aside.
"""

from collections.abc import Callable
from itertools import accumulate

from dataplane_common.event import encode, event_id
from dataplane_tailer.bulk import Render
from dataplane_tailer.config import InputConfig
from dataplane_tailer.encoding import decode, newline_of, resolve, split_lines
from dataplane_tailer.filters import Decide, decider
from dataplane_tailer.origin import TOTALS, Origin, Tally
from dataplane_tailer.parse import Parse, Parsed, content_parser, parser, quick_parser
from dataplane_tailer.parse.container import READERS, block_reader
from dataplane_tailer.parse.parsed import as_message, unparsed
from dataplane_tailer.plain import PlainRenderer
from dataplane_tailer.quick import QuickRenderer
from dataplane_tailer.splice import INVALID_ENCODING, Envelope, splicer, tags_of

__all__ = [
    "INVALID_ENCODING",
    "SPLIT_LINE",
    "TOTALS",
    "Origin",
    "PlainRenderer",
    "Render",
    "Tally",
    "parsed_renderer",
    "render_piece",
    "renderer",
]

#: What marks an event that is a piece of a line above the limit.
SPLIT_LINE = "split_line"


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
        return PlainRenderer(origin, tally)
    render = parsed_renderer(origin, parse or as_message, tally, encoding=name, decide=decide)
    envelope = Envelope(origin.source, origin.envelope)
    if name != "utf-8" or decide is not None or envelope.is_marked:
        return render
    quick = quick_parser(entry, envelope.taken | {"log", "event"}, envelope.event_taken)
    return render if quick is None else QuickRenderer(envelope, quick, render)


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
    origin: Origin, place: tuple[int, ...], sequence: int, at: str, data: bytes, *, encoding: str = "utf-8"
) -> bytes:
    """Return the event of a piece; `place` is (offset of the line, number of the piece, …)."""
    offset, *piece = place
    text, valid = decode(data, encoding, ended=False, is_first=offset == 0 and set(piece) == {1})
    document = {"message": text, **origin.envelope(offset, sequence)}
    document["tags"] = [*tags_of(document), SPLIT_LINE] if valid else [*tags_of(document), SPLIT_LINE, INVALID_ENCODING]
    return encode(event_id(origin.source, *place), at, document)
