"""Other people's messages as documents: JSON, NDJSON, arrays, plain text, and the shapes of the original programs.

Pure. Flows in: a decompressed payload. Flows out: one JSON object per event, without an id. Invariant: nothing is
lost and nothing is refused; what collides with the envelope or has a name that Elasticsearch refuses goes to `labels`,
what is no JSON object becomes `message`.
"""

import json
import re
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from dataplane_common.event import ECS_VERSION, METADATA_NAMES, merge, parse_timestamp, timestamp
from elastinats.routes import Place

#: Below this a number is a time in seconds, above it one in milliseconds (both meet in the year 5138 and in 1973).
_MILLISECONDS_FROM = 100_000_000_000
#: Keys that have to be looked at one by one; a document without any passes as it is.
_SPECIAL = METADATA_NAMES | {
    "@timestamp", "@msg", "@filepath", "@hostname", "@raw_msg", "@source", "msg", "level", "time", "event", "dp",
    "host", "ecs", "log", "message", "labels",
}  # fmt: skip
#: Those of them that are no trouble where they have the type that they should have; the envelope is filled in place.
_USUAL = frozenset({"@timestamp", "message", "event", "host", "ecs", "log", "labels", "_id", "dp"})
_UNUSUAL = _SPECIAL - _USUAL
_RESERVED_IN_EVENT = ("dataset", "sequence", "ingested")
_CANONICAL = len("2026-11-22T10:15:30.123456Z")
#: What a name that Elasticsearch refuses cannot do without, and such a name itself; the first is quickly found.
_SIGNS = (b'""', b'" ', b'".', b'."', b"..")
_ODD_NAME = re.compile(rb'"(?:\s*|\.[^"]*|[^"]*\.\s*\.[^"]*|[^"]*\.)"\s*:')
#: A quote that is no quote: with it, counting quotes does not find a repeated key.
_DISGUISED_QUOTE = b"\\u0022"
#: A high surrogate that no low one follows, or a low one without a high one before it, as JSON writes them.
_HALF_PAIR = re.compile(
    r"((?<!\\)(?:\\\\)*)(?:\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f][0-9a-f]{2})"
    r"|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2})",
    re.IGNORECASE,
)


_EMPTY: dict[str, Any] = {}
_NS = 1_000_000_000


class Context(NamedTuple):
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
        elements = _loaded(text)
        return [_dumped(element) for element in elements] if isinstance(elements, list) and elements else [payload]
    if b"\n" not in text or isinstance(_loaded(text), dict):
        return [payload]
    lines = [line for line in text.split(b"\n") if line.strip()]
    return (
        lines
        if any(line.lstrip().startswith(b"{") and isinstance(_loaded(line), dict) for line in lines)
        else [payload]
    )


def document(piece: bytes, context: Context) -> bytes:
    """Return one event's JSON object with the envelope filled in."""
    fields = _loaded(piece)
    if not isinstance(fields, dict):
        return _dumped(_from_text(piece, context))
    try:
        plain = orjson.dumps(fields)
        if plain.count(b'"') != piece.count(b'"') or _DISGUISED_QUOTE in piece:
            complete = _loaded_completely(piece)  # a key may stand there twice, and a value would be lost
            return _dumped(_from_object(complete if isinstance(complete, dict) else fields, context))
        if _has_odd_name(piece):
            return _dumped(_from_object(fields, context))
        if fields.keys().isdisjoint(_SPECIAL) and "." not in "".join(fields):
            return _dumped(_envelope({}, context))[:-1] + (b"," if fields else b"") + plain[1:]
        if _is_usual(fields):
            return orjson.dumps(_in_place(fields, context))
        return _dumped(_from_object(fields, context))
    except (TypeError, RecursionError):  # numbers beyond 64 bits, or nested deeper than any mapping could be
        return _dumped(_from_text(piece, context))


