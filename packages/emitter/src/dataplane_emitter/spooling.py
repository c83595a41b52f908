"""Moves events to the spool while the bus does not take them, and back to the bus when it does.

Flows in: the queue, frames that wait for their acknowledgement, the spool's segments. Flows out: segments, and frames
marked `Dp-Replay`. Invariant: a segment is removed only when each of its events is acknowledged or counted as dropped.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from dataplane_common.frame import TARGET_BYTES, Frame
from dataplane_common.ledger import SourceAccount
from dataplane_common.lifecycle import cancel
from dataplane_emitter import segment
from dataplane_emitter.account import Account
from dataplane_emitter.home import Home
from dataplane_emitter.pipeline import MAX_STEP_EVENTS, Pipeline
from dataplane_emitter.publish import JetStreamDelivery
from dataplane_emitter.spool import Spool

#: How long the bus may take nothing before events go to the disk: longer than a reconnect.
_PATIENCE_S = 1.0
#: Bytes of frames that are written and synchronised at once.
_WRITE_BYTES = 512 * 1024
#: How often the spool is looked at, for our own segments.
_TICK_S = 0.25
#: How often it is looked at for what other processes have left.
_LOOK_S = 30.0
Tell = Callable[[SourceAccount], Awaitable[None]]


class Tally:
    """What became of one segment's frames; counted in the account only when each is settled.

    A segment of which some came back is sent again as a whole.
    """

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._acknowledged = 0
        self._dropped: Counter[str] = Counter()
        self.ended = asyncio.Event()
        self._end_if_complete()

    @property
    def is_complete(self) -> bool:
        """Whether everything is settled."""
        return self._acknowledged + self._dropped.total() >= self._expected

    def acknowledge(self, count: int) -> None:
        """Count events that the server has confirmed."""
        self._acknowledged += count
        self._end_if_complete()

    def drop(self, reason: str, count: int) -> None:
        """Count events that will never arrive."""
        self._dropped[reason] += count
        self._end_if_complete()

    def take_back(self) -> None:
        """Hear that the bus has gone: what is not settled stays in its segment."""
        self.ended.set()

    def enter(self, account: "Account | LeftAccount") -> None:
        """Enter the counts in the account of the segment's source."""
        account.acknowledge_spooled(self._acknowledged)
        for reason, count in self._dropped.items():
            account.drop_spooled(reason, count)

    def _end_if_complete(self) -> None:
        if self.is_complete:
            self.ended.set()


