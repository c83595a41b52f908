"""The quick way of somebody else's document that is shaped as events are: its envelope is filled in place.

Pure. Flows in: a parsed document. Flows out: the same with its envelope. Invariant: what comes out is what
`foreign` makes of it in its thorough way; a document that could come out otherwise is not usual.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

from dataplane_common.event import ECS_VERSION
from elastinats.lenient import dump
from elastinats.routes import Place

#: Keys that are no trouble where they have the type that they should have.
USUAL = frozenset({"@timestamp", "message", "event", "host", "ecs", "log", "labels", "_id", "dp"})
#: What the envelope says in `event`, and the labels that a record's own such values become.
RESERVED_IN_EVENT = {name: f"event_{name}" for name in ("dataset", "sequence", "ingested")}
#: Names that were met, are not blank and have no dot: few, but for who makes names of values.
_plain_names: set[str] = set()
_MOST_PLAIN_NAMES = 10_000
_LONGEST_PLAIN_NAME = 100
_CONTAINERS = frozenset({dict, list})
_CANONICAL = len("2026-11-22T10:15:30.123456Z")
_EMPTY: dict[str, Any] = {}


def has_plain_names(fields: dict[str, Any]) -> bool:
    """Tell whether no name, at any depth, is blank or has a dot; false also where that takes too long to find out."""
    if not (fields.keys() <= _plain_names or _learn(fields)):
        return False
    for value in fields.values():
        if type(value) is dict:
            if not has_plain_names(value):
                return False
        elif type(value) is list and not _CONTAINERS.isdisjoint(map(type, value)):
            return False
    return True


def _learn(names: Iterable[str]) -> bool:
    """Remember names that are plain, if all of them are."""
    for name in names:
        if "." in name or not name or name.isspace() or len(name) > _LONGEST_PLAIN_NAME:
            return False
    if len(_plain_names) > _MOST_PLAIN_NAMES:
        _plain_names.clear()
    _plain_names.update(names)
    return True


def is_usual(fields: dict[str, Any], unusual: frozenset[str]) -> bool:
    """Tell whether a document without dots in its names is shaped as events are.

    Its envelope can then be filled without looking further.
    """
    if not fields.keys().isdisjoint(unusual):
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
    return is_canonical(get("@timestamp"))


def is_canonical(value: Any) -> bool:
    """Tell whether a record's own time is written just as ours are, `2026-11-22T10:15:30.123456Z`."""
    if type(value) is not str or len(value) != _CANONICAL or value[-1] != "Z" or value[10] != "T" or value[19] != ".":
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def fill_in_place(fields: dict[str, Any], place: Place) -> dict[str, Any]:
    """Fill the envelope of a usual document, and put aside into labels what belongs to the envelope."""
    event = fields.setdefault("event", {})
    if "_id" in fields or "dp" in fields or not RESERVED_IN_EVENT.keys().isdisjoint(event):
        _put_aside(fields, event)
    event["dataset"] = place.dataset
    if place.host:
        fields.setdefault("host", {}).setdefault("name", place.host)
    if "ecs" not in fields:
        fields["ecs"] = {"version": ECS_VERSION}
    return fields


def _put_aside(fields: dict[str, Any], event: dict[str, Any]) -> None:
    labels = fields.setdefault("labels", {})
    if "_id" in fields:
        _put_label(labels, "id", fields.pop("_id"))
    for name, value in fields.pop("dp", _EMPTY).items():
        _put_label(labels, _label(f"dp.{name}"), value)
    for name, label in RESERVED_IN_EVENT.items():
        if name in event:
            _put_label(labels, label, event.pop(name))


def _put_label(labels: dict[str, Any], label: str, value: Any) -> None:
    while label in labels:
        label += "_"
    labels[label] = value if type(value) is str else dump(value).decode()


@lru_cache(maxsize=1000)
def _label(path: str) -> str:
    """Return a path's name as a label: flat, as `merge` gives it."""
    return re.sub(r"[\s.]+", "_", path).strip("_") or "_"
