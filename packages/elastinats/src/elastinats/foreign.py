"""Other people's messages as documents: JSON, NDJSON, arrays, plain text, and the shapes of the original programs.

Pure. Flows in: a decompressed payload. Flows out: one JSON object per event, without an id. Invariant: nothing is
lost and nothing is refused; what collides with the envelope or has a name that Elasticsearch refuses goes to `labels`,
what is no JSON object becomes `message`.
"""

import json
import re
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
#: Signs of a name that Elasticsearch refuses; values that look so only cost time.
_ODD_NAME = re.compile(rb'""|"\.|\.\.|\."|" ')
#: A high surrogate that no low one follows, or a low one without a high one before it, as JSON writes them.
_HALF_PAIR = re.compile(
    r"((?<!\\)(?:\\\\)*)(?:\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f][0-9a-f]{2})"
    r"|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2})",
    re.IGNORECASE,
)


class Context(NamedTuple):
    """Where a message came from: its subject, that subject's place, and when it was stored (RFC 3339)."""

    subject: str
    place: Place
    stored_at: str


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
        if plain.count(b'"') != piece.count(b'"'):  # a key may stand there twice, and a value would be lost
            complete = _loaded_completely(piece)
            fields = complete if isinstance(complete, dict) else fields
        elif _is_plain(fields, piece):
            return _dumped(_envelope({}, context))[:-1] + (b"," if fields else b"") + plain[1:]
        return _dumped(_from_object(fields, context))
    except (TypeError, RecursionError):  # numbers beyond 64 bits, or nested deeper than any mapping could be
        return _dumped(_from_text(piece, context))


def _is_plain(fields: dict[str, Any], piece: bytes) -> bool:
    """Tell whether a document can pass as it is, behind the envelope."""
    return fields.keys().isdisjoint(_SPECIAL) and not any("." in key for key in fields) and not _ODD_NAME.search(piece)


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
