"""`run` as a service: the pipeline with its telemetry, from start to exit code.

Flows in: a configuration and the stop event. Flows out: /healthz, /readyz, /metrics, what the service manager is told,
and an exit code.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dataplane_common import notify
from dataplane_common.errors import ConfigError, ExitCode
from dataplane_common.lifecycle import cancel
from dataplane_common.telemetry import TelemetryServer, get_logger
from dataplane_tailer.config import TailerConfig, needs_restart
from dataplane_tailer.file import TailedFile
from dataplane_tailer.parse.bounded import OVERRUNS
from dataplane_tailer.pipeline import Tailer, create
from dataplane_tailer.render import TOTALS


async def serve(
    config: TailerConfig,
    stop: asyncio.Event,
    reload_wanted: asyncio.Event,
    load: Callable[[], TailerConfig],
) -> int:
    """Run a tailer until `stop` is set; 0 when all was acknowledged, 3 when the grace period was not enough.

    Each time `reload_wanted` is set, `load` reads the configuration again.

    Raises:
        Fatal: the state cannot be used, or written any more.
        ConfigError: credentials cannot be read, or the telemetry address is taken.
    """
    log = get_logger("tailer")
    tailer = create(config)
    telemetry = _telemetry(tailer)
    beside = [
        asyncio.ensure_future(_tell_manager(stop)),
        asyncio.ensure_future(_reload(tailer, reload_wanted, load)),
    ]
    try:
        await tailer.start()
        log.info("tailer.started", host=config.host, state_dir=str(config.state_dir), files=len(tailer.tracker.files))
        notify.ready(f"{len(tailer.tracker.files)} files")
        drained = await tailer.run(stop)
    finally:
        await tailer.close()
        await cancel(*beside)
        if telemetry is not None:
            telemetry.close()
    log.info("tailer.stopped", drained=drained)
    return ExitCode.CLEAN if drained else ExitCode.GRACE_EXCEEDED


async def _reload(tailer: Tailer, wanted: asyncio.Event, load: Callable[[], TailerConfig]) -> None:
    """Read the configuration again when asked to; one that cannot be used changes nothing."""
    while True:
        await wanted.wait()
        wanted.clear()
        try:
            notify.reloading()
            loaded = load()
            if keys := needs_restart(tailer.config, loaded):
                get_logger("tailer").warning("configuration.needs_restart", keys=keys)
            tailer.reload(loaded)
        except ConfigError as error:
            get_logger("tailer").error("configuration.refused", error=str(error))
        notify.ready()


async def _tell_manager(stop: asyncio.Event) -> None:
    """Give signs of life until cancelled, after the end of the drain, and say when the drain begins."""
    alive = asyncio.ensure_future(notify.keep_alive(asyncio.Event()))
    try:
        await stop.wait()
        notify.stopping("draining")
        await alive
    finally:
        await cancel(alive)


def _telemetry(tailer: Tailer) -> TelemetryServer | None:
    if tailer.config.telemetry.listen is None:
        return None
    registry = CollectorRegistry()
    registry.register(TailerCollector(tailer))
    server = TelemetryServer(tailer.config.telemetry.listen, lambda: not_ready(tailer), registry)
    server.start()
    return server


def not_ready(tailer: Tailer) -> list[str]:
    """Return why the tailer does not ship now; an empty list means that it does."""
    reasons = [] if tailer.connection.is_connected else [f"bus: {tailer.connection.last_error}"]
    reasons += [
        f"{stream.reader.name}: {stream.saved.last_error}" for stream in tailer.streams if stream.saved.last_error
    ]
    return reasons + [f"{path}: {reason}" for path, reason in tailer.tracker.opener.refused.items()]


class TailerCollector(Collector):
    """Reads the numbers for /metrics out of the running tailer, so that the hot path counts nothing twice."""

    def __init__(self, tailer: Tailer) -> None:
        self._tailer = tailer

    def collect(self) -> Iterator[Metric]:
        """Yield the tailer's metrics."""
        tailer, counts = self._tailer, self._tailer.publisher.counts
        files = list(tailer.tracker.files.values())
        yield GaugeMetricFamily("dataplane_tailer_files", "Files that are open.", value=len(files))
        yield GaugeMetricFamily("dataplane_tailer_in_flight_frames", "Frames sent.", value=tailer.publisher.in_flight)
        lag = sum(max(0, file.size_seen - file.positions.resolved.offset) for file in files)
        yield GaugeMetricFamily("dataplane_tailer_lag_bytes", "Bytes not yet acknowledged.", value=lag)
        acknowledged = tailer.account.finished_events + sum(file.positions.resolved.sequence for file in files)
        yield CounterMetricFamily("dataplane_tailer_events_acknowledged", "Events acknowledged.", value=acknowledged)
        for name in ("sent", "acknowledged", "resent", "refused"):
            yield CounterMetricFamily(f"dataplane_tailer_frames_{name}", f"Frames {name}.", value=getattr(counts, name))
        yield CounterMetricFamily("dataplane_tailer_sent_bytes", "Payload bytes sent.", value=counts.payload_bytes)
        yield from _lines()
        yield self._abandoned(files)

    def _abandoned(self, files: list[TailedFile]) -> Metric:
        """Return the bytes that nobody can read any more: the number to be woken for."""
        lost = Counter(self._tailer.account.lost_bytes)
        for file in files:
            lost.update(file.record.abandoned_bytes)
        family = CounterMetricFamily("dataplane_tailer_abandoned_bytes", "Bytes lost unread.", labels=("reason",))
        for reason, count in lost.items():
            family.add_metric((reason,), count)
        return family


def _lines() -> Iterator[Metric]:
    """Yield what became of lines that are no ordinary events, by dataset."""
    totals = dict(TOTALS)
    for name, about in (("unparsed", "not understood by their parser"), ("invalid", "not valid in their encoding")):
        family = CounterMetricFamily(f"dataplane_tailer_lines_{name}", f"Lines {about}.", labels=("dataset",))
        for dataset, tally in totals.items():
            family.add_metric((dataset,), getattr(tally, name))
        yield family
    family = CounterMetricFamily("dataplane_tailer_pattern_overruns", "Searches given up.", labels=("pattern",))
    for pattern, count in dict(OVERRUNS).items():
        family.add_metric((pattern,), count)
    yield family
    family = CounterMetricFamily(
        "dataplane_tailer_lines_filtered", "Lines dropped by rule.", labels=("dataset", "rule")
    )
    for dataset, tally in totals.items():
        for rule, count in dict(tally.dropped).items():
            family.add_metric((dataset, rule), count)
    yield family
