"""Ships the next bytes of one file: read, render, frame, publish, track.

Flows in: a file that may have more. Flows out: frames, each tied to the position that its acknowledgement allows.
Invariant: a boundary and the send limit are on disk before what depends on them is published.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from dataplane_common.bus import PubAck, Publisher
from dataplane_common.errors import Permanent, TooLarge
from dataplane_common.event import timestamp
from dataplane_common.frame import TARGET_BYTES, FrameEncoder
from dataplane_common.taxonomy import Signal, subject_for
from dataplane_tailer.bulk import BulkRenderer
from dataplane_tailer.config import DeliveryConfig
from dataplane_tailer.cut import cut_piece
from dataplane_tailer.file import LEASE_BYTES, TailedFile
from dataplane_tailer.frame import Group, group_events
from dataplane_tailer.positions import Position, Positions, Sent
from dataplane_tailer.read import Flush, Lines, Piece, read_next
from dataplane_tailer.render import render_piece
from dataplane_tailer.state import Boundary, State

#: JSON writes one byte as at most six (`\\u0000`); so much of a message may a line take at the most.
_WORST_GROWTH = 6
#: Room for the envelope of one event.
_ENVELOPE_BYTES = 16 * 1024
#: Room for the headers of a frame.
_HEADERS_BYTES = 512
#: A line is never split smaller than this, whatever the server takes.
_LEAST_SPLIT_BYTES = 256
#: Nor is a frame of several events aimed lower than this.
_LEAST_FRAME_BYTES = 1024


@dataclass(slots=True, eq=False)
class Shipper:
    """Sends what is read. `on_acknowledged` hears of a file whose checkpoint has moved."""

    namespace: str
    delivery: DeliveryConfig
    state: State
    publisher: Publisher
    encoder: FrameEncoder
    on_acknowledged: Callable[[TailedFile], None]
    report: Callable[[str, TailedFile], None]

    async def step(self, file: TailedFile, flush: Flush = Flush.NOTHING) -> bool:
        """Send one chunk of a file; return whether there was any. Waits while the window is full.

        Raises:
            Rewritten: the file is another generation now.
            OSError: it cannot be read.
            Fatal: the state cannot be written.
        """
        chunk = read_next(file, self._line_limit(file), flush)
        match chunk:
            case Lines():
                await self._ship_lines(file, chunk)
            case Piece():
                await self._ship_piece(file, chunk)
        return chunk is not None

    def _line_limit(self, file: TailedFile) -> int:
        """The longest line that surely fits into one message; what may have been sent before is cut as it was then."""
        record = file.record
        if record.line_limit and (file.positions.waiting or file.offset < file.replay_until):
            return record.line_limit
        fits = (self.publisher.connection.max_message_bytes - _ENVELOPE_BYTES) // _WORST_GROWTH
        limit = max(_LEAST_SPLIT_BYTES, min(self.delivery.max_line_bytes, fits))
        if limit != record.line_limit:
            record.line_limit = limit
            if record.sent_limit:  # else it is saved with the first lease
                self.state.save([file.checkpoint()])
        return limit

    async def _ship_lines(self, file: TailedFile, chunk: Lines) -> None:
        fits = self.publisher.connection.max_message_bytes - _HEADERS_BYTES
        target = min(TARGET_BYTES, fits, file.frame_limit or TARGET_BYTES)
        groups = _groups(file, chunk, target)
        before = file.guard
        file.advance(groups[-1].upto, chunk.guard_at(groups[-1].upto.offset, b""))
        file.fit_reads(file.offset - chunk.start, sum(len(group.payload) for group in groups), target)
        positions = file.positions
        for group in groups:
            if file.positions is not positions:
                return  # the file was rewound while the window was full: all of it is read again
            await self._publish(file, group, chunk.guard_at(group.upto.offset, before))

    async def _ship_piece(self, file: TailedFile, chunk: Piece) -> None:
        boundary = chunk.boundary
        if not chunk.is_stored:
            self.state.add_boundary(file.record.source, boundary)
        start, at = file.position, timestamp(time.time())
        events: list[bytes] = []
        if boundary.piece == 0:
            events = file.render([chunk.data], boundary.start, start.sequence + 1, at)
        elif chunk.data:
            place = (boundary.line_start, boundary.piece)
            events = [render_piece(file.origin, place, start.sequence + 1, at, chunk.data, encoding=file.encoding)]
        payload = b"".join(events)
        count = payload.count(b"\n")
        upto = Position(boundary.end, start.sequence + count, start.dropped + events.count(b""))
        file.advance(upto, chunk.tail)
        file.pass_boundary(boundary)
        await self._publish(file, Group(payload, boundary.start, upto, count), file.guard)

    async def _publish(self, file: TailedFile, group: Group, guard: bytes) -> None:
        """Send a group and track it; one of which a filter has left nothing is settled at once."""
        self._extend_lease(file, group.upto.offset)
        positions = file.positions
        settled: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        sent = positions.track(group.upto, guard, settled.cancel)
        if group.count == 0:
            positions.resolve(sent)
            self.on_acknowledged(file)
            return
        frame = self.encoder.encode(
            _subject(self.namespace, file.origin.dataset, file.origin.host),
            file.record.source,
            group.payload,
            first=group.first,
            end=group.upto.offset,
            count=group.count,
            replay=group.first < file.replay_until,
        )
        settled.add_done_callback(partial(self._on_settled, file, positions, sent, (group.first, group.count)))
        await self.publisher.publish(frame.subject, frame.payload, frame.headers, settled)
        if settled.done():  # refused already: let that be heard before anything behind it is sent
            await asyncio.sleep(0)

    def _extend_lease(self, file: TailedFile, end: int) -> None:
        """Keep on disk how far bytes may have been sent, so that a restart knows which frames are re-sends."""
        if end > file.record.sent_limit:
            file.record.sent_limit = end + LEASE_BYTES
            file.grow_head()
            self.state.save([file.record])

    def _on_settled(
        self,
        file: TailedFile,
        positions: Positions,
        sent: Sent,
        place: tuple[int, int],
        settled: "asyncio.Future[PubAck]",
    ) -> None:
        if settled.cancelled():
            return
        error = settled.exception()
        if file.positions is not positions:
            return  # a frame from before a rewind
        if isinstance(error, Permanent) and not file.is_retired:
            self._send_again(file, sent.upto.offset, place, error)
            return
        if error is not None:  # and the file is gone, so that it cannot be cut again
            file.abandon("refused_unread", sent.upto.offset - place[0])
        positions.resolve(sent)
        self.on_acknowledged(file)

    def _send_again(self, file: TailedFile, end: int, place: tuple[int, int], error: Permanent) -> None:
        """A frame was refused: read it again; if it was too large, cut it smaller, and only what was in it."""
        self.report(str(error), file)
        first, count = place
        if isinstance(error, TooLarge) and count > 1:
            file.frame_limit = max(_LEAST_FRAME_BYTES, (file.frame_limit or TARGET_BYTES) // 2)
        elif isinstance(error, TooLarge):
            self._split(file, first, end)
        file.replay_until = max(file.replay_until, file.offset)
        file.rewind(self.state.boundaries(file.record.source))
        self.on_acknowledged(file)

    def _split(self, file: TailedFile, first: int, end: int) -> None:
        """Store where an event that no message holds is to be cut in two."""
        try:
            data = os.pread(file.descriptor, end - first, first)
        except OSError as error:
            file.last_error = error.strerror or str(error)
            return
        length, _ = cut_piece(data, max(_LEAST_SPLIT_BYTES, len(data) // 2), file.newline)
        known = next((known for known in self.state.boundaries(file.record.source) if known.start == first), None)
        piece, line_start = (max(1, known.piece), known.line_start) if known else (1, first)
        if 0 < length < len(data):
            boundary = Boundary(first, first + length, line_start, piece, ends_line=False)
            self.state.add_boundary(file.record.source, boundary)


@cache
def _subject(namespace: str, dataset: str, host: str) -> str:
    return str(subject_for(Signal.LOGS, namespace, dataset, host))


def _groups(file: TailedFile, chunk: Lines, target_bytes: int) -> list[Group]:
    """Render lines and group their events; lines that give one event each, and fit, stay in one piece."""
    start, at = file.position, timestamp(time.time())
    if isinstance(file.render, BulkRenderer):
        block = file.render.bulk(chunk.lines, chunk.start, start.sequence + 1, at)
        if len(block) <= target_bytes:
            count = len(chunk.lines)
            end = chunk.start + sum(map(len, chunk.lines)) + count
            return [Group(block, chunk.start, Position(end, start.sequence + count, start.dropped), count)]
        events = block.splitlines(keepends=True)
    else:
        events = file.render(chunk.lines, chunk.start, start.sequence + 1, at)
    is_one_each = file.cut is None and not file.entry.filters
    return list(group_events(events, chunk.lines, start, target_bytes, len(file.newline), is_one_each=is_one_each))
