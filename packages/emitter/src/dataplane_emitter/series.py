"""One series of a metric: its numbers since the last point.

Flows in: increments, values, observations from any thread. Flows out: points, and back what could not be sent.
Invariant: what is taken for a point and given back is counted exactly once in a later one, over any number of threads.
"""

import threading
from collections.abc import Callable, Mapping
from math import inf, isfinite
from typing import Any

from dataplane_emitter import buckets, trace

Labels = Mapping[str, str]
Values = dict[str, Any]
OnUse = Callable[[], None]


def finite(value: Any) -> float | None:
    """Return a number that can be added up, or None for what is no finite number."""
    try:
        if type(value) is not int and type(value) is not float:
            value = type(value).__float__(value)  # a text is no number, though `float` reads it
        return value if isfinite(value) else None
    except Exception:  # noqa: BLE001 - the value's own code
        return None


class _Series:
    """Labels and a lock; `on_use` is called at the first use after a fork."""

    __slots__ = ("_lock", "_on_use", "labels")

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.reset(None)

    def reset(self, on_use: OnUse | None) -> None:
        """Start from nothing, with a lock of its own, as a forked child must."""
        self._lock = threading.RLock()
        self._on_use = on_use
        self._empty()

    def _empty(self) -> None:
        raise NotImplementedError

    def _wake(self) -> None:
        on_use, self._on_use = self._on_use, None
        if on_use is not None:
            on_use()


class CounterSeries(_Series):
    """Adds up; a point is the sum since the last one."""

    __slots__ = ("_value",)

    def _empty(self) -> None:
        self._value: float = 0

    def add(self, amount: float = 1) -> None:
        """Add `amount`; what is no finite number is ignored."""
        number = finite(amount)
        if number is None:
            return
        with self._lock:
            self._value += number
        if self._on_use is not None:
            self._wake()

    def take(self) -> Values | None:
        """Return the point's values and start anew, or None if nothing was added."""
        with self._lock:
            value, self._value = self._value, 0
        return {"value": value} if value else None

    def give_back(self, values: Values) -> None:
        """Put back a point that could not be sent."""
        self.add(values["value"])


class GaugeSeries(_Series):
    """Remembers the last value; every interval has a point from the first value on."""

    __slots__ = ("_value",)

    def _empty(self) -> None:
        self._value: float | None = None

    def put(self, value: float) -> None:
        """Set the value; what is no finite number is ignored."""
        number = finite(value)
        if number is None:
            return
        self._value = number
        if self._on_use is not None:
            self._wake()

    def add(self, amount: float = 1) -> None:
        """Change the value by `amount`, from zero if there is none."""
        number = finite(amount)
        if number is None:
            return
        with self._lock:
            self.put((self._value or 0) + number)

    def take(self) -> Values | None:
        """Return the point's values, or None if there is no value yet."""
        value = self._value
        return None if value is None else {"value": value}

    def give_back(self, values: Values) -> None:
        """Do nothing: the value is still here."""


class HistogramSeries(_Series):
    """Counts observations by bucket; a point has count, sum, least, greatest and the buckets that are not empty.

    Its exemplar is the span in which the greatest was observed, where OpenTelemetry names one.
    """

    __slots__ = ("_buckets", "_count", "_exemplar", "_max", "_min", "_sum")

    def _empty(self) -> None:
        self._count = 0
        self._sum = 0.0
        self._min = inf
        self._max = -inf
        self._buckets: dict[str, int] = {}
        self._exemplar: tuple[str, str] | None = None

    def observe(self, value: float) -> None:
        """Count a value; what is no finite number is ignored."""
        number = finite(value)
        if number is None:
            return
        value = number
        key = buckets.KEYS[buckets.index_of(value)]
        span = trace.current() if value > self._max else None
        with self._lock:
            if span is not None:
                self._exemplar = span
            self._count += 1
            self._sum += value
            self._min = min(self._min, value)
            self._max = max(self._max, value)
            self._buckets[key] = self._buckets.get(key, 0) + 1
        if self._on_use is not None:
            self._wake()

    def take(self) -> Values | None:
        """Return the point's values and start anew, or None if nothing was observed."""
        with self._lock:
            if not self._count:
                return None
            values: Values = {
                "count": self._count,
                "sum": self._sum,
                "min": self._min,
                "max": self._max,
                "buckets": self._buckets,
            }
            if self._exemplar is not None:
                values["exemplar"] = self._exemplar
            self._empty()
        return values

    def give_back(self, values: Values) -> None:
        """Merge a point that could not be sent."""
        with self._lock:
            self._count += values["count"]
            self._sum += values["sum"]
            if self._exemplar is None or values["max"] > self._max:
                self._exemplar = values.get("exemplar", self._exemplar)
            self._min = min(self._min, values["min"])
            self._max = max(self._max, values["max"])
            for key, count in values["buckets"].items():
                self._buckets[key] = self._buckets.get(key, 0) + count


Series = CounterSeries | GaugeSeries | HistogramSeries
