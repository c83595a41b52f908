"""The emitter: what an application holds.

Flows in: calls of the application. Flows out: stages and instruments at work. Invariant: no method but the constructor
raises, none waits longer than it was told to, and a forked child finds a fresh start.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from dataplane_emitter import process
from dataplane_emitter.handler import Handler
from dataplane_emitter.intake import Intake
from dataplane_emitter.metrics import Counter, Gauge, Histogram
from dataplane_emitter.pipeline import Pipeline
from dataplane_emitter.processor import Processor
from dataplane_emitter.registry import Registry
from dataplane_emitter.runtime import Runtime
from dataplane_emitter.series import CounterSeries, GaugeSeries, HistogramSeries
from dataplane_emitter.settings import EmitterConfig
from dataplane_emitter.stats import Stats
from dataplane_emitter.timer import Timer
from dataplane_emitter.worker import Worker

#: Pause after the system had no thread for us.
_NO_THREAD_PAUSE_S = 1.0
#: A year: longer waits overflow the system's clocks.
_MAX_WAIT_S = 365 * 86_400.0
#: Timers that are remembered, so that `with emitter.timer("x"):` in a loop makes one.
_MAX_TIMERS = 1_024


class Emitter:
    """Sends logs and metrics of one service. Made by `configure`; one per process is the rule, more are allowed.

    >>> import logging
    >>> from dataplane_emitter import configure
    >>> from dataplane_emitter.testing import faulty_bus
    >>> with faulty_bus() as bus:
    ...     emitter = configure(service="checkout", servers=bus.url)
    ...     logging.getLogger("shop").addHandler(emitter.handler())
    ...     logging.getLogger("shop").warning("order %d paid", 4711)
    ...     emitter.counter("orders").inc()
    ...     emitter.flush(timeout_s=5)
    ...     emitter.stats().acknowledged
    ...     emitter.close(timeout_s=5)
    True
    2
    """

    def __init__(self, config: EmitterConfig) -> None:
        self.config = config
        self.pipeline: Pipeline
        self._worker: Worker | None
        self._held: tuple[Pipeline, Worker | None]
        self._registry = Registry(config)
        self._parents: list[tuple[Pipeline, Worker | None]] = []
        self.is_closed = False
        self._is_offline = False
        self._timers: dict[tuple[Any, ...], Timer] = {}
        if config.metrics.process:
            Runtime(self._registry)
        self._begin()
        process.register(self)
        self._start()

    def processor(self, *, level: str = "", final: bool = False) -> Processor:
        """Return a structlog processor.

        It passes the event on unchanged, so that it can stand before a renderer, or ends the chain if `final`. Events
        below `level` are not sent.
        """
        return Processor(self.intake, level=level, final=final)

    def handler(self, level: int | str = 0) -> Handler:
        """Return a `logging.Handler` for records from `level` on.

        Raises:
            ValueError: `logging` knows no such level.
        """
        return Handler(self.intake, level.upper() if isinstance(level, str) else level)

    def counter(self, name: str, unit: str = "1", labels: Mapping[str, Any] | None = None) -> Counter:
        """Return the counter of that name; its documents carry what was added in their interval."""
        return Counter(self._registry.family(name, "counter", unit, CounterSeries), labels)

    def gauge(
        self,
        name: str,
        unit: str = "1",
        labels: Mapping[str, Any] | None = None,
        callback: Callable[[], float] | None = None,
    ) -> Gauge:
        """Return the gauge of that name. `callback` is asked for its value on the emitter's thread at each interval.

        It must be quick: while it is asked, nothing is sent.
        """
        gauge = Gauge(self._registry.family(name, "gauge", unit, GaugeSeries), labels)
        if callback is not None:
            self._registry.on_collect(gauge.read_with(callback))
        return gauge

    def histogram(self, name: str, unit: str = "1", labels: Mapping[str, Any] | None = None) -> Histogram:
        """Return the histogram of that name."""
        return Histogram(self._registry.family(name, "histogram", unit, HistogramSeries), labels)

    def timer(self, name: str, labels: Mapping[str, Any] | None = None) -> Timer:
        """Return the timer of that name: a context manager and a decorator, sync and async; its unit is seconds."""
        try:
            key = (name, *(labels.items() if labels is not None else ()))
            known = self._timers.get(key)
        except Exception:  # noqa: BLE001 - no mapping, or a label's value that cannot be hashed
            return self._new_timer(name, labels)
        if known is None:
            if len(self._timers) >= _MAX_TIMERS:
                self._timers = {}
            known = self._timers[key] = self._new_timer(name, labels)
        return known

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything accepted so far, metrics included, is acknowledged or counted as dropped.

        Returns whether that was so within `timeout_s`. An asyncio application calls it with `asyncio.to_thread`.
        """
        self.intake()
        worker = self._worker
        return worker is not None and worker.flush(_seconds(timeout_s, self.config.exit_timeout_s))

    def close(self, timeout_s: float | None = None) -> None:
        """Deliver what there is within `timeout_s` (default: `exit_timeout_s`), tell the final account, and stop.

        What could not be delivered is counted, and said in one line on stderr. Later events are refused. Called at
        exit by itself.
        """
        if self.is_closed:
            return
        self.is_closed = True
        process.forget(self)
        if self._worker is not None:
            self._worker.close(_seconds(timeout_s, self.config.exit_timeout_s))
        self.pipeline.queue.close()
        if self.pipeline.account.spooled:
            where = f"{self.pipeline.account.spooled} events wait in {self.config.spool.dir} for the next start"
            self.pipeline.notices.say(where)
        lost = self.pipeline.queue.counts().dropped.get("exit", 0) + self.pipeline.account.in_flight
        if lost and not self._is_offline:
            why = self.pipeline.notices.last_problem or "the time was too short"
            self.pipeline.notices.say(f"{lost} events were not delivered at the end: {why}")

    def stats(self) -> Stats:
        """Return the counts of this process so far."""
        pipeline = self.pipeline
        counts = pipeline.queue.counts()
        acknowledged = pipeline.account.acknowledged
        series, refused = self._registry.counts()
        return Stats(
            source=pipeline.account.source,
            is_connected=self._worker is not None and self._worker.is_connected,
            accepted=counts.accepted,
            acknowledged=acknowledged,
            in_flight=counts.accepted - acknowledged - pipeline.account.spooled - sum(counts.dropped.values()),
            spooled=pipeline.account.spooled,
            queued=counts.queued,
            queued_bytes=counts.queued_bytes,
            dropped=counts.dropped,
            last_sequence=pipeline.account.last_sequence,
            series=series,
            series_refused=refused,
            last_problem=pipeline.notices.last_problem,
        )

    def intake(self) -> Intake:
        """Return where records enter in this process; its thread is started at the first call after a fork."""
        if self._worker is None:
            self._start()
        return self.pipeline.intake

    def start_anew(self) -> None:
        """Begin again in a forked child: own source, empty queue, metrics from nothing, a thread when first needed."""
        self._parents.append((self.pipeline, self._worker))  # kept, so that nothing of theirs is closed from here
        if self.pipeline.spool is not None:
            self.pipeline.spool.let_go()
        before = self.pipeline.intake
        self._begin()
        before.follow(self.pipeline.queue, self.pipeline.pid)
        self._registry.reset(self._start)

    def go_offline(self) -> None:
        """Start anew without a thread, so that a test can look at what would be sent."""
        if not self._is_offline:
            self._is_offline = True
            self._held = (self.pipeline, self._worker)
            self.pipeline.is_paused = True
            self._begin()
            self._registry.reset(self._start)

    def go_online(self) -> None:
        """Work again as before `go_offline`."""
        if self._is_offline:
            self.pipeline, self._worker = self._held
            self.pipeline.is_paused = False
            self._is_offline = False
            self._registry.reset(self._start)

    def _begin(self) -> None:
        self._worker = None
        self._starting = threading.RLock()
        self._no_thread_until = 0.0
        self.pipeline = Pipeline(self.config, self._registry)
        if self.is_closed:
            self.pipeline.queue.close()

    def _start(self) -> None:
        """Start the thread, once; where the system has none to give, try again later."""
        with self._starting:
            if self._worker is not None or self.is_closed or self._is_offline:
                return
            if time.monotonic() < self._no_thread_until:
                return
            worker = Worker(self.pipeline)
            try:
                worker.start()
            except RuntimeError as error:
                self._no_thread_until = time.monotonic() + _NO_THREAD_PAUSE_S
                self.pipeline.notices.report(f"no thread for the emitter: {error}")
                return
            self._worker = worker
        with contextlib.suppress(Exception):
            process.close_at_end_of_child()

    def __reduce__(self) -> tuple[Any, ...]:
        """Be found again, or made again, in another process."""
        return _found_or_made, (self.config,)

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self

    def _new_timer(self, name: str, labels: Mapping[str, Any] | None) -> Timer:
        return Timer(self._registry.family(name, "timer", "s", HistogramSeries), labels)


def _found_or_made(config: EmitterConfig) -> Emitter:
    known = [emitter for emitter in process.live if isinstance(emitter, Emitter) and not emitter.is_closed]
    return next((emitter for emitter in known if emitter.config == config), None) or Emitter(config)


def _seconds(given: Any, default: float) -> float:
    """Return a time that can be waited for, whatever was given."""
    is_time = isinstance(given, int | float) and not math.isnan(given)
    return max(0.0, min(given, _MAX_WAIT_S)) if is_time else default
