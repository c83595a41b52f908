"""Cuts an event that is too long for a message, so that it arrives shorter instead of not at all.

Pure. Flows in: one JSON object and a limit. Flows out: the same object below the limit, its longest texts cut and
`event.original_size` telling what it was. Invariant: time, level, identity and the beginning of the message stay.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

#: A text is not cut below this many characters: shorter ones are not what makes an event long.
_KEEP_CHARACTERS = 64
#: After so many rounds of cutting, the event is long by its number of fields, and these go.
_MAX_ROUNDS = 8
_CUT = "…"
#: Cut this much more than needed, for the mark itself and for rounding.
_MARGIN = 8
_ENVELOPE = ("_id", "@timestamp", "message", "log", "metric", "service", "host", "ecs", "event", "dp")


def shrink(document: bytes, limit: int) -> bytes:
    """Return the object's JSON with at most `limit` bytes, or as few as its envelope needs.

    `document` is one JSON object; a final newline is kept.
    """
    ending = b"\n" if document.endswith(b"\n") else b""
    decoded: dict[str, Any] = msgspec.json.decode(document)
    mark(decoded, len(document))
    limit -= len(ending)
    for _ in range(_MAX_ROUNDS):
        shorter = msgspec.json.encode(decoded)
        if len(shorter) <= limit or not _cut_longest(decoded, len(shorter) - limit):
            break
    if len(shorter) > limit:
        decoded = {name: decoded[name] for name in _ENVELOPE if name in decoded}
        _cut_longest(decoded, len(msgspec.json.encode(decoded)) - limit)
        shorter = msgspec.json.encode(decoded)
    return shorter + ending


def mark(document: dict[str, Any], size: int) -> None:
    """Write down an event's size before it was cut; the first size stays."""
    event = document.get("event")
    if isinstance(event, dict):
        event.setdefault("original_size", size)


def _cut_longest(document: dict[str, Any], excess: int) -> bool:
    """Cut the longest texts by `excess` bytes together; return whether there was anything to cut."""
    long = sorted(_long_texts(document), key=lambda found: -found[2])
    for holder, key, size in long:
        if excess <= 0:
            break
        value: str = holder[key]
        kept = max(_KEEP_CHARACTERS, len(value) * (size - excess) // size - _MARGIN)
        if kept >= len(value):
            continue
        holder[key] = value[:kept] + _CUT
        excess -= size - _size(holder[key])
    return bool(long)


def _long_texts(value: Any) -> Iterator[tuple[Any, Any, int]]:
    """Yield (holder, key, encoded size) of each text that can be cut; identities and times are short and stay."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        if isinstance(item, str) and len(item) > _KEEP_CHARACTERS + len(_CUT):
            yield value, key, _size(item)
        elif isinstance(item, dict | list):
            yield from _long_texts(item)


def _size(value: str) -> int:
    return len(msgspec.json.encode(value))
