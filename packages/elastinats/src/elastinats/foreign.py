"""Other people's messages as documents: JSON, NDJSON, arrays, plain text, and the shapes of the original programs.

Pure. Flows in: a decompressed payload. Flows out: one JSON object per event, without an id. Invariant: nothing is
lost and nothing is refused; what collides with the envelope or has a name that Elasticsearch refuses goes to `labels`,
what is no JSON object becomes `message`.
"""

import re
from typing import Any

import orjson
from msgspec import Struct

from dataplane_common.event import ECS_VERSION, METADATA_NAMES, merge, parse_timestamp, timestamp
from elastinats.lenient import dump, load, load_completely
from elastinats.mould import Moulds
from elastinats.routes import Place
from elastinats.usual import USUAL, fill_in_place, has_plain_names, is_usual

#: Below this a number is a time in seconds, above it one in milliseconds (both meet in the year 5138 and in 1973).
_MILLISECONDS_FROM = 100_000_000_000
#: Keys that have to be looked at one by one; a document without any passes as it is.
_SPECIAL = METADATA_NAMES | {
    "@timestamp", "@msg", "@filepath", "@hostname", "@raw_msg", "@source", "msg", "level", "time", "event", "dp",
    "host", "ecs", "log", "message", "labels",
}  # fmt: skip
_UNUSUAL = _SPECIAL - USUAL
#: What a name that Elasticsearch refuses cannot do without, and such a name itself; the first is quickly found.
_SIGNS = (b'""', b'" ', b'".', b'."', b"..")
_ODD_NAME = re.compile(rb'"(?:\s*|\.[^"]*|[^"]*\.\s*\.[^"]*|[^"]*\.)"\s*:')
#: A quote that is no quote: with it, counting quotes does not find a repeated key.
_DISGUISED_QUOTE = b"\\u0022"
_NS = 1_000_000_000
_moulds = Moulds()
#: Returns one event's JSON object with the envelope if its shape is known: it is one line then, and was not parsed.
finished = _moulds.fill


class Context(Struct, frozen=True, gc=False):
    """Where a message came from: its subject, that subject's place, and when it was stored (ns since the epoch)."""

    subject: str
    place: Place
    stored_at_ns: int

    @property
    def stored_at(self) -> str:
        """When it was stored (RFC 3339)."""
        return timestamp(self.stored_at_ns / _NS)


def split(payload: bytes) -> list[bytes]:
    """Return the bytes of each event: elements of an array, lines of NDJSON, or else the whole."""
    text = payload.strip()
    if text.startswith(b"["):
        elements = load(text)
        try:
            return [dump(element) for element in elements] if isinstance(elements, list) and elements else [payload]
        except RecursionError:  # nested deeper than any mapping could be
            return [payload]
    if b"\n" not in text or isinstance(load(text), dict):
        return [payload]
    lines = [line for line in text.split(b"\n") if line.strip()]
    return (
        lines if any(line.lstrip().startswith(b"{") and isinstance(load(line), dict) for line in lines) else [payload]
    )


def document(piece: bytes, context: Context) -> bytes:
    """Return one event's JSON object with the envelope filled in."""
    return finished(piece, context.place) or parsed(piece, context)


def parsed(piece: bytes, context: Context) -> bytes:
    """Return the same for a piece that `finished` knows no shape of."""
    fields = load(piece)
    if not isinstance(fields, dict):
        return dump(_from_text(piece, context))
    try:
        return _with_envelope(fields, piece, context)
    except (TypeError, RecursionError):  # numbers beyond 64 bits, or nested deeper than any mapping could be
        return dump(_from_text(piece, context))


