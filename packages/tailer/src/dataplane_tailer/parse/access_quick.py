r"""The short way of access logs: one pattern for the usual lines, and columns of what it finds in them.

Flows in: lines as they are in the file. Flows out: columns of bytes of JSON. Invariant: what it gives is what
`access_parser` gives; a line with a backslash, a control character or a user is left to the long way.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from dataplane_tailer.encoding import as_json
from dataplane_tailer.parse import times
from dataplane_tailer.parse.http import endpoint_members
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Columns, Quick
from dataplane_tailer.parse.time_field import zone_of

#: Distinct seconds, clients and answers that are remembered.
_KEPT = 4096
_ABSENT = (b"-", b"")
#: Each part ends where one byte is found, and nothing is given back: so a line takes one pass. What the parts hold is
#: checked column by column.
_START = rb'([^ ]++) - - \[([^]]++)\] "([^ ]++) ([^ ]++) HTTP/([^"]++)" ([1-9]\d\d) (0|[1-9]\d{0,17}+|-)'
_REST = rb"(?: (.*+))?+"
_FORMATS = {"common": _START + b"()()" + _REST, "combined": _START + rb' "([^"]*+)" "([^"]*+)"' + _REST}
#: The quotes of a message and of the format, which are escaped in it.
_QUOTES = {"common": 2 + 2, "combined": 2 + 6}
#: Printable ASCII without a comma, which stands in lists of clients.
_is_client = re.compile(rb"[!-+\--~]+").fullmatch
_is_method = re.compile(rb"[A-Za-z]+").fullmatch
_is_version = re.compile(rb"\d(?:\.\d)?").fullmatch
#: The names at the top of what the short way gives.
_TOPS = frozenset({"message", "source", "http", "url", "user_agent", "labels"})
_TimeOf = Callable[[bytes], bytes]
_Match = re.Match[bytes]


def quick_access(config: ParserConfig, taken: frozenset[str]) -> Quick | None:
    """Return the short way for lines without anything unusual; `taken` are names that are not free."""
    if config.rename or not taken.isdisjoint(_TOPS):
        return None
    match, zone = re.compile(_FORMATS[config.parser], re.DOTALL).fullmatch, zone_of(config.time_zone)
    quotes = _QUOTES[config.parser]

    @lru_cache(maxsize=_KEPT)
    def time_of(text: bytes) -> bytes:
        """Return the timestamp of a time; nothing if it is none."""
        try:
            return (times.common(text.decode(), zone) or "").encode()
        except UnicodeDecodeError:
            return b""

    def quick(lines: list[bytes]) -> Columns | None:
        found = [*map(match, lines)]
        if b"\\" in b"".join(lines):
            found = [one if one is not None and b"\\" not in one.string else None for one in found]
        usual = [one for one in found if one is not None]
        columns = _columns(found, usual, quotes, time_of)
        if columns is None and len(usual) > 1:
            found = [one if one and _is_usual(one, quotes, time_of) else None for one in found]
            columns = _columns(found, [one for one in found if one is not None], quotes, time_of)
        return columns

    return quick


def _is_usual(one: _Match, quotes: int, time_of: _TimeOf) -> bool:
    return _columns([one], [one], quotes, time_of) is not None


def _columns(found: list[_Match | None], usual: list[_Match], quotes: int, time_of: _TimeOf) -> Columns | None:
    """Return what was found in the lines that match, None if one of them is unusual after all, or there is none."""
    if not usual:
        return None
    texts = [one.string for one in usual]
    clients, seconds, methods, urls, versions, statuses, sizes, referrers, agents, rests = zip(
        *[one.groups(b"") for one in usual], strict=True
    )
    try:
        messages = as_json(texts)
    except UnicodeDecodeError:
        return None
    # Nothing but quotes is escaped, so all texts are JSON as they are.
    escaped = quotes * len(usual) + b"".join(rests).count(b'"')
    if sum(map(len, messages)) != sum(map(len, texts)) + escaped:
        return None
    whens, sources = [*map(time_of, seconds)], [*map(_source, clients)]
    answers = [*map(_answer, methods, versions, statuses)]
    if not (all(whens) and all(sources) and all(answers)):
        return None
    rests = tuple(rest.replace(b'"', b'\\"') for rest in rests) if any(rests) else rests
    parts: Sequence[tuple[Sequence[bytes], bytes]] = (
        (messages, b'"message":%b'),
        (sources, b',"source":{%b}'),
        (urls, b',"url":{"original":"%b"},"http":{"request":{'),
        _optional(referrers, b'"referrer":"%b",'),
        (answers, b"%b"),
        _optional(sizes, b',"body":{"bytes":%b}'),
        ((), b"}}"),
        _optional(agents, b',"user_agent":{"original":"%b"}'),
        _optional(rests, b',"labels":{"rest":"%b"}'),
    )
    return Columns(found, whens, b"".join(form for _, form in parts), [column for column, _ in parts if column])


def _optional(values: Sequence[bytes], form: bytes) -> tuple[Sequence[bytes], bytes]:
    """Return a column and a byte format of what may be absent in some lines, or in all of them."""
    absent = sum(map(values.count, _ABSENT))
    if absent == len(values):
        return (), b""
    if absent:
        return [b"" if value in _ABSENT else form % value for value in values], b"%b"
    return values, form


@lru_cache(maxsize=_KEPT)
def _source(client: bytes) -> bytes:
    return endpoint_members(client) if _is_client(client) else b""


@lru_cache(maxsize=_KEPT)
def _answer(method: bytes, version: bytes, status: bytes) -> bytes:
    """Return what a request and its answer have in common with many others; nothing if a part is unusual."""
    if not (_is_version(version) and _is_method(method)):
        return b""
    return b'"method":"%b"},"version":"%b","response":{"status_code":%b' % (method, version, status)
