"""The running sink: its connections, its lanes, and how it starts, stops and tells about itself.

Flows in: the configuration and a stop event. Flows out: an exit code. Invariant: a server that is away is waited for,
never a reason to end; a stop hands back what could not be finished.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from msgspec.structs import replace

from dataplane_common import notify
from dataplane_common.bus import Connection, Publisher, PullConsumer, ensure_streams
from dataplane_common.errors import ConfigError, DataPlaneError, ExitCode, Permanent, Transient
from dataplane_common.lifecycle import cancel, wait_first
from dataplane_common.retry import Backoff
from dataplane_common.telemetry import TelemetryServer, get_logger
from elastinats.backlog import watch
from elastinats.batch import Batch
from elastinats.bulk import Bulks
from elastinats.bury import Burials
from elastinats.config import SinkConfig
from elastinats.counts import Counts, Metrics
from elastinats.dead_letter import DeadLetters
from elastinats.decode import Limits
from elastinats.health import Health
from elastinats.index import Index
from elastinats.lanes import Lanes
from elastinats.limit import Limit
from elastinats.pipeline import Lane
from elastinats.routes import Feed, feeds
from elastinats.settle import Settler
from elastinats.setup import consumer_config, put_missing_templates

_log = get_logger("elastinats")
_BACKOFF = Backoff(initial_s=0.5, max_s=10.0)
#: How often answers that the bus could not take are given again.
_TICK_S = 1.0
#: A deleted stream is missed by every publisher; four questions each time are nothing.
_LOOK_FOR_STREAMS_S = 2.0
#: Python looks for cycles whenever there are this many objects more; if nobody says otherwise, 700: 200 messages.
_GC_THRESHOLD = 100_000
#: An error of a bulk request can be in a cycle with its body, megabytes that Python does not know of.
_COLLECT_EVERY_S = 2.0
#: A claim is kept alive this many times within `ack_wait`.
_SIGNS_OF_LIFE = 3


class Sink:
    """Everything that one process runs."""

    def __init__(self, config: SinkConfig) -> None:
        self.config = config
        self.feeds = feeds(config)
        self.health = Health()
        self.counts = Counts()
        self.limit = Limit(config.batch.in_flight)
        self.metrics = Metrics(self.counts, self.limit)
        self.settler = Settler(self.counts, hold_s=config.ack_wait_s / 2)
        self.index = Index(config.elasticsearch, in_flight=config.batch.in_flight)
        self.connection = Connection(config.nats, name=config.name, report=self._note_bus)
        self.connection.on_ready(self.settler.lose_hold)
        self.publisher = Publisher(self.connection, report=self._note_letter)
        self.dead_letters = DeadLetters(self.connection, self.publisher)
        burials = Burials(self.dead_letters, self.settler, config.max_decoded_bytes, time.time)
        self.bulks = Bulks(self.index, self.limit, self.settler, burials, self.counts, self.metrics, self.health)
        self.lanes = Lanes(self._lane)
        self.is_prepared = False

    def not_ready(self) -> list[str]:
        """Return why the sink does not work at this moment."""
        reasons = self.health.reasons()
        if not self.connection.is_connected and not any(reason.startswith("nats:") for reason in reasons):
            reasons.insert(0, f"nats: not connected: {self.connection.last_error}")
        return reasons if reasons or self.is_prepared else ["starting: streams, templates and consumers"]

    async def prepare(self, stop: asyncio.Event) -> None:
        """Wait for both servers, and create the streams and templates that are missing.

        Raises:
            ConfigError: credentials for NATS cannot be read.
            Fatal: the server refuses a stream.
        """
        self.connection.start()
        await self.publisher.start()
        await self._until_done("nats", lambda: self.connection.wait_ready(5.0), stop)
        await self._until_done("nats", lambda: ensure_streams(self.connection), stop)
        if self.config.elasticsearch.setup:
            await self._until_done("elasticsearch", self._put_templates, stop)

    async def reload(self, config: SinkConfig) -> None:
        """Take over another configuration's routes and read the secrets again; the rest takes a restart.

        Raises:
            ConfigError: routes that cannot be, or a secret that cannot be read; nothing is changed then.
        """
        wanted = feeds(config)
        self.index.sign_anew()
        if (kept := replace(config, routes=self.config.routes)) != self.config:
            changed = [name for name in kept.__struct_fields__ if getattr(kept, name) != getattr(self.config, name)]
            _log.warning("configuration.restart_needed", key=", ".join(changed))
        self.config, self.feeds = replace(self.config, routes=config.routes), wanted
        await self.lanes.apply(wanted)
        _log.info("configuration.reloaded", routes=[route.name for route in config.routes])

    async def keep_alive(self) -> None:
        """Give signs of life for what takes long, until cancelled."""
        interval_s = self.config.ack_wait_s / _SIGNS_OF_LIFE
        due = time.monotonic() + interval_s
        while True:
            await asyncio.sleep(min(_TICK_S, interval_s))
            await self.settler.answer_late()
            if time.monotonic() >= due:
                for lane in self.lanes:
                    lane.hold(interval_s)
                await self.settler.keep_alive()
                due = time.monotonic() + interval_s

    async def keep_streams(self) -> None:
        """Create streams again that somebody deleted, so that publishers find them, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_FOR_STREAMS_S)
            with suppress(DataPlaneError):
                for name in await ensure_streams(self.connection):
                    _log.warning("stream.created_again", stream=name)

    async def close(self) -> None:
        """Close both connections."""
        await self.publisher.close()
        await self.connection.close()
        await self.index.close()

    def _lane(self, feed: Feed) -> Lane:
        consumer = PullConsumer(self.connection, consumer_config(self.config, feed), report=self._note_bus)
        return Lane(
            consumer,
            feed.plan,
            Batch(self.config.batch),
            self.bulks,
            self.settler,
            self.dead_letters,
            Limits(self.config.max_decoded_bytes, self.config.batch.max_bytes),
            asyncio.Semaphore(self.config.batch.in_flight),
            time.time,
        )

    async def _put_templates(self) -> None:
        try:
            for line in await put_missing_templates(self.index, single_node=self.config.elasticsearch.single_node):
                _log.info("template.put", what=line)
        except Permanent as error:
            _log.warning("template.refused", error=str(error))

    async def _until_done(self, name: str, operation: Callable[[], Awaitable[object]], stop: asyncio.Event) -> None:
        attempt = 0
        while not stop.is_set():
            try:
                await operation()
            except Transient as error:
                self.health.trouble(name, str(error))
                await wait_first(stop, timeout_s=_BACKOFF.delay_s(attempt))
                attempt += 1
            else:
                self.health.mended(name)
                return

    def _note_bus(self, text: str) -> None:
        _log.warning("nats.troubled", error=text)

    def _note_letter(self, text: str) -> None:
        _log.warning("dead_letter.delayed", error=text)


