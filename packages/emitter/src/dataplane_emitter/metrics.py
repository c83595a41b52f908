"""The instruments that an application holds: counter, gauge, histogram.

Flows in: calls. Flows out: numbers in series. Invariant: no call raises or waits; labels given at a call count before
those of the metric, and those before the process's.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Self, TypeVar

from dataplane_emitter.registry import Family, clean
from dataplane_emitter.series import CounterSeries, GaugeSeries, HistogramSeries, Series

_SeriesT = TypeVar("_SeriesT", bound=Series)
#: Label sets of calls that are remembered per instrument, so that a call with known labels is a look-up.
_MAX_REMEMBERED = 2_048


class Instrument(Generic[_SeriesT]):
    """A metric with some of its labels set."""

    def __init__(self, family: Family[_SeriesT], labels: Mapping[str, Any] | None = None) -> None:
        self._family = family
        self._labels = clean(labels) if labels is not None else {}
        self._default: _SeriesT | None = None
        self._by_call: dict[tuple[Any, ...], _SeriesT] = {}

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self  # what counts is the metric, of which there is one

    def series(self, labels: Mapping[str, Any] | None = None) -> _SeriesT:
        """Return the series of this metric with `labels` over its own."""
        if labels is None:
            found = self._default
            if found is None:
                found = self._default = self._family.series(self._labels)
            return found
        try:
            key = tuple(labels.items())
            known = self._by_call.get(key)
        except Exception:  # noqa: BLE001 - no mapping, or a value that cannot be hashed
            return self._family.series({**self._labels, **clean(labels)})
        if known is None:
            if len(self._by_call) >= _MAX_REMEMBERED:
                self._by_call = {}
            known = self._by_call[key] = self._family.series({**self._labels, **clean(labels)})
        return known


class Counter(Instrument[CounterSeries]):
    """Counts events; the document of an interval carries what was added in it.

    >>> from dataplane_emitter.testing import capture_events
    >>> with capture_events() as captured:
    ...     orders = captured.emitter.counter("orders", labels={"shop": "de"})
    ...     orders.inc()
    ...     orders.inc(2, {"shop": "fr"})
    ...     captured.total("orders"), captured.total("orders", {"shop": "fr"})
    (3, 2)
    """

    def inc(self, amount: float = 1, labels: Mapping[str, Any] | None = None) -> None:
        """Add `amount`."""
        if labels is None and self._default is not None:
            self._default.add(amount)
        else:
            self.series(labels).add(amount)

    def bind(self, **labels: Any) -> "Counter":
        """Return the same counter with more labels set, for paths where a look-up is too much."""
        return Counter(self._family, {**self._labels, **labels})


class Gauge(Instrument[GaugeSeries]):
    """A value that goes up and down; the last one of an interval counts, and is repeated until it changes.

    >>> from dataplane_emitter.testing import capture_events
    >>> with capture_events() as captured:
    ...     connections = captured.emitter.gauge("pool_connections")
    ...     connections.set(5)
    ...     connections.dec()
    ...     captured.points[0]["metric"]["value"]
    4
    """

    def set(self, value: float, labels: Mapping[str, Any] | None = None) -> None:
        """Set the value."""
        self.series(labels).put(value)

    def inc(self, amount: float = 1, labels: Mapping[str, Any] | None = None) -> None:
        """Change the value by `amount`."""
        self.series(labels).add(amount)

    def dec(self, amount: float = 1, labels: Mapping[str, Any] | None = None) -> None:
        """Change the value by `-amount`."""
        self.series(labels).add(-amount)

    def bind(self, **labels: Any) -> "Gauge":
        """Return the same gauge with more labels set."""
        return Gauge(self._family, {**self._labels, **labels})

    def read_with(self, callback: Callable[[], float]) -> Callable[[], None]:
        """Return a function that sets the gauge to what `callback` returns; one that raises sets nothing."""

        def read() -> None:
            try:
                self.set(callback())
            except BaseException:  # noqa: BLE001 - the application's own code, which cannot end our thread either
                return

        return read


class Histogram(Instrument[HistogramSeries]):
    """Counts values by size, under the fixed bounds of `dataplane_emitter.buckets`.

    >>> from dataplane_emitter.testing import capture_events
    >>> with capture_events() as captured:
    ...     sizes = captured.emitter.histogram("cart_size", unit="item").bind(shop="de")
    ...     for size in (3, 3, 40):
    ...         sizes.observe(size)
    ...     metric = captured.points[0]["metric"]
    ...     metric["count"], metric["max"], metric["buckets"]
    (3, 40, {'33e-1': 2, '47e0': 1})
    """

    def observe(self, value: float, labels: Mapping[str, Any] | None = None) -> None:
        """Count a value."""
        self.series(labels).observe(value)

    def bind(self, **labels: Any) -> "Histogram":
        """Return the same histogram with more labels set."""
        return Histogram(self._family, {**self._labels, **labels})
