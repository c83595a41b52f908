"""The quick way of somebody else's document that is shaped as events are: its envelope is filled in place.

Pure. Flows in: a parsed document. Flows out: the same with its envelope. Invariant: what comes out is what
`foreign` makes of it in its thorough way; a document that could come out otherwise is not usual.
"""

import re
from datetime import datetime
from functools import lru_cache
from typing import Any

from dataplane_common.event import ECS_VERSION
from elastinats.lenient import dump
from elastinats.routes import Place

#: Keys that are no trouble where they have the type that they should have.
USUAL = frozenset({"@timestamp", "message", "event", "host", "ecs", "log", "labels", "_id", "dp"})
_RESERVED_IN_EVENT = ("dataset", "sequence", "ingested")
_CANONICAL = len("2026-11-22T10:15:30.123456Z")
_EMPTY: dict[str, Any] = {}


def is_usual(fields: dict[str, Any], unusual: frozenset[str]) -> bool:
    """Tell whether a document is shaped as events are, so that its envelope can be filled without looking further."""
    if not fields.keys().isdisjoint(unusual) or "." in "".join(fields):
        return False
    get = fields.get
    if not (
        type(get("message", "")) is type(get("_id", "")) is str
        and type(get("host", _EMPTY)) is type(get("event", _EMPTY)) is type(get("labels", _EMPTY)) is dict
    ):
        return False
    if "dp" in fields and not (
        type(fields["dp"]) is dict and all(type(value) is str for value in fields["dp"].values())
    ):
        return False
    return _is_canonical(get("@timestamp"))


def _is_canonical(value: Any) -> bool:
    """Tell whether a record's own time is written just as ours are."""
    if type(value) is not str or len(value) != _CANONICAL or value[-1] != "Z" or value[10] != "T" or value[19] != ".":
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def fill_in_place(fields: dict[str, Any], place: Place) -> dict[str, Any]:
    """Fill the envelope of a usual document, and put aside into labels what belongs to the envelope."""
    aside = {"_id": fields.pop("_id")} if "_id" in fields else {}
    for name, value in fields.pop("dp", _EMPTY).items():
        aside[f"dp.{name}"] = value
    event = fields.setdefault("event", {})
    for name in _RESERVED_IN_EVENT:
        if name in event:
            aside[f"event.{name}"] = event.pop(name)
    event["dataset"] = place.dataset
    if place.host:
        fields.setdefault("host", {}).setdefault("name", place.host)
    if "ecs" not in fields:
        fields["ecs"] = {"version": ECS_VERSION}
    if aside:
        labels = fields.setdefault("labels", {})
        for path, value in aside.items():
            name = _label(path)
            while name in labels:
                name += "_"
            labels[name] = value if isinstance(value, str) else dump(value).decode()
    return fields


@lru_cache(maxsize=1000)
def _label(path: str) -> str:
    """Return a path's name as a label: flat, as `merge` gives it."""
    return re.sub(r"[\s.]+", "_", path).strip("_") or "_"
