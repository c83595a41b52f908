"""The short way of Traffic Server's lines: a byte format for each set of fields that are there at once.

Flows in: a line as it is in the file. Flows out: bytes of JSON, or None for the long way. Invariant: what it gives is
what `ats_parser` gives; a line in which anything would have to be escaped, or a number that is none in JSON, goes the
long way.
"""

import re
from collections.abc import Callable
from functools import cache, lru_cache, partial
from operator import itemgetter, truth
from typing import Any, NamedTuple

import msgspec
import orjson

from dataplane_tailer.parse.ats import CONVERT, Layout, layout_of, tls_of
from dataplane_tailer.parse.ats_fields import Kind
from dataplane_tailer.parse.http import endpoint_members
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Columns, Quick

#: Distinct values of a field, and distinct times, that are remembered per file.
_KEPT = 4096
#: Sets of fields for which a format is kept; lines of others go the long way.
_SHAPES_KEPT = 256
#: What may stand inside a number or a code: where a literal began with it, a line might match in two ways.
_INSIDE = re.compile(r"[\w.+-]")
#: A time in seconds and milliseconds.
_EPOCH_LENGTH, _POINT_AT, _POINT = 14, 10, ord(".")
#: What a request line is in ECS, in the order of its parts.
_REQUEST = ("http.request.method", "url.original", "http.version")
_Convert = Callable[[bytes], bytes]
#: Kinds that are several members of one object.
_MEMBERS: dict[Kind, _Convert] = {
    Kind.ADDRESS: endpoint_members,
    Kind.TLS_VERSION: lambda text: msgspec.json.encode(tls_of(text.decode()))[1:-1],
}
#: An object of the event: other objects, and values: the number of the value and what is around it. A value without a
#: name is several members.
_Tree = dict[str, Any]


class _Shape(NamedTuple):
    """How the lines in which the same fields are absent become JSON."""

    fields: bytes
    pick: Callable[[list[bytes]], tuple[bytes, ...]]
    event: bytes
    pick_event: Callable[[list[bytes]], tuple[bytes, ...]]
    conversions: list[tuple[int, _Convert]]


def quick_ats(config: ParserConfig, taken: frozenset[str], event_taken: frozenset[str]) -> Quick | None:
    """Return the short way for lines without anything unusual; the names in `taken` and `event_taken` are not free."""
    layout = layout_of(config, is_strict=True)
    if config.rename or not _is_usual(layout, taken, event_taken):
        return None
    match = re.compile(layout.pattern.encode(), re.DOTALL).fullmatch
    escapes = 2 + layout.literals.count('"')
    shapes: dict[tuple[bool, ...], _Shape] = {}
    read_time, dumps = _time_reader(layout), orjson.dumps

    def row_of(line: bytes) -> tuple[bytes, bytes, bytes] | None:
        try:
            message = dumps(line.decode())
        except UnicodeDecodeError:
            return None
        # Nothing but the quotes of the format is escaped, so all texts are JSON as they are.
        if len(message) != len(line) + escapes or (found := match(line)) is None:
            return None
        values = [*found.groups()]
        key = tuple(map(truth, values))
        if (shape := shapes.get(key)) is None:
            if len(shapes) >= _SHAPES_KEPT:
                return None
            shape = shapes[key] = _shape(layout, key)
        if (when := read_time(values)) is None:
            return None
        values.append(message)
        for index, convert in shape.conversions:
            values[index] = convert(values[index])
        event = shape.event and shape.event % shape.pick_event(values)
        return when, event, shape.fields % shape.pick(values)

    return partial(_quick, row_of)


def _quick(row_of: Callable[[bytes], tuple[bytes, bytes, bytes] | None], lines: list[bytes]) -> Columns | None:
    rows = [*map(row_of, lines)]
    usual = [row for row in rows if row is not None]
    if not usual:
        return None
    whens, events, fields = zip(*usual, strict=True)
    return Columns(rows, whens, b"%b", (fields,), events=events)


