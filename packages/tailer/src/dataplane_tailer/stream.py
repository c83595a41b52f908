"""Sources that are no files: lines that come once, with a cursor instead of an offset. Ship them like files.

Flows in: batches of lines with the cursor behind them. Flows out: acknowledged frames, and cursor and sequence saved
together. Invariant: a sequence number is never given to two lines: a source whose end is not known to be clean, and
whose lines cannot be read again, is followed by a new source.
"""

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial

import msgspec

from dataplane_common.bus import PubAck, Publisher
from dataplane_common.errors import Permanent, TooLarge, Transient
from dataplane_common.event import new_source, timestamp
from dataplane_common.frame import TARGET_BYTES, FrameEncoder
from dataplane_common.ledger import SourceAccount
from dataplane_common.retry import Backoff
from dataplane_common.taxonomy import Signal, subject_for
from dataplane_common.telemetry import get_logger
from dataplane_tailer.batch import Batch, Reader, pieces_of
from dataplane_tailer.config import InputConfig, TailerConfig
from dataplane_tailer.numbered import NumberedRenderer
from dataplane_tailer.parse import Parse
from dataplane_tailer.positions import Position, Positions, Sent
from dataplane_tailer.shorten import shorten
from dataplane_tailer.state import State

__all__ = ["Reader", "Stream"]

#: The wait before a frame is sent again that the server does not take, whatever its size.
_REFUSED_WAIT_S = 5.0
#: A reader that has ended is started again after a second, later after a minute.
_BACKOFF = Backoff(initial_s=1.0, max_s=60.0)
#: One that has lived for so long works, also if nothing has come.
_STEADY_S = 10.0
#: Room for the headers of a frame, for the envelope of an event, and for what JSON makes of a byte at the worst.
_HEADER_BYTES = 1024
_ENVELOPE_BYTES = 16 * 1024
_WORST_GROWTH = 6
_LEAST_PIECE_BYTES = 256


class _Saved(msgspec.Struct):
    """What the state keeps of a stream."""

    source: str
    sequence: int = 0
    dropped: int = 0
    cursor: str = ""
    first_at: str = ""
    is_clean: bool = True
    last_error: str = ""


