"""The event: one ECS 8 document, and what makes it the same event wherever it travels.

Pure. Flows in: fields of a user and the envelope of a source. Flows out: one line of JSON ending in a newline, its
first two keys `_id` and `@timestamp`. Invariant: nothing overwrites the envelope and no user field is lost; what
collides, or has a name that Elasticsearch refuses, goes to `labels`.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

ECS_VERSION = "8.17"

#: Field names at the top of a document that Elasticsearch keeps for itself (its metadata fields).
METADATA_NAMES = frozenset(
    {
        "_id", "_index", "_source", "_routing", "_ignored", "_version", "_seq_no", "_primary_term", "_field_names",
        "_doc_count", "_tier", "_nested_path", "_type", "_size", "_meta",
    }
)  # fmt: skip
_ENVELOPE_ONLY = frozenset({"dp", "event.dataset", "event.sequence", "event.ingested"})
_BAD_NAME = re.compile(r"^\s*$|^\.|\.$|\.\.|\.\s*\.")
_ID_START = b'{"_id":"'
_SCALARS = frozenset({str, int, float, bool, type(None)})
#: Names up to this length are remembered.
_SHORT_NAME = 128
_encoder = msgspec.json.Encoder()


def new_source() -> str:
    """Return a new source: 16 random hexadecimal digits."""
    return secrets.token_hex(8)


def event_id(source: str, position: int, *piece: int) -> str:
    """Return an event's identity: `<source>-<position>` in hexadecimal, `.n` behind for a piece of a long line.

    A piece that had to be cut again has pieces of its own: `.n.m`.
    """
    return f"{source}-{position:x}" + "".join(f".{number}" for number in piece)


def timestamp(seconds: float) -> str:
    """Return seconds since the epoch as an RFC 3339 timestamp in UTC with microseconds."""
    return rfc3339(datetime.fromtimestamp(seconds, UTC))


def parse_timestamp(value: Any) -> str | None:
    """Return a record's own ISO 8601 time as the event's timestamp, or None if it is none; no zone means UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return rfc3339(moment.astimezone(UTC))


def rfc3339(moment: datetime) -> str:
    """Return a moment in UTC as a timestamp; see `timestamp`."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")  # many times faster than `strftime`


def encode(identity: str, at: str, document: Mapping[str, Any]) -> bytes:
    """Return the event's line: `_id`, `@timestamp`, then the document's own keys.

    Raises:
        TypeError: a value has no JSON form; `document` comes out of `merge`, so callers have made values plain.
    """
    head = b'{"_id":"%b","@timestamp":"%b"' % (identity.encode(), at.encode())
    body = _encoder.encode(document)
    return head + (b"}\n" if body == b"{}" else b"," + body[1:] + b"\n")


def split_id(line: bytes) -> tuple[bytes, bytes]:
    """Cut an event's line into (id, document without the id), by slicing.

    Raises:
        ValueError: the line does not begin with `_id`.
    """
    if not line.startswith(_ID_START):
        raise ValueError("the line does not begin with an _id")
    end = line.index(b'"', len(_ID_START))
    return line[len(_ID_START) : end], b"{" + line[end + 2 :]


def merge(fields: Mapping[str, Any], envelope: Mapping[str, Any]) -> dict[str, Any]:
    """Put a record's own fields under an envelope.

    Objects on both sides are merged; where both have a value the envelope's stays and the record's goes to
    `labels.<dotted name>`, as does every name that Elasticsearch refuses.
    """
    document: dict[str, Any] = _copy(envelope)
    displaced: list[tuple[str, str]] = []
    for name, value in fields.items():
        if name in METADATA_NAMES:
            displaced.append((name, _as_label(value)))
        else:
            _put(document, name, value, name, displaced)
    if displaced:
        _add_labels(document, displaced)
    return document


def _copy(envelope: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if _is_object(value) else value for key, value in envelope.items()}


def _is_object(value: Any) -> bool:
    """Tell whether a value is an object of JSON, at once for the usual types: asking an abstract class is slow."""
    kind = value.__class__
    return kind is dict or (kind not in _SCALARS and isinstance(value, Mapping))


def _is_refused(name: str) -> bool:
    return _is_refused_short(name) if len(name) <= _SHORT_NAME else _BAD_NAME.search(name) is not None


@lru_cache(maxsize=4096)
def _is_refused_short(name: str) -> bool:
    return _BAD_NAME.search(name) is not None


def _put(target: dict[str, Any], name: str, value: Any, path: str, displaced: list[tuple[str, str]]) -> None:
    """Set `target[name]`, descending into objects; what cannot stay there goes to `displaced` under its path.

    A dotted name is the same as nested objects, as Elasticsearch reads it.
    """
    whole = path, value
    head, dot, rest = name.partition(".")
    if dot and not _is_refused(name):
        name, value, path = head, {rest: value}, path[: -len(rest) - 1]
    if path in _ENVELOPE_ONLY or _is_refused(name):
        displaced.extend(_flat(*whole))
        return
    present = target.get(name)
    if _is_object(value) and (present is None or isinstance(present, dict)):
        if present is None:  # missing, or null
            present = target[name] = {}
        for key, item in value.items():
            _put(present, str(key), item, f"{path}.{key}", displaced)
    elif present is None:
        target[name] = value if value.__class__ in _SCALARS else _clean(value)
    else:
        displaced.extend(_flat(path, value))


def _clean(value: Any) -> Any:
    """Mend names inside lists of objects, which cannot be moved to labels one by one."""
    if isinstance(value, Mapping):
        return {_mended(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def _mended(name: str) -> str:
    return name if not _is_refused(name) else re.sub(r"[\s.]", "_", name) or "_"


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(f"{path}.{key}", item)
    else:
        yield path, _as_label(value)


def _as_label(value: Any) -> str:
    """Labels are keywords: a text stays, everything else is its JSON text."""
    return value if isinstance(value, str) else _encoder.encode(value).decode()


def _add_labels(document: dict[str, Any], displaced: Iterable[tuple[str, str]]) -> None:
    """Put displaced values under `labels`, a flat object: dots in a name become `_`, as ECS asks of labels."""
    labels = document.get("labels")
    if not isinstance(labels, dict):
        labels = {} if labels is None else {"labels": _as_label(labels)}
        document["labels"] = labels
    for name, text in displaced:
        flat = re.sub(r"[\s.]+", "_", name).strip("_") or "_"
        key = flat
        while key in labels:
            key += "_"
        labels[key] = text
