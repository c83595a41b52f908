"""Sources that are no files: lines that come once, with a cursor instead of an offset. Ship them like files.

Flows in: batches of lines with the cursor behind them. Flows out: acknowledged frames, and cursor and sequence saved
together. Invariant: a sequence number is never given to two lines: a source whose end is not known to be clean, and
whose lines cannot be read again, is followed by a new source.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec

from dataplane_common.bus import PubAck, Publisher
from dataplane_common.event import ECS_VERSION, encode, event_id, merge, new_source, timestamp
from dataplane_common.frame import TARGET_BYTES, FrameEncoder
from dataplane_common.ledger import SourceAccount
from dataplane_common.taxonomy import Signal, subject_for
from dataplane_tailer.config import InputConfig, TailerConfig
from dataplane_tailer.encoding import decode
from dataplane_tailer.filters import decider
from dataplane_tailer.parse import Parse, Parsed
from dataplane_tailer.positions import Position, Positions, Sent
from dataplane_tailer.state import State


class Batch(NamedTuple):
    """Lines that arrived together, and the cursor behind the last of them (empty where there is none)."""

    lines: list[bytes]
    cursor: str = ""


class Reader(Protocol):
    """Where lines come from."""

    @property
    def name(self) -> str:
        """What the account calls this source."""

    @property
    def is_repeatable(self) -> bool:
        """Whether the same lines come again behind the same cursor."""

    def batches(self, cursor: str) -> AsyncIterator[Batch]:
        """Yield what comes behind a cursor; ends where the source ends."""


class _Saved(msgspec.Struct):
    """What the state keeps of a stream."""

    source: str
    sequence: int = 0
    dropped: int = 0
    cursor: str = ""
    first_at: str = ""
    is_clean: bool = True


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
    _decide: Callable[[str], str | None] | None = None

    def __post_init__(self) -> None:
        known = self.state.get(self._key)
        saved = msgspec.json.decode(known, type=_Saved) if known else None
        if saved is None or not (saved.is_clean or self.reader.is_repeatable):
            saved = _Saved(new_source(), first_at=timestamp(time.time()))
        self.saved = msgspec.structs.replace(saved, is_clean=False)
        self._last = Position(saved.sequence, saved.sequence, saved.dropped)
        self.positions = Positions(self._last)
        self._decide = decider(self.entry.filters)
        self.save()

    @property
    def _key(self) -> str:
        return f"stream {self.reader.name} {self.entry.dataset}"

    async def run(self) -> None:
        """Ship until the source ends."""
        async for batch in self.reader.batches(self.saved.cursor):
            await self.ship(batch)
        self.has_ended = True

    async def ship(self, batch: Batch) -> None:
        """Frame and publish a batch; waits while the window is full."""
        at = timestamp(time.time())
        payload: list[bytes] = []
        size = count = dropped = 0
        limit = min(TARGET_BYTES, self.publisher.connection.max_message_bytes)
        for line in batch.lines:
            event = self._render(line, at, self._last.sequence + count + 1)
            if event is None:
                dropped += 1
                continue
            if payload and size + len(event) > limit:
                await self._publish(payload, dropped, "")
                payload, size, count, dropped = [], 0, 0, 0
            payload.append(event)
            size, count = size + len(event), count + 1
        await self._publish(payload, dropped, batch.cursor)

    def _render(self, line: bytes, at: str, sequence: int) -> bytes | None:
        text, _ = decode(line, "utf-8")
        if self._decide is not None and self._decide(text) is not None:
            return None
        parsed: Parsed = self.parse(text, at)
        envelope: dict[str, Any] = {
            "host": {"name": self.config.host},
            "event": {"dataset": self.entry.dataset, "sequence": sequence},
            "dp": {"source": self.saved.source},
            "ecs": {"version": ECS_VERSION},
        }
        if parsed.timestamp is not None:
            envelope["event"]["created"] = at
        if parsed.problem:
            envelope["error"] = {"message": parsed.problem}
        document = merge({**parsed.fields, **self.entry.fields}, envelope)
        document.setdefault("service", {"name": self.entry.dataset})
        return encode(event_id(self.saved.source, sequence), parsed.timestamp or at, document)

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
        frame = self.encoder.encode(
            str(subject_for(Signal.LOGS, self.config.namespace, self.entry.dataset, self.config.host)),
            self.saved.source,
            b"".join(events),
            first=first,
            end=sequence + 1,
            count=len(events),
            replay=self.reader.is_repeatable,
        )
        settled = await self.publisher.publish(frame.subject, frame.payload, frame.headers)
        settled.add_done_callback(partial(self._on_settled, sent))

    def _on_settled(self, sent: Sent, settled: "asyncio.Future[PubAck]") -> None:
        if not settled.cancelled() and settled.exception() is None:
            self._resolve(sent)

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
