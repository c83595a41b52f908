"""For the tests of an application: what it would have sent, as dictionaries, without a bus.

Flows in: emitters, those that are there and those that the application configures meanwhile. Flows out: their events.
Invariant: an event is captured as it would have been published, made by the same stages; only the thread is missing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import msgspec

from dataplane_common.taxonomy import Signal
from dataplane_emitter import process
from dataplane_emitter.configure import configure
from dataplane_emitter.emitter import Emitter
from dataplane_emitter.faults import FaultyBus, faulty_bus

__all__ = ["Captured", "FaultyBus", "capture_events", "faulty_bus"]


class Captured:
    """What was captured so far; each look takes in what was sent since the last one.

    `emitter` is one for the test itself.
    """

    emitter: Emitter

    def __init__(self) -> None:
        self._emitters: list[Emitter] = []
        self._all: list[tuple[str, dict[str, Any]]] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log events, oldest first."""
        return self._look(Signal.LOGS)

    @property
    def points(self) -> list[dict[str, Any]]:
        """The metric documents of everything counted so far."""
        for emitter in self._emitters:
            emitter.pipeline.collect()
        return self._look(Signal.METRICS)

    def total(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        """Return what a counter has added up, or how often a histogram or timer was used, over all points.

        `labels` are those that a point must have; it may have others.
        """
        wanted = (labels or {}).items()
        fitting = [
            point["metric"]
            for point in self.points
            if point["metric"]["name"] == name and wanted <= point.get("labels", {}).items()
        ]
        counts: list[float] = [metric.get("count", metric.get("value", 0)) for metric in fitting]
        return sum(counts)

    def add(self, emitter: process.Emitting) -> None:
        """Capture this emitter, too."""
        taken = cast("Emitter", emitter)
        taken.go_offline()
        self._emitters.append(taken)

    def release(self) -> None:
        """Let the emitters work again."""
        for emitter in self._emitters:
            emitter.go_online()

    def _look(self, signal: Signal) -> list[dict[str, Any]]:
        for emitter in self._emitters:
            self._all.extend((subject, msgspec.json.decode(line)) for subject, line in emitter.pipeline.lines())
        return [event for subject, event in self._all if subject.startswith(f"{signal}.")]


@contextmanager
def capture_events(**settings: Any) -> Iterator[Captured]:
    """Capture what every emitter of this process sends, those configured within the block included.

    `settings` are those of the emitter for the test itself.

    >>> with capture_events() as captured:
    ...     captured.emitter.counter("orders").inc(2)
    ...     captured.total("orders")
    2
    """
    captured = Captured()
    before = process.set_on_new(captured.add)
    try:
        for emitter in list(process.live):
            captured.add(emitter)
        captured.emitter = configure(**{"service": "test", **settings})
        yield captured
        captured.emitter.close(0)
    finally:
        process.set_on_new(before)
        captured.release()
