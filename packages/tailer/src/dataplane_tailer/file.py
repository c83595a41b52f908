"""One open file and how far it is read: a generation of a path, which is one source.

Flows in: what the state remembers and what the disk holds. Flows out: a position to read from. Invariant: `offset` and
`sequence` only grow, except by `rewind` to the checkpoint.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from dataplane_common.event import timestamp
from dataplane_tailer.config import DeliveryConfig, InputConfig
from dataplane_tailer.content import is_compressed
from dataplane_tailer.identity import (
    GUARD_BYTES,
    HEAD_BYTES,
    FileKey,
    guard_of,
    has_head,
    head_of,
    key_of,
    mark_of,
)
from dataplane_tailer.multiline import Cut
from dataplane_tailer.positions import Position, Positions, Sent
from dataplane_tailer.render import Origin, Render, Tally
from dataplane_tailer.state import Boundary, SourceRecord

#: A frame is aimed at a little below its target, so that it is seldom cut in two.
_FILL = 0.96
_LEAST_READ_BYTES = 16 * 1024
#: How far beyond the last stored limit bytes may be sent; one write to the state per so many bytes.
LEASE_BYTES = 64 * 1024 * 1024
#: So many places of a file are remembered; beyond that, every second one of the older half is dropped.
_MARKS = 32


class Shipment(NamedTuple):
    """One frame on its way: its first byte, how many events it has, and their size."""

    first: int
    sent: Sent
    events: int
    event_bytes: int

    @property
    def size(self) -> int:
        """How many bytes of the file it has."""
        return self.sent.upto.offset - self.first


@dataclass(slots=True, eq=False)
class TailedFile:
    """An open file. Times are monotonic seconds; `gone_at` is set when its path no longer leads to it.

    `refused` is to be cut as soon as that can be done; until `rests_until` nothing is read. `whole_size` is its size
    when it last was whole, that is, still held all that was read of it; `began_empty` says that nothing but its inode
    was known when it was opened.
    """

    descriptor: int
    record: SourceRecord
    origin: Origin
    render: Render
    entry: InputConfig
    positions: Positions
    newline: bytes = b"\n"
    encoding: str = "utf-8"
    cut: Cut | None = None
    tally: Tally = field(default_factory=Tally)
    replay_until: int = 0
    offset: int = 0
    sequence: int = 0
    dropped: int = 0
    guard: bytes = b""
    boundaries: dict[int, Boundary] = field(default_factory=dict)
    line_start: int = 0
    piece: int = 0
    was_flushed: bool = False
    size_seen: int = 0
    modified_ns: int = 0
    grown_at: float = 0.0
    gone_at: float | None = None
    whole_size: int = 0
    is_whole: bool = True
    shrunk_at: float | None = None
    frame_limit: int | None = None
    refused: Shipment | None = None
    rests_until: float = 0.0
    last_error: str = ""
    is_retired: bool = False
    is_polled: bool = False
    began_empty: bool = False
    read_bytes: int = 64 * 1024

    def fit_reads(self, read_bytes: int, event_bytes: int, target_bytes: int) -> None:
        """Read next time what gives about one full frame, by what the last lines have grown to as events."""
        if event_bytes:
            fitting = int(read_bytes * target_bytes / event_bytes * _FILL)
            self.read_bytes = max(_LEAST_READ_BYTES, fitting)

    @property
    def key(self) -> FileKey:
        """What the file system calls this file."""
        return self.record.key

    @property
    def path(self) -> str:
        """Where the file was last seen."""
        return self.record.path

    def size(self) -> int:
        """Return the file's size now.

        Raises:
            OSError: the file system does not answer.
        """
        return os.fstat(self.descriptor).st_size

    def note_size(self, now_s: float) -> int:
        """Look at the size, remember when it last changed, and return it."""
        status = os.fstat(self.descriptor)
        size = status.st_size
        if size != self.size_seen or status.st_mtime_ns != self.modified_ns or not self.is_whole:
            if size != self.size_seen:
                self.size_seen, self.grown_at = size, now_s
            self.modified_ns = status.st_mtime_ns
            self.is_whole = self.is_intact()
            if self.is_whole:
                self.whole_size, self.shrunk_at = size, None
                self.grow_head()
        return size

    @property
    def position(self) -> Position:
        """How far the file is read."""
        return Position(self.offset, self.sequence, self.dropped)

    def advance(self, to: Position, tail: bytes) -> None:
        """Move behind what was read; `tail` is the last bytes of it."""
        if (resumed := self.record.resumes.get(to.offset, 0)) > to.sequence:
            to = to._replace(sequence=resumed)
        self.guard = (self.guard + tail)[-GUARD_BYTES:]
        self.offset, self.sequence, self.dropped = to
        marks = self.record.marks
        if not marks or self.offset > marks[-1][0]:
            marks.append(mark_of(self.offset, self.guard))
        if len(marks) > _MARKS:
            del marks[1 : _MARKS // 2 : 2]

    def pass_boundary(self, boundary: Boundary) -> None:
        """Take over what a boundary that was just passed says about the bytes behind it."""
        self.was_flushed = boundary.piece == 0 and not boundary.ends_line
        in_line = boundary.piece > 0 and not boundary.ends_line
        self.piece = boundary.piece if in_line else 0
        self.line_start = boundary.line_start if in_line else 0

    def rewind(self, boundaries: Iterable[Boundary]) -> None:
        """Go back to the checkpoint: all behind it is read and sent again, acknowledgements on their way are void."""
        self.refused = None
        self.positions = self.positions.withdraw()
        self.offset, self.sequence, self.dropped = self.positions.resolved
        self.guard = self.positions.guard
        self._enter(boundaries)

    def _enter(self, boundaries: Iterable[Boundary]) -> None:
        """Set what the stored boundaries say about the place that was just gone to."""
        self.boundaries = {boundary.start: boundary for boundary in boundaries}
        self.line_start = self.piece = 0
        self.was_flushed = False
        for boundary in self.boundaries.values():
            if boundary.end == self.offset:
                self.pass_boundary(boundary)

    def is_at_its_path(self) -> bool:
        """Tell whether its path still leads to the file."""
        try:
            return key_of(os.stat(self.path)) == self.key  # noqa: PTH116 - a string stays a string on this path
        except OSError:
            return False

    def is_deleted(self) -> bool:
        """Tell whether no name leads to the file any more."""
        try:
            return os.fstat(self.descriptor).st_nlink == 0 and not is_compressed(self.path)
        except OSError:
            return False

    def is_intact(self) -> bool:
        """Tell whether the file still holds what was read of it: it was neither truncated nor written anew."""
        if self.is_retired or guard_of(self.descriptor, self.offset) != self.guard:
            return False
        return has_head(self.descriptor, self.record.head)  # lines of one length often end alike

    def move_to(self, descriptor: int, key: FileKey, path: str) -> None:
        """Go on in another file that holds the same content."""
        self.close()
        if self.is_retired:  # what was given up is found after all
            self.is_retired = False
            self.record.abandoned_bytes.clear()
        self.descriptor = descriptor
        self.record.device, self.record.inode = key
        self.record.path = path
        trim_head(self.record, descriptor)

    def retire(self) -> None:
        """Let the file's bytes go; what is on its way may still be acknowledged."""
        if self.refused is not None:
            self.abandon("refused_unread", self.refused.size)
            self.positions.resolve(self.refused.sent)
            self.refused = None
        os.close(self.descriptor)
        self.is_retired = True

    def abandon(self, reason: str, count_bytes: int) -> None:
        """Count bytes that nobody can read any more."""
        if count_bytes > 0:
            lost = self.record.abandoned_bytes
            lost[reason] = lost.get(reason, 0) + count_bytes

    def checkpoint(self) -> SourceRecord:
        """Bring the record up to date with what is acknowledged, and return it."""
        record = self.record
        if record.offset != self.positions.resolved.offset:
            record.last_at = timestamp(time.time())
        record.offset, record.sequence, record.dropped = self.positions.resolved
        record.size_seen, record.last_error = self.size_seen, self.last_error
        record.guard = self.positions.guard.hex()
        if record.resumes or self.boundaries:
            record.resumes = {at: number for at, number in record.resumes.items() if at > record.offset}
            self.boundaries = {at: known for at, known in self.boundaries.items() if at >= record.offset}
        self.grow_head()
        return record

    def grow_head(self) -> None:
        """Look at more of the file's first bytes while it is small, but never at those of a file written anew."""
        known = self.record.head
        if len(known) < HEAD_BYTES and not self.is_retired:
            with suppress(OSError):  # whoever reads the file next hears of it
                head = head_of(self.descriptor)
                if len(head) > len(known) and head.startswith(known):
                    self.record.head = head

    def learn_head(self, data: bytes) -> bool:
        """Remember the first bytes as they were read, at the offset; return False if others were there before."""
        head, at = self.record.head, self.offset
        if at >= HEAD_BYTES or at > len(head):
            return True
        known, seen = head[at:], data[: HEAD_BYTES - at]
        if len(seen) > len(known) and seen.startswith(known):
            self.record.head = head[:at] + seen
        return seen.startswith(known) or known.startswith(seen)

    def close(self) -> None:
        """Let the file go."""
        if not self.is_retired:
            os.close(self.descriptor)


def trim_head(record: SourceRecord, descriptor: int) -> None:
    """Forget of the first bytes what a copy lacks that was made before they were written."""
    if record.head.startswith(head := head_of(descriptor)):
        record.head = head


def is_same(descriptor: int, record: SourceRecord) -> bool:
    """Tell whether an open file still is the generation of a record: same head, same bytes at the checkpoint."""
    return has_head(descriptor, record.head) and guard_of(descriptor, record.offset).hex() == record.guard


def overdue(files: Iterable[TailedFile], policy: DeliveryConfig, now_s: float) -> list[TailedFile]:
    """Return which deleted files are to be let go, the oldest first, so that the others are within the policy."""
    deleted = [file for file in files if file.gone_at is not None and file.is_deleted()]
    deleted.sort(key=lambda file: file.gone_at or 0.0)
    held = sum(file.size_seen for file in deleted)
    for count, file in enumerate(deleted):
        is_old = now_s - (file.gone_at or now_s) > policy.hold_deleted_s
        if not is_old and held <= policy.hold_deleted_bytes:
            return deleted[:count]
        held -= file.size_seen
    return deleted
