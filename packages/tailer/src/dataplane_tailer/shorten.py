"""Makes one event fit into what the server takes. Pure.

Flows in: an event and a size. Flows out: the same event, its text cut, marked with its size before. Invariant: identity
and envelope stay; what is cut is the end of a text, and the event says so.
"""

from typing import Any

import msgspec

#: What marks an event whose text was cut.
TRUNCATED = "truncated"
#: What every event needs, whatever else it has.
_ENVELOPE = ("_id", "@timestamp", "host", "service", "event", "log", "dp", "ecs")

_encode = msgspec.json.Encoder().encode


def shorten(event: bytes, limit: int) -> bytes:
    """Return the event with so much of its text that it has at most `limit` bytes.

    Where the text is not what makes it large, all of the event becomes the text. An envelope above the limit stays.
    """
    document: dict[str, Any] = msgspec.json.decode(event)
    text = document["message"]
    if len(event) - len(_encode(text)) > limit // 2:
        text = event.decode()
        document = {name: document[name] for name in _ENVELOPE if name in document}
    document["event"] = {"original_size": len(event), **document["event"]}
    document["tags"] = [tag for tag in _as_list(document.get("tags")) if tag != TRUNCATED] + [TRUNCATED]
    room = limit - len(_encode(document | {"message": ""})) - len(b"\n")
    return _encode(document | {"message": _cut(text, max(0, room))}) + b"\n"


def _as_list(tags: Any) -> list[Any]:
    return tags if isinstance(tags, list) else [] if tags is None else [tags]


def _cut(text: str, room: int) -> str:
    """Return the longest start of a text whose JSON, without its quotes, has at most `room` bytes."""
    low, high = 0, min(len(text), room)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(_encode(text[:middle])) - 2 <= room else (low, middle - 1)
    return text[:low]
