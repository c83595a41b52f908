"""All metrics of the process, and the points that they become each interval.

Flows in: families of series. Flows out: documents for the queue. Invariant: a family has at most `max_series` series
and one more, labelled `overflow`, that takes what is beyond; a point that finds no room goes back to its series.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from dataplane_common.lifecycle import pass_on_if_from_signal
from dataplane_common.taxonomy import Signal
from dataplane_emitter import encode, moment
from dataplane_emitter.envelope import Envelope
from dataplane_emitter.level import ERROR
from dataplane_emitter.queue import BoundedQueue, Entry
from dataplane_emitter.series import Labels, OnUse, Series, Values
from dataplane_emitter.settings import EmitterConfig

#: The labels of the series that takes what a family has no room for.
OVERFLOW: Labels = {"overflow": "true"}
#: Characters of a label's value that are kept: labels are keywords, and Elasticsearch ignores endless ones.
_MAX_LABEL = 256
_SeriesT = TypeVar("_SeriesT", bound=Series)


class Family(Generic[_SeriesT]):
    """All series of one metric: a name, a type, a unit."""

    def __init__(self, name: str, kind: str, unit: str, make: Callable[[Labels], _SeriesT], max_series: int) -> None:
        self.name = name
        self.kind = kind
        self.unit = unit
        self.refused = 0
        self._make = make
        self._max_series = max_series
        self._lock = threading.RLock()
        self._series: dict[frozenset[tuple[str, str]], _SeriesT] = {}
        self._overflow: _SeriesT | None = None

    def series(self, labels: Labels) -> _SeriesT:
        """Return the series with exactly these labels, or the overflow series if there are too many."""
        key = frozenset(labels.items())
        found = self._series.get(key)
        return found if found is not None else self._add(key, labels)

    def all(self) -> list[_SeriesT]:
        """Return every series, the overflow series last."""
        with self._lock:
            return [*self._series.values(), *([self._overflow] if self._overflow is not None else [])]

    def reset(self, on_use: OnUse) -> None:
        """Start all series from nothing, in a forked child: what was counted before belongs to the parent."""
        self._lock = threading.RLock()
        for series in self.all():
            series.reset(on_use)

    def _add(self, key: frozenset[tuple[str, str]], labels: Labels) -> _SeriesT:
        with self._lock:
            if key in self._series:
                return self._series[key]
            if len(self._series) >= self._max_series:
                self.refused += 1
                if self._overflow is None:
                    self._overflow = self._make(OVERFLOW)
                return self._overflow
            made = self._series[key] = self._make(dict(labels))
            return made


class Registry:
    """The families, and the callbacks that are asked at each interval."""

    def __init__(self, config: EmitterConfig) -> None:
        self._config = config
        self._lock = threading.RLock()
        self._families: dict[tuple[str, str], Family[Any]] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._collected_at = time.monotonic()

    def family(self, name: str, kind: str, unit: str, make: Callable[[Labels], _SeriesT]) -> Family[_SeriesT]:
        """Return the one family of that name and type, made at its first use."""
        name, unit = encode.message_text(name)[:_MAX_LABEL], encode.message_text(unit)[:_MAX_LABEL]
        with self._lock:
            known = self._families.get((kind, name))
            if known is None:
                known = Family(name, kind, unit, make, self._config.metrics.max_series)
                self._families[kind, name] = known
            return known

    def on_collect(self, callback: Callable[[], None]) -> None:
        """Have `callback` called on the emitter's thread before each interval's points are made."""
        with self._lock:
            self._callbacks.append(callback)

    def reset(self, on_use: OnUse) -> None:
        """Start from nothing in a forked child; `on_use` is called when a series is used there."""
        self._lock = threading.RLock()
        self._collected_at = time.monotonic()
        for family in list(self._families.values()):
            family.reset(on_use)

    def counts(self) -> tuple[int, int]:
        """Return how many series there are, and how many were refused for want of room."""
        families = list(self._families.values())
        return sum(len(family.all()) for family in families), sum(family.refused for family in families)

    def collect(self, envelope: Envelope, queue: BoundedQueue) -> None:
        """Queue one point of each series that has any; those that find no room keep their numbers."""
        now = time.monotonic()
        interval_ms = round((now - self._collected_at) * 1000)
        self._collected_at = now
        for callback in list(self._callbacks):
            callback()
        route = envelope.routes(Signal.METRICS, self._config.dataset).merged
        at = moment.now()
        for family, series, values in self._points():
            metric = {
                "name": family.name,
                "type": family.kind,
                "unit": family.unit,
                "interval_ms": interval_ms,
                **{name: value for name, value in values.items() if name != "exemplar"},
            }
            labels = {**self._config.labels, **series.labels}
            span = values.get("exemplar")
            exemplar = {"trace": {"id": span[0]}, "span": {"id": span[1]}} if span else {}
            document = envelope.merge({"labels": labels}, {"@timestamp": at, "metric": metric, **exemplar}, route)
            if not queue.try_put(Entry.of(ERROR, route, encode.encode(document))):
                series.give_back(values)

    def _points(self) -> Iterator[tuple[Family[Any], Series, Values]]:
        for family in list(self._families.values()):
            for series in family.all():
                values = series.take()
                if values is not None:
                    yield family, series, values


def clean(labels: Mapping[str, Any]) -> dict[str, str]:
    """Return labels as keywords: texts of bounded length under names without dots; what is no mapping has none."""
    try:
        items = list(labels.items())
    except Exception as error:  # noqa: BLE001 - the application's mistake, or its own code
        pass_on_if_from_signal(error)
        return {}
    return {_name(name): encode.message_text(value)[:_MAX_LABEL] for name, value in items}


def _name(name: Any) -> str:
    return encode.message_text(name)[:_MAX_LABEL].replace(".", "_").strip() or "_"
