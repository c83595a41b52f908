"""JSON lines: one object a line, common names moved to ECS.

Flows in: a line. Flows out: its members. Invariant: no member is lost; a line that is no object becomes the message.
"""

from typing import Any

import orjson

from dataplane_common.event import parse_timestamp
from dataplane_tailer.parse import Parsed

#: Where other loggers keep what ECS calls `@timestamp`, `message` and `log.level`, most telling first.
_TIMES = ("@timestamp", "timestamp", "time", "ts")
_MESSAGES = ("message", "msg")
_LEVELS = ("log.level", "level", "severity")


def parse_json(line: str) -> Parsed:
    """Return the members of a JSON object; a line without a message of its own has its whole text as `message`."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Parsed({"message": line}, problem=f"not JSON: {error}")
    if not isinstance(record, dict):
        return Parsed({"message": line}, problem="not a JSON object")
    timestamp = _take_timestamp(record)
    _rename(record, _LEVELS, "log.level")
    _rename(record, _MESSAGES, "message")
    record.setdefault("message", line)
    return Parsed(record, timestamp)


def _take_timestamp(record: dict[str, Any]) -> str | None:
    for name in _TIMES:
        if (found := parse_timestamp(record.get(name))) is not None:
            del record[name]
            return found
    if "@timestamp" in record:  # unusable as a time, and no other field may have the name
        record["labels.timestamp"] = str(record.pop("@timestamp"))
    return None


def _rename(record: dict[str, Any], names: tuple[str, ...], to: str) -> None:
    """Move the first of `names` that holds a text to `to`, unless `to` is there."""
    if to in record:
        return
    for name in names:
        if isinstance(record.get(name), str):
            record[to] = record.pop(name)
            return