def _with_envelope(fields: dict[str, Any], piece: bytes, context: Context) -> bytes:
    """Fill in the envelope, the quickest way that this document allows."""
    plain = orjson.dumps(fields)
    if plain != piece and (plain.count(b'"') != piece.count(b'"') or _DISGUISED_QUOTE in piece):
        complete = load_completely(piece)  # a key may stand there twice, and a value would be lost
        return dump(_from_object(complete if isinstance(complete, dict) else fields, context))
    are_plain = has_plain_names(fields)
    if not are_plain and _has_odd_name(plain):
        return dump(_from_object(fields, context))
    if are_plain or "." not in "".join(fields):
        if fields.keys().isdisjoint(_SPECIAL):
            return dump(_envelope({}, context))[:-1] + (b"," if fields else b"") + plain[1:]
        if is_usual(fields, _UNUSUAL):
            if are_plain:
                _moulds.miss(fields, piece, context.place.dataset)
            return orjson.dumps(fill_in_place(fields, context.place))
    return dump(_from_object(fields, context))


def _has_odd_name(text: bytes) -> bool:
    for sign in _SIGNS:
        if sign in text:
            return _ODD_NAME.search(text) is not None
    return False


def _from_text(piece: bytes, context: Context) -> dict[str, Any]:
    try:
        text, odd = piece.decode(), {}
    except UnicodeDecodeError:
        text, odd = piece.decode("utf-8", "backslashreplace"), {"kind": "pipeline_error"}
    document = _envelope({}, context)
    document["event"].update(odd)
    document["message"] = text.rstrip("\r\n")
    return document


def _from_object(fields: dict[str, Any], context: Context) -> dict[str, Any]:
    _rename(fields)
    at = _own_time(fields)
    document = merge(fields, _envelope(fields, context))
    if at is not None:
        document["@timestamp"] = at
    return document


def _rename(fields: dict[str, Any]) -> None:
    """Give the keys of the original programs, and of logrus, their ECS names where these are free."""
    for old in ("@msg", "@raw_msg"):
        if "message" not in fields and isinstance(fields.get(old), str):
            fields["message"] = fields.pop(old)
    _move(fields, "@filepath", "log", "file", "path")
    _move(fields, "@hostname", "host", "name")
    _move(fields, "host", "host", "name")
    if "message" not in fields and isinstance(fields.get("msg"), str):
        fields["message"] = fields.pop("msg")
        _move(fields, "level", "log", "level")
    message = fields.get("message")
    if message is not None and not isinstance(message, str):
        fields["message"] = dump(message).decode()


def _move(fields: dict[str, Any], old: str, *path: str) -> None:
    """Move a text to a nested place, if nothing is there and the way is free."""
    value = fields.get(old)
    if not isinstance(value, str) or ".".join(path) in fields:
        return
    inner: Any = fields
    for step in path[:-1]:
        inner = inner.get(step, {}) if inner is not fields or step != old else {}
        if not isinstance(inner, dict):
            return
    if path[-1] in inner:
        return
    del fields[old]
    inner = fields
    for step in path[:-1]:
        inner = inner.setdefault(step, {})
    inner[path[-1]] = value


def _own_time(fields: dict[str, Any]) -> str | None:
    """Take the record's own time out of its fields; one that cannot be read stays and becomes a label."""
    for name in ("@timestamp", "time"):
        at = _time(fields.get(name))
        if at is not None:
            del fields[name]
            return at
    return None


def _time(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return parse_timestamp(value)
    try:
        return timestamp(value / 1000 if value >= _MILLISECONDS_FROM else value) if value > 0 else None
    except (OverflowError, ValueError, OSError):
        return None


def _envelope(fields: dict[str, Any], context: Context) -> dict[str, Any]:
    """Return what the subject and the time of arrival can say and the record does not."""
    envelope: dict[str, Any] = {"@timestamp": context.stored_at, "event": {"dataset": context.place.dataset}}
    host = fields.get("host")
    named = "host.name" in fields or (isinstance(host, dict) and "name" in host)
    if context.place.host and not named:
        envelope["host"] = {"name": context.place.host}
    if "ecs" not in fields and "ecs.version" not in fields:
        envelope["ecs"] = {"version": ECS_VERSION}
    return envelope
