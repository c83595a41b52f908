"""Whether a document that is already there is the same event.

Pure. Flows in: a stored document and an event as it was sent. Flows out: yes or no. Invariant: times of arrival do not
count, and an event that differs in what it says is never taken for a duplicate.
"""

from collections.abc import Mapping
from typing import Any

from elastinats.lenient import load

_ARRIVAL = ("event.ingested", "@timestamp")


def is_same(stored: Mapping[str, Any], sent: bytes) -> bool:
    """Tell whether both have the same `message`, or the same `metric` and `labels`, or else the same content."""
    event = load(sent)
    if not isinstance(event, dict):
        return False
    if "message" in stored or "message" in event:
        return bool(stored.get("message") == event.get("message"))
    if "metric" in stored or "metric" in event:
        return all(stored.get(key) == event.get(key) for key in ("metric", "labels"))
    return _without_arrival(stored) == _without_arrival(event)


def _without_arrival(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in _ARRIVAL}