async def serve(
    config: SinkConfig, stop: asyncio.Event, reload_wanted: asyncio.Event, load: Callable[[], SinkConfig]
) -> int:
    """Run the sink until `stop`, then drain it; return the exit code.

    Each time `reload_wanted` is set, `load` reads the configuration again.
    """
    sink = Sink(config)
    telemetry = None
    if config.telemetry.listen is not None:
        telemetry = TelemetryServer(config.telemetry.listen, sink.not_ready, sink.metrics.registry)
        telemetry.start()
    beside = [asyncio.ensure_future(_tell_manager(stop))]
    try:
        _log.info("sink.started", name=config.name, routes=[route.name for route in config.routes])
        await sink.prepare(stop)
        beside.append(asyncio.ensure_future(_collect_by_the_clock()))
        notify.ready(f"{len(sink.feeds)} consumers")
        beside.append(asyncio.ensure_future(_reload(sink, reload_wanted, load)))
        return int(await flow(sink, stop))
    finally:
        await cancel(*beside)
        await sink.close()
        if telemetry is not None:
            telemetry.close()


async def flow(sink: Sink, stop: asyncio.Event) -> ExitCode:
    """Run the lanes of a prepared sink until `stop`, then drain them; what cannot be finished in time is given back."""
    if not stop.is_set():
        await sink.lanes.apply(sink.feeds)
    sink.is_prepared = True
    beside = [
        asyncio.create_task(sink.keep_alive()),
        asyncio.create_task(sink.keep_streams()),
        asyncio.create_task(watch(sink.connection, lambda: sink.feeds, sink.metrics.backlogs, time.time)),
    ]
    try:
        await sink.lanes.until_stopped(stop)
        finished = await sink.lanes.drain(sink.config.stop.grace_s)
    finally:
        await cancel(*beside)
        returned = await sink.settler.give_back(await sink.lanes.close())
    _log.info(
        "sink.stopped",
        received=sink.counts.received,
        indexed=sink.counts.indexed,
        duplicate=sink.counts.duplicate,
        dead_lettered=sink.counts.dead_lettered.total(),
        messages_returned=returned,
    )
    return ExitCode.CLEAN if finished else ExitCode.GRACE_EXCEEDED


async def _collect_by_the_clock() -> None:
    """Look for cycles now and then until cancelled, and not in what stays: messages are many, and in no cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    while True:
        await asyncio.sleep(_COLLECT_EVERY_S)
        gc.collect()


async def _reload(sink: Sink, wanted: asyncio.Event, load: Callable[[], SinkConfig]) -> None:
    """Read the configuration again when asked to; one that cannot be used changes nothing."""
    while True:
        await wanted.wait()
        wanted.clear()
        try:
            notify.reloading()
            await sink.reload(load())
        except ConfigError as error:
            _log.error("configuration.refused", error=str(error))
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
