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

from msgspec.structs import replace

from dataplane_common.bus import PubAck, Publisher
from dataplane_common.errors import Permanent, TooLarge
from dataplane_common.event import timestamp
from dataplane_common.frame import TARGET_BYTES, FrameEncoder
from dataplane_common.taxonomy import Signal, subject_for
from dataplane_tailer.bulk import BulkRenderer
from dataplane_tailer.config import DeliveryConfig
from dataplane_tailer.file import LEASE_BYTES, Shipment, TailedFile
from dataplane_tailer.frame import Group, group_events
from dataplane_tailer.positions import Position, Positions
from dataplane_tailer.read import Flush, Lines, Piece, read_next
from dataplane_tailer.render import render_piece
from dataplane_tailer.split import split_event
from dataplane_tailer.state import State

#: JSON writes one byte as at most six (`\\u0000`); so much of a message may a line take at the most.
_WORST_GROWTH = 6
#: Room for the envelope of one event.
_ENVELOPE_BYTES = 16 * 1024
#: Room for the headers of a frame.
_HEADERS_BYTES = 512
#: A line is never split smaller than this, whatever the server takes.
_LEAST_SPLIT_BYTES = 256
#: A frame that is refused is aimed at half its size; below this each event gets one of its own.
_LEAST_FRAME_BYTES = 1024
_ONE_EACH = 1
#: Pieces are aimed below what fits: the bytes of an event do not all grow alike.
_FILL = 0.8
#: The wait before an event is tried again that no message holds and that cannot be cut.
_REFUSED_WAIT_S = 5.0