def _is_usual(layout: Layout, taken: frozenset[str], event_taken: frozenset[str]) -> bool:
    """Tell whether a line matches in one way only, and whether all names are free."""
    names = [name for _, name, _ in _flat(layout)]
    if not layout.pattern.isascii() or any(map(_INSIDE.match, layout.endings)) or len({*names}) < len(names):
        return False
    tops = {name.partition(".")[0] for name in names} - {"event"}
    events = {name.removeprefix("event.") for name in names if name.startswith("event.")}
    return taken.isdisjoint(tops) and event_taken.isdisjoint(events)


def _flat(layout: Layout) -> list[tuple[int, str, Kind]]:
    """Return the numbers, names and kinds of all groups of the strict pattern; behind them is the message."""
    request = _request_at(layout)
    flat = [(_group(layout, index), name, kind) for index, name, kind in layout.names if kind is not Kind.REQUEST]
    if request >= 0:
        flat += [(request + part, name, Kind.TEXT) for part, name in enumerate(_REQUEST)]
    return [*flat, (_group(layout, layout.count), "message", Kind.INTEGER)]  # which is JSON already


def _request_at(layout: Layout) -> int:
    return next((index for index, _, kind in layout.names if kind is Kind.REQUEST), -1)


def _group(layout: Layout, index: int) -> int:
    """Return the group of a value: a request line in front of it has one for each of its parts."""
    return index + (len(_REQUEST) - 1) * (0 <= _request_at(layout) < index)


def _shape(layout: Layout, is_there: tuple[bool, ...]) -> _Shape:
    tree: _Tree = {}
    conversions = []
    for index, name, kind in _flat(layout):
        if index < len(is_there) and not is_there[index]:
            continue
        *path, last = name.split(".")
        place = tree
        for step in path:
            place = place.setdefault(step, {})
        is_json = kind in _MEMBERS or kind in CONVERT
        place["" if kind in _MEMBERS else last] = (index, b"%b" if is_json else b'"%b"')
        if is_json and kind is not Kind.INTEGER:
            conversions.append((index, _converter(kind)))
    event, event_indexes = _write(tree.pop("event", {}))
    fields, indexes = _write(tree)
    return _Shape(fields, _picker(indexes), event + b"," if event else b"", _picker(event_indexes), conversions)


def _write(tree: _Tree) -> tuple[bytes, list[int]]:
    """Return the members of an object as a byte format, and the numbers of the values for its holes."""
    members: list[bytes] = []
    indexes: list[int] = []
    for name, node in tree.items():
        front = b'"%b":' % name.encode() if name else b""
        if isinstance(node, dict):
            inner, more = _write(node)
            members.append(front + b"{" + inner + b"}")
            indexes += more
        else:
            members.append(front + node[1])
            indexes.append(node[0])
    return b",".join(members), indexes


def _picker(indexes: list[int]) -> Callable[[list[bytes]], tuple[bytes, ...]]:
    if len(indexes) > 1:
        return itemgetter(*indexes)
    return lambda values: tuple(values[index] for index in indexes)


@cache
def _converter(kind: Kind) -> _Convert:
    """Return what gives the JSON of a text of a kind."""
    return _MEMBERS.get(kind) or lru_cache(_KEPT)(lambda text: msgspec.json.encode(CONVERT[kind](text.decode())))


def _time_reader(layout: Layout) -> Callable[[list[bytes]], bytes | None]:
    """Return what gives the timestamp of a line's values: nothing if the format has none, None if it is none."""
    indexes = [_group(layout, index) for index in layout.time_indexes]

    @lru_cache(maxsize=_KEPT)
    def read(*texts: bytes) -> bytes | None:
        found = layout.read_time([text.decode() for text in texts])
        return None if found is None else found.encode()

    def epoch(values: list[bytes]) -> bytes | None:
        text = values[at] or b""
        if len(text) != _EPOCH_LENGTH or text[_POINT_AT] != _POINT:
            return read(text)
        second = read(text[:_POINT_AT])
        return second and b"%b%b000Z" % (second[:19], text[_POINT_AT:])

    if not indexes:
        return lambda _values: b""
    at = indexes[0]
    return epoch if len(indexes) == 1 else lambda values: read(*[values[index] or b"" for index in indexes])
