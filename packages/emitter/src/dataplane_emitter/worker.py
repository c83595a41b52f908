"""The emitter's own thread, with an event loop of its own.

Flows in: a pipeline. Flows out: its events on the bus. Invariant: whatever happens to the bus, the client or this
thread, the application only ever notices by reading `stats()`; and the thread never outlives its deadline at close.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine
from typing import Any

import msgspec

from dataplane_common.bus import Connection
from dataplane_common.errors import ConfigError, Transient
from dataplane_common.ledger import SourceAccount
from dataplane_common.lifecycle import cancel
from dataplane_emitter.limit import INTENDED
from dataplane_emitter.loop import Loop
from dataplane_emitter.pipeline import Pipeline
from dataplane_emitter.publish import CoreDelivery, Delivery, JetStreamDelivery
from dataplane_emitter.spooling import Spooling

#: Pause before everything is built anew after an error that should not happen, or a secret that cannot be read.
_REBUILD_AFTER_S = 2.0
#: How often metrics, ledger and notices are looked at; their own intervals are longer.
_TICK_S = 0.25
#: How often what limits have held back is told where no later event carries it.
_SUPPRESSED_EVERY_S = 60.0
#: How often a flush looks whether the queue has been passed on.
_FLUSH_POLL_S = 0.005
#: Of the time for closing everything, what the bus gets where there is a disk as well.
_SPOOLED_CLOSE_SHARE = 0.5
#: The same if the bus is known to be away.
_AWAY_CLOSE_SHARE = 0.1
#: What closing the socket may take of the time for closing everything.
_CLOSE_SHARE = 0.25


class Worker:
    """Runs a pipeline until it is closed. All methods may be called from any thread but its own, and never raise."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._thread = threading.Thread(target=self._main, name="dataplane-emitter", daemon=True)
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Connection | None = None
        self._delivery: Delivery | None = None
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._deadline: float | None = None
        self._closing = asyncio.Event()
        self._spooling: Spooling | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the bus is there."""
        return self._connection is not None and self._connection.is_connected

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the system, or an interpreter that is going down, has no thread to give.
        """
        self._thread.start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything accepted before this call is settled; return False if `timeout_s` passed first."""
        deadline = time.monotonic() + timeout_s
        if self._is_own_thread or not self._started.wait(timeout_s) or self._loop is None:
            return False
        flushed: Coroutine[Any, Any, None] = self._flush()
        try:
            future = asyncio.run_coroutine_threadsafe(flushed, self._loop)
        except RuntimeError:  # the loop is closed
            flushed.close()
            return False
        try:
            future.result(max(0.0, deadline - time.monotonic()))
        except Exception:  # noqa: BLE001 - late, cancelled, or whatever else: not flushed
            future.cancel()
            return False
        return True

    def close(self, timeout_s: float) -> None:
        """Deliver what there is within `timeout_s`, and end the thread; what is left is counted as dropped."""
        self._deadline = time.monotonic() + timeout_s
        if self._is_own_thread:
            self._closing.set()
            return
        if self._thread.ident is None:
            return
        if self._started.wait(timeout_s) and self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(max(0.0, self._deadline - time.monotonic()))

    @property
    def _is_own_thread(self) -> bool:
        return threading.get_ident() == self._thread.ident

    def _main(self) -> None:
        self._pipeline.intake.disown_thread()
        while True:
            try:
                with asyncio.Runner(loop_factory=lambda: Loop(self._pipeline.queue)) as runner:
                    runner.run(self._run())
            except BaseException as error:  # noqa: BLE001 - the supervisor of everything below
                self._pipeline.notices.report(f"the emitter starts anew after {type(error).__name__}: {error}")
                self._pipeline.account.abandon("internal_error")
            finally:
                self._connection = self._delivery = None
                self._pipeline.queue.is_reader_busy = False
            if self._deadline is not None:
                return
            time.sleep(_REBUILD_AFTER_S)

    async def _run(self) -> None:
        """Build everything, work until closing is asked for, then finish."""
        self._prepare()
        connection, delivery = self._connection, self._delivery
        if connection is None or delivery is None:
            return
        await delivery.start()
        connection.start()
        works = [self._closing_asked(), self._connect(), self._pump(), self._tick()]
        if self._spooling is not None:
            works.append(self._spooling.run(lambda: self.is_connected, lambda: connection.max_message_bytes))
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._finish(tasks)
        finally:
            await cancel(*tasks)
            self._pipeline.held.clear()
            self._pipeline.ready.clear()
            if self._deadline is not None:
                self._pipeline.queue.clear("exit")
            self._pipeline.account.abandon("exit" if self._deadline is not None else "internal_error")
            await delivery.close()
            await connection.close(_CLOSE_SHARE * self._left_s())

    def _prepare(self) -> None:
        pipeline, config = self._pipeline, self._pipeline.config
        name = f"{config.service} emitter on {config.host}"
        connection = self._connection = Connection(config.nats, name=name, report=self._hear)
        if config.delivery == "core":
            self._delivery = CoreDelivery(connection, pipeline.account, pipeline.framer)
        else:
            report = pipeline.notices.report
            delivery = JetStreamDelivery(connection, pipeline.account, pipeline.framer, config.window, report)
            self._delivery = delivery
            if pipeline.spool is not None:
                self._spooling = Spooling(pipeline, pipeline.spool, delivery, self._tell_left)
        self._wake, self._turn, self._closing = asyncio.Event(), asyncio.Lock(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._deadline is not None:
            self._closing.set()
        self._started.set()

    def _hear(self, report: str) -> None:
        self._pipeline.notices.report(report)
        if self._delivery is not None:
            self._delivery.hear(report)

    async def _connect(self) -> None:
        """Keep the connection's own supervisor alive: it gives up when a secret cannot be read at the first try."""
        connection = self._connection
        while connection is not None:
            try:
                await connection.wait_ready(_REBUILD_AFTER_S)
            except Transient:
                continue
            except ConfigError as error:
                self._pipeline.notices.report(str(error))
                connection.start()
            await asyncio.sleep(_REBUILD_AFTER_S)

    async def _pump(self) -> None:
        """Every linger, or sooner if woken, pass on what the queue has."""
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._pipeline.config.linger_ms / 1000)
            self._wake.clear()
            await self._pass_on()

    async def _pass_on(self) -> None:
        """Pass on the queue's content, frame by frame, as long as there is a bus to take it."""
        connection, delivery, pipeline = self._connection, self._delivery, self._pipeline
        if connection is None or delivery is None:
            return
        async with self._turn:
            while connection.is_connected and await pipeline.step(delivery, connection.max_message_bytes):
                if not pipeline.is_frame_full:
                    break
            if isinstance(delivery, CoreDelivery):
                await delivery.confirm()

    async def _tick(self) -> None:
        """Metrics, ledger and notices, each at its interval."""
        config = self._pipeline.config
        next_points = time.monotonic() + config.metrics.interval_s
        next_ledger = time.monotonic() + config.ledger_interval_s
        next_suppressed = time.monotonic() + _SUPPRESSED_EVERY_S
        while True:
            await asyncio.sleep(min(_TICK_S, config.metrics.interval_s, config.ledger_interval_s))
            now = time.monotonic()
            if now >= next_points:
                next_points = now + config.metrics.interval_s
                self._pipeline.collect()
            if now >= next_ledger and self.is_connected:
                next_ledger = now + config.ledger_interval_s
                await self._tell(final=False)
            if now >= next_suppressed:
                next_suppressed = now + _SUPPRESSED_EVERY_S
                self._pipeline.tell_suppressed()
            self._notice()

    def _notice(self) -> None:
        counts = self._pipeline.queue.counts()
        unwanted = {reason: count for reason, count in counts.dropped.items() if reason not in INTENDED}
        self._pipeline.notices.tick(counts.queued, self._pipeline.account.acknowledged, unwanted)

    async def _tell(self, *, final: bool) -> None:
        if self._connection is not None and self._delivery is not None:
            await self._pipeline.tell(self._delivery, self._connection.max_message_bytes, final=final)

    async def _tell_left(self, account: SourceAccount) -> None:
        """Publish the account of an ended process whose spool we have drained."""
        if self._connection is not None and self._delivery is not None:
            limit = self._connection.max_message_bytes
            await self._pipeline.tell_account(account, self._delivery, limit, wait=True)

    async def _closing_asked(self) -> None:
        await self._closing.wait()

    async def _flush(self) -> None:
        """Return when everything accepted so far, metrics included, is settled."""
        self._pipeline.collect()
        mark = self._pipeline.queue.accepted
        while self._has_waiting(mark):
            self._wake.set()
            await asyncio.sleep(_FLUSH_POLL_S)
        async with self._turn:
            pass  # whoever was in the middle of a step has handed its events over now
        if self._delivery is not None:
            await self._delivery.confirm()

    def _has_waiting(self, mark: int) -> bool:
        """Tell whether any of the first `mark` events is neither on its way nor settled."""
        pipeline = self._pipeline
        oldest = pipeline.queue.oldest()
        return (oldest is not None and oldest <= mark) or bool(pipeline.held or pipeline.account.spooled)

    async def _finish(self, tasks: "list[asyncio.Task[None]]") -> None:
        """Deliver what there is and tell the final account, up to the deadline."""
        _, connecting, pumping, ticking, *spooling = tasks
        await cancel(ticking)
        self._pipeline.collect()
        self._pipeline.tell_suppressed()
        self._pipeline.queue.close()
        with contextlib.suppress(asyncio.TimeoutError):
            async with asyncio.timeout(self._left_s() * self._bus_share()):
                await self._flush()
                await self._tell(final=True)
        await cancel(connecting, pumping, *spooling)
        self._store_rest()

    def _bus_share(self) -> float:
        """Return which part of the time for closing the bus gets."""
        if self._spooling is None:
            return 1 - _CLOSE_SHARE
        is_away = not self.is_connected and self._pipeline.notices.last_problem
        return _AWAY_CLOSE_SHARE if is_away else _SPOOLED_CLOSE_SHARE

    def _store_rest(self) -> None:
        """Put on disk what was not delivered; another process will send it."""
        spool = self._pipeline.spool
        if spool is None or self._spooling is None or self._connection is None:
            return
        self._spooling.store(self._connection.max_message_bytes, self._deadline)
        left = self._pipeline.account.figures(final=True)
        spool.save(msgspec.structs.replace(left, in_flight=0, dropped=_with_exit(left)))
        spool.close()

    def _left_s(self) -> float:
        return max(0.0, (self._deadline or 0.0) - time.monotonic())


def _with_exit(account: SourceAccount) -> dict[str, int]:
    """Return what was dropped, with what is still in memory at the end."""
    lost = account.dropped.get("exit", 0) + account.in_flight
    return {**account.dropped, "exit": lost} if lost else account.dropped
