"""What every event of this process has in common: `host`, `service`, `ecs`, static fields; and where each one goes.

Flows in: the configuration. Flows out: routes with the envelope's JSON ready made, so that a log call never encodes it
again. Invariant: a route adds to a body what it lacks, and closes `event` with the sequence.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dataplane_common import event, taxonomy
from dataplane_common.taxonomy import Signal
from dataplane_emitter import encode
from dataplane_emitter.redact import Redactor
from dataplane_emitter.settings import EmitterConfig

#: What one event costs beyond its body: `_id`, sequence and source in JSON, and the Python objects that hold it.
_PER_EVENT_BYTES = 250
#: Top-level names that a record shares with the envelope; a field of such a name takes the careful path.
_SHARED = frozenset(
    {
        "@timestamp",
        "message",
        "log",
        "process",
        "error",
        "trace",
        "span",
        "transaction",
        "event",
        "dp",
        "labels",
        "metric",
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A subject, and what its events end with.

    `event` is the beginning of the `event` object, `begun` what comes between the body, cut at `body_end`, and the
    sequence. `tail` is the envelope's JSON. A merged body has the envelope already, and its last member is `event`.
    `cost_bytes` is what an event takes in the queue beyond its body. `is_suspect` says that a body may hold secrets.
    """

    subject: str
    event: dict[str, Any]
    begun: bytes
    body_end: int
    tail: bytes
    cost_bytes: int
    is_suspect: bool = False

    def ending(self, source: bytes) -> bytes:
        """Return what a line ends with behind its sequence."""
        return b'},"dp":{"source":"%b"}%b}\n' % (source, self.tail)


@dataclass(frozen=True, slots=True, eq=False)
class RoutePair:
    """The routes of one dataset: for a body without the envelope, and for one that has it already.

    `suspect` is for a body without the envelope in which secrets may have to be masked.
    """

    direct: Route
    suspect: Route
    merged: Route


class Envelope:
    """The common part of all events of one configuration."""

    def __init__(self, config: EmitterConfig) -> None:
        self._config = config
        self.redactor = Redactor(config.redact)
        self.own: dict[str, Any] = {
            "service": {"name": config.service},
            "host": {"name": config.host},
            "ecs": {"version": event.ECS_VERSION},
        }
        self.dynamic: dict[str, Callable[[], Any]] = {k: v for k, v in config.fields.items() if callable(v)}
        fixed = {key: value for key, value in config.fields.items() if not callable(value)}
        self.fixed: dict[str, Any] = {k: self.redactor.value(k, v) for k, v in encode.plain(fixed).items()}
        self.static = event.merge(self.fixed, self.own)
        self.static.pop(
            "event", None
        )  # a static field of `event` would make a second object; it takes the careful path
        self.needs_merge = "event" in self.fixed or not _SHARED.isdisjoint(self.fixed)
        self.reserved = _SHARED | event.METADATA_NAMES | {name.partition(".")[0] for name in self.static}
        self._tail = b"," + encode.encode(self.static)[1:-1]
        self._pairs: dict[tuple[Signal, str], RoutePair] = {}

    def routes(self, signal: Signal, dataset: str) -> RoutePair:
        """Return the routes of a dataset, which must be a valid token."""
        pair = self._pairs.get((signal, dataset))
        if pair is None:
            subject = str(taxonomy.subject_for(signal, self._config.namespace, dataset, self._config.host))
            cost = _PER_EVENT_BYTES + len(self._tail)
            begun = {"dataset": dataset}
            event_json = b',"event":' + encode.encode(begun)[:-1] + b',"sequence":'
            suspicious = self.redactor.is_active or self.redactor.examines_all
            pair = RoutePair(
                Route(subject, begun, event_json, -1, self._tail, cost, self.redactor.examines_all),
                Route(subject, begun, event_json, -1, self._tail, cost, suspicious),
                Route(subject, begun, b',"sequence":', -2, b"", cost - len(self._tail), suspicious),
            )
            self._pairs[signal, dataset] = pair
        return pair

    def merge(self, fields: Mapping[str, Any], document: Mapping[str, Any], route: Route) -> dict[str, Any]:
        """Put a record's fields and the static ones under the envelope; `event` becomes the last member.

        Where both a record and the static fields have a value, the record's counts.
        """
        merged = event.merge(_over(self.fixed, _objects(fields)), {**document, **self.own})
        begun = merged.pop("event", {})
        merged["event"] = {**begun, **route.event}
        return merged


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two nested mappings; `above` wins."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _objects(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Move single values off the names that ECS keeps for objects: `error="x"` is `error.message`, others are labels.

    Left where they are, Elasticsearch would refuse the whole event.
    """
    moved: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _OBJECTS and not isinstance(value, Mapping):
            if name == "error" and isinstance(value, str):
                moved.setdefault("error", {"message": value})
            elif value is not None:
                labels = moved.setdefault("labels", {})
                labels[name] = value if isinstance(value, str) else encode.encode({"": value})[4:-1].decode()
        elif name == "labels" and isinstance(value, Mapping):
            moved["labels"] = {**value, **moved.get("labels", {})}
        else:
            moved[name] = value
    return moved


_OBJECTS = frozenset({"error", "event", "trace", "span", "transaction", "metric", "labels", "log", "process", "host",
                      "service", "ecs"})  # fmt: skip