@dataclass(slots=True, eq=False)
class Shipper:
    """Sends what is read.

    `on_acknowledged` hears of a file whose checkpoint has moved, `read_again` of one to be read after some seconds.
    """

    namespace: str
    delivery: DeliveryConfig
    state: State
    publisher: Publisher
    encoder: FrameEncoder
    on_acknowledged: Callable[[TailedFile], None]
    report: Callable[[str, TailedFile], None]
    read_again: Callable[[TailedFile, float], None]

    async def step(self, file: TailedFile, flush: Flush = Flush.NOTHING) -> bool:
        """Send one chunk of a file; return whether there was any. Waits while the window is full.

        Raises:
            Rewritten: the file is another generation now.
            OSError: it cannot be read.
            Fatal: the state cannot be written.
        """
        if (file.record.resumes or file.rests_until) and self._must_wait(file):
            return False
        chunk = read_next(file, self._line_limit(file), flush)
        match chunk:
            case Lines():
                await self._ship_lines(file, chunk)
            case Piece():
                await self._ship_piece(file, chunk)
        if file.refused is not None:
            self._split(file, is_all_sent=chunk is None)
        return chunk is not None

    @property
    def _most_bytes(self) -> int:
        return self.publisher.max_message_bytes(Signal.LOGS)

    def _line_limit(self, file: TailedFile) -> int:
        """The longest line that surely fits into one message; what may have been sent before is cut as it was then."""
        record = file.record
        if record.line_limit and (file.positions.waiting or file.offset < file.replay_until):
            return record.line_limit
        fits = (self.publisher.connection.max_message_bytes - _ENVELOPE_BYTES) // _WORST_GROWTH
        fits = min(fits, self._most_bytes // 2)  # of a stream's limit; few lines double, and those are refused and cut
        limit = max(_LEAST_SPLIT_BYTES, min(self.delivery.max_line_bytes, fits))
        if limit != record.line_limit:
            record.line_limit = limit
            if record.sent_limit:  # else it is saved with the first lease
                self.state.save([file.checkpoint()])
        return limit

    async def _ship_lines(self, file: TailedFile, chunk: Lines) -> None:
        fits = self._most_bytes - _HEADERS_BYTES
        target = min(TARGET_BYTES, fits, file.frame_limit or TARGET_BYTES)
        groups = _groups(file, chunk, target)
        before = file.guard
        file.advance(groups[-1].upto, chunk.guard_at(groups[-1].upto.offset, b""))
        if file.position != groups[-1].upto:
            groups[-1] = replace(groups[-1], upto=file.position)
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
            place = (boundary.line_start, boundary.piece, *boundary.parts)
            number = boundary.sequence or start.sequence + 1
            events = [render_piece(file.origin, place, number, at, chunk.data, encoding=file.encoding)]
        payload = b"".join(events)
        count = payload.count(b"\n")
        in_order = 0 if boundary.sequence else count
        upto = Position(boundary.end, start.sequence + in_order, start.dropped + events.count(b""))
        file.advance(upto, chunk.tail)
        file.pass_boundary(boundary)
        await self._publish(file, Group(payload, boundary.start, file.position, count), file.guard)

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
        shipment = Shipment(group.first, sent, group.count, len(group.payload))
        settled.add_done_callback(partial(self._on_settled, file, positions, shipment))
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
        shipment: Shipment,
        settled: "asyncio.Future[PubAck]",
    ) -> None:
        if settled.cancelled():
            return
        error = settled.exception()
        if file.positions is not positions:
            return  # a frame from before a rewind
        if isinstance(error, Permanent) and not file.is_retired:
            self._send_again(file, shipment, error)
            return
        if error is not None:  # and the file is gone, so that it cannot be cut again
            file.abandon("refused_unread", shipment.size)
        positions.resolve(shipment.sent)
        self.on_acknowledged(file)
        if file.record.resumes:
            self.read_again(file, 0.0)

    def _send_again(self, file: TailedFile, shipment: Shipment, error: Permanent) -> None:
        """A frame was refused: read it again; if it was too large, cut it smaller, and only what was in it."""
        self.report(str(error), file)
        if isinstance(error, TooLarge) and shipment.events == 1:
            file.refused = file.refused or shipment
            self._split(file)
            self.read_again(file, 0.0)
        elif isinstance(error, TooLarge) and file.frame_limit == _ONE_EACH:
            self._rest(file)
        else:
            if isinstance(error, TooLarge):
                limit = (file.frame_limit or TARGET_BYTES) // 2
                file.frame_limit = limit if limit >= _LEAST_FRAME_BYTES else _ONE_EACH
            self._rewind(file)

    def _rewind(self, file: TailedFile) -> None:
        file.replay_until = max(file.replay_until, file.offset)
        file.rewind(self.state.boundaries(file.record.source))
        self.on_acknowledged(file)
        self.read_again(file, 0.0)

    def _rest(self, file: TailedFile) -> None:
        """Leave a file alone for a while whose next event cannot be sent in any way."""
        file.last_error = "its next event is above what the server takes, and cannot be cut; raise max_payload"
        self.report(file.last_error, file)
        file.rests_until = time.monotonic() + _REFUSED_WAIT_S
        self._rewind(file)

    def _must_wait(self, file: TailedFile) -> bool:
        """Tell whether a file rests, or sends one thing at a time: before later lines that have their numbers."""
        if (rest_s := file.rests_until - time.monotonic()) > 0:
            self.read_again(file, rest_s)
            return True
        if file.rests_until:
            file.rests_until, file.frame_limit = 0.0, None
        return file.positions.waiting > 0 and file.offset <= max(file.record.resumes, default=-1)

    def _split(self, file: TailedFile, *, is_all_sent: bool = False) -> None:
        """Cut the event that was refused, once all is sent that may have been sent before: that has its numbers."""
        record, last, refused = file.record, file.positions.last, file.refused
        resumes = max((at for at in record.resumes if at >= file.offset), default=last.offset)
        if refused is None or not (is_all_sent or resumes in record.resumes or last.offset >= file.replay_until):
            return
        try:
            data = os.pread(file.descriptor, refused.size, refused.first)
        except OSError as error:
            file.last_error = error.strerror or str(error)
            return
        known = next((known for known in self.state.boundaries(record.source) if known.start == refused.first), None)
        taken = record.resumes.get(resumes, last.sequence)
        share = min(0.5, (self._most_bytes - _HEADERS_BYTES) / refused.event_bytes * _FILL)
        limit = max(_LEAST_SPLIT_BYTES, int(len(data) * share))
        pieces = split_event(data, refused.first, limit, taken, known=known, newline=file.newline)
        if not pieces:
            self._rest(file)
            return
        record.resumes[resumes] = taken + len(pieces) - 1
        self.state.split(record, pieces)
        self._rewind(file)


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