class Spooling:
    """Works for one pipeline on the emitter's thread."""

    def __init__(self, pipeline: Pipeline, spool: Spool, delivery: JetStreamDelivery, tell: Tell) -> None:
        self._pipeline = pipeline
        self._spool = spool
        self._delivery = delivery
        self._tell = tell
        self._good_at = time.monotonic()
        self._acknowledged = 0
        self._look_at = 0.0

    async def run(self, is_connected: Callable[[], bool], max_message_bytes: Callable[[], int]) -> None:
        """Store while the bus is away or stuck, drain while it is there, for ever."""
        draining: asyncio.Task[None] | None = None
        try:
            while True:
                if not self._is_patient(connected=is_connected()):
                    self.store(max_message_bytes())
                elif is_connected() and (draining is None or draining.done()):
                    draining = asyncio.create_task(self._drain())
                await asyncio.sleep(_TICK_S)
        finally:
            if draining is not None:
                await cancel(draining)

    def store(self, max_message_bytes: int, deadline: float | None = None) -> None:
        """Move everything that is not acknowledged to the disk, as far as that takes it, until `deadline`."""
        self._take_back()
        while self._spool.is_open and (deadline is None or time.monotonic() < deadline):
            self._fill(max_message_bytes)
            if not self._pipeline.held or not self._store_some():
                return

    def _take_back(self) -> None:
        pipeline = self._pipeline
        for frame, tally in self._delivery.take_back():
            if isinstance(tally, Tally):
                tally.take_back()
            else:
                pipeline.held.append(frame)
        pipeline.held.extend(pipeline.ready)
        pipeline.ready.clear()

    def _fill(self, max_message_bytes: int) -> None:
        """Take from the queue what makes a write worth its while."""
        held = self._pipeline.held
        size = sum(len(frame.payload) for frame in held)
        while size < _WRITE_BYTES and (entries := self._pipeline.take(MAX_STEP_EVENTS, TARGET_BYTES)):
            frames = list(self._pipeline.spool_framer.frames(entries, max_message_bytes))
            held.extend(frames)
            size += sum(len(frame.payload) for frame in frames)

    def _store_some(self) -> bool:
        """Write the first of the held frames; return whether they are on disk."""
        account, held = self._pipeline.account, self._pipeline.held
        some: list[Frame] = []
        size = 0
        for frame in held:
            size += len(frame.payload)
            if some and size > _WRITE_BYTES:
                break
            some.append(frame)
        count = sum(frame.count for frame in some)
        now = account.figures()
        then = msgspec.structs.replace(now, spooled=now.spooled + count, in_flight=now.in_flight - count)
        if not self._spool.store(some, then):
            return False
        account.spooled += count
        for _ in some:
            held.popleft()
        return True

    def _is_patient(self, *, connected: bool) -> bool:
        """Tell whether events may wait in memory: the bus is there, or was a moment ago, and takes them."""
        now = time.monotonic()
        account, queue, config = self._pipeline.account, self._pipeline.queue, self._pipeline.config.queue
        is_filling = len(queue) * 2 > config.max_events or queue.queued_bytes * 2 > config.max_bytes
        if connected and (account.acknowledged != self._acknowledged or not is_filling):
            self._good_at = now
        self._acknowledged = account.acknowledged
        return now - self._good_at < _PATIENCE_S

    async def _drain(self) -> None:
        own = self._spool.own()
        if own is not None:
            await self._drain_home(own, self._pipeline.account)
        elif self._pipeline.account.spooled:  # not where we have put it, or not as we have: nobody can send it
            self._pipeline.account.drop_spooled("spool_damaged", self._pipeline.account.spooled)
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_S
            for home in self._spool.left():
                try:
                    await self._drain_left(home)
                finally:
                    home.leave()
        self._spool.is_drained = True

    async def _drain_home(self, home: Home, account: "Account | LeftAccount") -> bool:
        """Send the segments of a folder, one after the other; return whether all of them are gone."""
        for path in home.segments():
            contents = _read(path)
            tally = Tally(contents.count)
            for frame in contents.frames:
                if tally.ended.is_set():
                    break
                await self._delivery.send(self._pipeline.framer.again(frame, replay=True), tally)
            await tally.ended.wait()
            if not tally.is_complete:
                return False
            tally.enter(account)
            with contextlib.suppress(OSError):
                home.save(account.figures())
                path.unlink()
        return True

    async def _drain_left(self, home: Home) -> None:
        """Send what an ended process has left, and tell its account."""
        contents = [_read(path) for path in home.segments()]
        first = next((frame for one in contents for frame in one.frames), None)
        damaged = sum(one.damaged_bytes for one in contents)
        if damaged:
            self._pipeline.notices.report(f"{home.folder}: {damaged} bytes of the spool were not written whole")
        known = home.account()
        if known is None and first is None:
            return
        found = sum(one.count for one in contents)
        del contents
        account = LeftAccount(known or self._unknown(first.source if first else home.folder.name, found), found)
        if await self._drain_home(home, account):
            await self._tell(account.figures())

    def _unknown(self, source: str, count: int) -> SourceAccount:
        """Return an account for a source that has left none: of its spooled events only."""
        ours = self._pipeline.account.figures()
        return SourceAccount(
            source=source,
            dataset=ours.dataset,
            namespace=ours.namespace,
            host=ours.host,
            service=ours.service,
            accepted=count,
            spooled=count,
        )


class LeftAccount:
    """The account of an ended process, as its spool is drained by this one."""

    def __init__(self, known: SourceAccount, found: int) -> None:
        lost = known.spooled - found
        dropped = {**known.dropped, "spool_damaged": known.dropped.get("spool_damaged", 0) + lost}
        self._figures = msgspec.structs.replace(
            known,
            spooled=found,
            # more than was known of: a segment that was sent already, but not removed any more
            acknowledged=known.acknowledged + min(0, lost),
            dropped=dropped if lost > 0 else known.dropped,
        )

    def figures(self) -> SourceAccount:
        """Return the account as it is now."""
        return self._figures

    def acknowledge_spooled(self, count: int) -> None:
        """Count events of the spool that the server has confirmed."""
        known = self._figures
        self._figures = msgspec.structs.replace(
            known, acknowledged=known.acknowledged + count, spooled=known.spooled - count
        )

    def drop_spooled(self, reason: str, count: int) -> None:
        """Count events of the spool that will never arrive."""
        known = self._figures
        dropped = {**known.dropped, reason: known.dropped.get(reason, 0) + count}
        self._figures = msgspec.structs.replace(known, spooled=known.spooled - count, dropped=dropped)


def _read(path: Path) -> segment.Contents:
    try:
        return segment.decode(path.read_bytes())
    except OSError:
        return segment.Contents([], 0)