@dataclass(slots=True, eq=False)
class Stream:
    """One stream of one input."""

    config: TailerConfig
    entry: InputConfig
    reader: Reader
    parse: Parse
    state: State
    publisher: Publisher
    encoder: FrameEncoder
    saved: _Saved = field(init=False)
    positions: Positions = field(init=False)
    has_ended: bool = False
    _last: Position = field(init=False)
    _cursors: dict[Position, str] = field(default_factory=dict)
    _line_starts_at: int = 0
    _piece: int = 0
    _reached: str = ""
    _again: "set[asyncio.Task[None]]" = field(default_factory=set)
    _renderer: NumberedRenderer = field(init=False)

    def __post_init__(self) -> None:
        known = self.state.get(self._key)
        saved = msgspec.json.decode(known, type=_Saved) if known else None
        if saved is None or not (saved.is_clean or self.reader.is_repeatable):
            saved = _Saved(new_source(), first_at=timestamp(time.time()))
        self.saved = msgspec.structs.replace(saved, is_clean=False, last_error="")
        self._reached = saved.cursor
        self._last = Position(saved.sequence, saved.sequence, saved.dropped)
        self.positions = Positions(self._last)
        self._renderer = NumberedRenderer(saved.source, self.entry, self.config.host, self.parse)
        self.save()

    @property
    def _key(self) -> str:
        return f"stream {self.reader.name} {self.entry.dataset}"

    async def run(self) -> None:
        """Ship until the source ends; where only its reader does, it is started again, less and less often."""
        attempt = 0
        while not self.has_ended:
            steady = asyncio.get_running_loop().call_later(_STEADY_S, self._note, "")
            try:
                async for batch in self.reader.batches(self._reached):
                    attempt = 0
                    self._note("")
                    await self.ship(batch)
                    self._reached = batch.cursor or self._reached
                self.has_ended = True
            except Transient as error:
                self._piece = 0  # of an entry that comes again as a whole
                steady.cancel()
                self._note(str(error))
                await asyncio.sleep(_BACKOFF.delay_s(attempt))
                attempt += 1
            finally:
                steady.cancel()

    def _note(self, problem: str) -> None:
        """Remember what is wrong with the reader, and say it once."""
        if problem and problem != self.saved.last_error:
            get_logger("stream").error("reader.ended", stream=self.reader.name, error=problem)
        elif self.saved.last_error and not problem:
            get_logger("stream").info("reader.recovered", stream=self.reader.name)
        self.saved.last_error = problem

    async def ship(self, batch: Batch) -> None:
        """Frame and publish a batch; waits while the window is full."""
        at = timestamp(time.time())
        payload: list[bytes] = []
        size = dropped = 0
        limit = min(TARGET_BYTES, self._most_bytes)
        ready = self._ready(batch, at)
        for index, line in enumerate(batch.lines):
            events = ready[index : index + 1]
            if not events:
                events = self._events(line, index in batch.going_on, at, self._last.sequence + len(payload) + 1)
            dropped += not events
            for event in events:
                if payload and size + len(event) > limit:
                    await self._publish(payload, 0, "")
                    payload, size = [], 0
                payload.append(event)
                size += len(event)
        await self._publish(payload, dropped, batch.cursor)

    @property
    def _most_bytes(self) -> int:
        return self.publisher.max_message_bytes(Signal.LOGS) - _HEADER_BYTES

    def _ready(self, batch: Batch, at: str) -> list[bytes]:
        """Return one event for each line, where all lines are whole and none needs a closer look; else nothing."""
        if batch.going_on or self._piece:
            return []
        events = self._renderer.all(batch.lines, self._last.sequence + 1, at)
        return events if max(map(len, events), default=0) <= self._most_bytes else []

    def _events(self, line: bytes, goes_on: bool, at: str, sequence: int) -> list[bytes]:  # noqa: FBT001
        """Return a line's event; those of its pieces if it is one itself or too large; none if a filter drops it."""
        if not (goes_on or self._piece):
            event = self._renderer.one(line, sequence, at)
            if event is None or len(event) <= self._most_bytes:
                return [] if event is None else [event]
        most = max(_LEAST_PIECE_BYTES, (self._most_bytes - _ENVELOPE_BYTES) // _WORST_GROWTH)
        events = [
            self._render_piece(data, at, number) for number, data in enumerate(pieces_of(line, most), start=sequence)
        ]
        if not goes_on:
            self._piece = 0
        return events

    def _render_piece(self, data: bytes, at: str, sequence: int) -> bytes:
        """Return the event of a piece of a line; its place is the number of the line's first one."""
        self._line_starts_at = self._line_starts_at if self._piece else sequence
        self._piece += 1
        return self._renderer.piece(data, at, sequence, (self._line_starts_at, self._piece))

    async def _publish(self, events: list[bytes], dropped: int, cursor: str) -> None:
        sequence = self._last.sequence + len(events)
        upto = Position(sequence, sequence, self._last.dropped + dropped)
        if cursor:
            self._cursors[upto] = cursor
        first, self._last = self._last.sequence + 1, upto
        sent = self.positions.track(upto)
        if not events:
            self._resolve(sent)
            return
        settled = await self._send(events, first)
        settled.add_done_callback(partial(self._on_settled, sent, events, first))

    async def _send(self, events: list[bytes], first: int, *, again: bool = False) -> "asyncio.Future[PubAck]":
        frame = self.encoder.encode(
            str(subject_for(Signal.LOGS, self.config.namespace, self.entry.dataset, self.config.host)),
            self.saved.source,
            b"".join(events),
            first=first,
            end=first + len(events),
            count=len(events),
            replay=again or self.reader.is_repeatable,
        )
        return await self.publisher.publish(frame.subject, frame.payload, frame.headers)

    def _on_settled(self, sent: Sent, events: list[bytes], first: int, settled: "asyncio.Future[PubAck]") -> None:
        if settled.cancelled():
            return
        if settled.exception() is None:
            self._resolve(sent)
            return
        task = asyncio.create_task(self._send_again(sent, events, first, settled))
        self._again.add(task)
        task.add_done_callback(self._again.discard)

    async def _send_again(self, sent: Sent, events: list[bytes], first: int, settled: "asyncio.Future[PubAck]") -> None:
        """Send what was refused until all of it is acknowledged: what is too large in halves, one event shortened."""
        waiting = [(events, first, settled)]
        while waiting:
            events, first, settled = waiting.pop(0)
            try:
                await settled
            except TooLarge as error:
                get_logger("stream").warning("frame.too_large", stream=self.reader.name, error=str(error))
                smaller = self._smaller(events, first)
                if smaller == [(events, first)]:  # nothing is left to be cut
                    await asyncio.sleep(_REFUSED_WAIT_S)
                for part, start in smaller:
                    waiting.append((part, start, await self._send(part, start, again=True)))
            except Permanent as error:
                get_logger("stream").warning("frame.refused", stream=self.reader.name, error=str(error))
                await asyncio.sleep(_REFUSED_WAIT_S)
                waiting.append((events, first, await self._send(events, first, again=True)))
        self._resolve(sent)

    def _smaller(self, events: list[bytes], first: int) -> list[tuple[list[bytes], int]]:
        if half := len(events) // 2:
            return [(events[:half], first), (events[half:], first + half)]
        limit = min(self._most_bytes, len(events[0]) * 3 // 4)
        return [([shorten(events[0], limit)], first)]

    def _resolve(self, sent: Sent) -> None:
        resolved = self.positions.resolve(sent)
        for upto in [upto for upto in self._cursors if upto <= resolved]:
            self.saved.cursor = self._cursors.pop(upto)
        self.saved.sequence, self.saved.dropped = resolved.sequence, resolved.dropped

    def save(self, *, is_clean: bool = False) -> None:
        """Write cursor and sequence together; `is_clean` says that nothing is on its way any more."""
        self.saved.is_clean = is_clean and self.positions.waiting == 0
        self.state.put(self._key, msgspec.json.encode(self.saved).decode())

    def account(self) -> SourceAccount:
        """Return the stream's account now."""
        return SourceAccount(
            source=self.saved.source,
            dataset=self.entry.dataset,
            namespace=self.config.namespace,
            host=self.config.host,
            path=self.reader.name,
            accepted=self._last.sequence + self._last.dropped,
            acknowledged=self.positions.resolved.sequence,
            in_flight=self._last.sequence - self.positions.resolved.sequence,
            dropped={"filter": self._last.dropped} if self._last.dropped else {},
            last_sequence=self._last.sequence,
            first_at=self.saved.first_at,
            final=self.has_ended and self.positions.waiting == 0,
        )