def _has_odd_name(piece: bytes) -> bool:
    for sign in _SIGNS:
        if sign in piece:
            return _ODD_NAME.search(piece) is not None
    return False


def _is_usual(fields: dict[str, Any]) -> bool:
    """Tell whether a document is shaped as events are, so that its envelope can be filled without looking further."""
    if not fields.keys().isdisjoint(_UNUSUAL) or "." in "".join(fields):
        return False
    get = fields.get
    if not (
        type(get("message", "")) is type(get("_id", "")) is str
        and type(get("host", _EMPTY)) is type(get("event", _EMPTY)) is type(get("labels", _EMPTY)) is dict
    ):
        return False
    dp = get("dp", _EMPTY)
    return _is_canonical(get("@timestamp")) and type(dp) is dict and all(type(value) is str for value in dp.values())


def _is_canonical(value: Any) -> bool:
    """Tell whether a record's own time is written just as ours are."""
    if type(value) is not str or len(value) != _CANONICAL or value[-1] != "Z" or value[10] != "T" or value[19] != ".":
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _in_place(fields: dict[str, Any], context: Context) -> dict[str, Any]:
    """Fill the envelope of a usual document, and put aside into labels what belongs to the envelope."""
    aside = {"_id": fields.pop("_id")} if "_id" in fields else {}
    for name, value in fields.pop("dp", _EMPTY).items():
        aside[f"dp.{name}"] = value
    event = fields.setdefault("event", {})
    for name in _RESERVED_IN_EVENT:
        if name in event:
            aside[f"event.{name}"] = event.pop(name)
    event["dataset"] = context.place.dataset
    if context.place.host:
        fields.setdefault("host", {}).setdefault("name", context.place.host)
    if "ecs" not in fields:
        fields["ecs"] = {"version": ECS_VERSION}
    if aside:
        labels = fields.setdefault("labels", {})
        for path, value in aside.items():
            name = _label(path)
            while name in labels:
                name += "_"
            labels[name] = value if isinstance(value, str) else _dumped(value).decode()
    return fields


@lru_cache(maxsize=1000)
def _label(path: str) -> str:
    """Return a path's name as a label: flat, as `merge` gives it."""
    return next(iter(merge({path: ""}, {}).get("labels", {path: ""})))


def _loaded(text: bytes) -> Any:
    """Return the JSON value, or None where the text is none."""
    try:
        return orjson.loads(text)
    except ValueError:
        return _loaded_completely(text)


def _loaded_completely(text: bytes) -> Any:
    """Parse what strict parsers refuse or shorten: NaN, repeated keys, lone surrogates, bytes that are not UTF-8."""
    repeated: list[tuple[str, Any]] = []

    def keep_all(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        unique: dict[str, Any] = {}
        for key, value in pairs:
            if key in unique:
                repeated.append((key, value))
            else:
                unique[key] = value
        return unique

    try:
        value = json.loads(_decoded(text), parse_constant=str, object_pairs_hook=keep_all)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and repeated:
        _add_repeated(value, repeated)
    return value


def _decoded(text: bytes) -> str:
    r"""Return text without what cannot be stored: bytes that are not UTF-8, and halves of surrogate pairs."""
    return _HALF_PAIR.sub(r"\1\\ufffd", text.decode("utf-8", "replace"))


def _add_repeated(fields: dict[str, Any], repeated: list[tuple[str, Any]]) -> None:
    """Keep the second and later values of a repeated key under `labels`."""
    labels = fields.setdefault("labels", {})
    if isinstance(labels, dict):
        for key, value in repeated:
            name = key
            while name in labels:
                name += "_"
            labels[name] = value if isinstance(value, str) else json.dumps(value)


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
        fields["message"] = _dumped(message).decode()


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


def _dumped(value: Any) -> bytes:
    """Return the JSON text; what orjson refuses (big numbers, lone surrogates) is mended as little as possible."""
    try:
        return orjson.dumps(value)
    except TypeError:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
        return text.encode("utf-8", "replace")
