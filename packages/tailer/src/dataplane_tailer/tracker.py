"""Which files are open, as which source, and which of them are due to be read.

Flows in: what discovery found. Flows out: open files, due times. Invariant: each generation of a file is one source,
found again by its identity, under its path or beside it; what cannot be read any more is counted.
"""

import os
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from dataplane_common.errors import Transient
from dataplane_common.telemetry import Logger
from dataplane_tailer.config import TailerConfig
from dataplane_tailer.content import is_compressed
from dataplane_tailer.discover import Found, compare, entry_for, find, siblings
from dataplane_tailer.file import TailedFile, is_same, overdue
from dataplane_tailer.first_start import remember_start
from dataplane_tailer.identity import FileKey
from dataplane_tailer.known import Known
from dataplane_tailer.lineage import LOST, is_likely
from dataplane_tailer.opening import Moved, Opener
from dataplane_tailer.state import SourceRecord, State
from dataplane_tailer.unpack import Unpacker

#: A network file system may show a file shorter than it is; a truncation is believed after this.
_SHRUNK_FOR_S = 0.5


@dataclass(slots=True, eq=False)
class Tracker:
    """The open files of one tailer. `on_finished` hears of a source's end, once all of it is settled."""

    config: TailerConfig
    state: State
    log: Logger
    on_finished: Callable[[TailedFile], None]
    on_lost: Callable[[SourceRecord], None]
    on_unpacked: Callable[[], None]
    files: dict[FileKey, TailedFile] = field(default_factory=dict)
    due: dict[TailedFile, float] = field(default_factory=dict)
    retired: set[TailedFile] = field(default_factory=set)
    opener: Opener = field(init=False)

    def __post_init__(self) -> None:
        unpacker = Unpacker(self.config.state_dir / "spool", self.on_unpacked)
        self.opener = Opener(self.config, self.state, self.log, self._by_source, Known(self.state), unpacker)

    def resume(self) -> None:
        """Load what the state remembers, and find again what was rotated, copied or compressed meanwhile."""
        for record in self.state.sources():
            self.opener.known.remember(record)
        self.opener.is_resuming = True
        self.rescan()
        self._look_for_missing()
        self.opener.save()
        self.opener.is_resuming = False

    async def unpack_all(self) -> None:
        """Wait until everything compressed is unpacked and open."""
        if await self.opener.unpacker.wait():
            self.rescan()

    def close(self) -> None:
        """Let all files go."""
        self.opener.unpacker.close()
        for file in (*self.files.values(), *self.retired):
            file.close()

    def _look_for_missing(self) -> None:
        """Find the sources whose files are not where they were; what may not be read yet is tried again."""
        known = [record for records in self.opener.known.by_key().values() for record in records]
        for record in sorted(known, key=lambda record: not record.has_evidence):
            if not record.is_final:
                try:
                    self._look_beside(record)
                except (OSError, Transient) as error:
                    self.opener.refuse(record.path, error)

    def _look_beside(self, record: SourceRecord) -> None:
        """Go on with a source whose file has left the inputs, or count what of it is lost."""
        if (entry := entry_for(record.log_path, self.config.inputs)) is None:
            return  # no input of ours any more; its checkpoint stays for the day that it is again
        if (beside := self._beside(record)) is None:
            lost = max(0, record.size_seen - record.offset)
            self.log.warning("file.lost", path=record.path, source=record.source, at_least_bytes=lost, key=record.path)
            record.is_final = True
            record.abandoned_bytes[LOST] = lost
            self.state.save([record])
            self.on_lost(record)
            return
        path, key, descriptor = beside
        self.opener.refused.pop(record.path, None)
        seen = os.stat(path)  # noqa: PTH116
        found = Found(path, key, seen.st_size, entry, seen.st_mtime)
        file = self.opener.go_on(descriptor, found, record)
        self._add(file)
        file.gone_at = time.monotonic()

    def _beside(self, record: SourceRecord) -> tuple[str, FileKey, int] | None:
        key = record.key
        path = siblings(record.path).get(key)
        if path is not None and key not in self.files and is_likely(path, record):
            descriptor = self.opener.content_of(path, key)
            if is_same(descriptor, record):
                return path, key, descriptor
            os.close(descriptor)
        return self.opener.find_continuation(record, record.offset, bytes.fromhex(record.guard), self.files)

    def rescan(self) -> None:
        """Look at the disk again: open, follow, let go, and mark what has grown as due."""
        found = find(self.config.inputs)
        changes = compare({key: file.path for key, file in self.files.items() if file.gone_at is None}, found)
        now_s = time.monotonic()
        for key in changes.gone:
            self.files[key].gone_at = now_s
        for key, path in changes.moved:
            self.log.info("file.moved", source=self.files[key].record.source, path=path, was=self.files[key].path)
            self.files[key].record.path = path
        self._open_all(changes.new)
        for file in list(self.files.values()):
            self._look_at(file, now_s)
        if self.opener.refused:
            self.opener.forgive()
            self._look_for_missing()
        self.opener.save()
        self._shed(now_s)
        for file in [file for file in self.retired if file.positions.waiting == 0]:
            self._finish(file)
        remember_start(self.state, self.config.inputs)
        self.opener.forget_gone(found.keys() - self.files.keys())

    def poll(self) -> None:
        """Look at those files again of which no notification comes: rotated ones, and those that nobody hears of."""
        now_s = time.monotonic()
        polled = [file for file in self.files.values() if file.is_polled or file.gone_at is not None]
        if any(file.gone_at is None and not file.is_at_its_path() for file in polled):
            self.rescan()  # what hot containers rotate must be seen before the next rotation
            return
        for file in polled:
            self._look_at(file, now_s)

    def _open_all(self, new: list[Found]) -> None:
        """Open what is new: first what is known by its inode, so that content decides only about the others."""
        if new:
            for file in (*self.files.values(), *self.retired):
                file.grow_head()
                self.opener.known.lineage.add(file.record)
        remembered = self.opener.known.by_key()
        for found in sorted(new, key=lambda found: found.key not in remembered):
            self._open(found)

    def _open(self, found: Found) -> None:
        if (known := self.files.get(found.key)) is not None:
            known.gone_at, known.record.path = None, found.path
            return
        match self.opener.open(found):
            case Moved(file=file, descriptor=descriptor):
                self._move(file, descriptor, found.key, found.path)
            case TailedFile() as file:
                self._add(file)

    def is_itself(self, file: TailedFile) -> bool:
        """Tell whether a file is what it was opened as; one that was empty then may turn out to be a copy."""
        record, lineage = file.record, self.opener.known.lineage
        if not file.began_empty or not record.head:
            return True
        file.began_empty = False
        if all(known.source == record.source for known in lineage.candidates(record.head)):
            return True
        self._leave(file)
        lineage.discard(record.source)
        self.state.forget(record.source)
        self.on_lost(record)  # which ends its account, with nothing in it
        seen = os.fstat(file.descriptor)
        file.close()
        self._open(Found(file.path, file.key, seen.st_size, file.entry, seen.st_mtime))
        self.opener.save()
        return False

    def _leave(self, file: TailedFile) -> None:
        """Have a file open and due no longer."""
        if self.files.get(file.key) is file:
            del self.files[file.key]
        self.due.pop(file, None)

    def _add(self, file: TailedFile) -> None:
        self.files[file.key] = file
        self.mark(file, 0.0)

    def _move(self, file: TailedFile, descriptor: int, key: FileKey, path: str) -> None:
        """Let a source go on in the copy that holds its content."""
        self.log.info("file.continued", source=file.record.source, path=path, was=file.path, offset=file.offset)
        self._leave(file)
        self.retired.discard(file)
        file.move_to(descriptor, key, path)
        self.state.save([file.checkpoint()])
        file.gone_at = None if entry_for(path, self.config.inputs) is not None else time.monotonic()
        self._add(file)

    def _look_at(self, file: TailedFile, now_s: float) -> None:
        try:
            size = file.note_size(now_s)
        except OSError as error:
            file.last_error = str(error)
            return
        if not file.is_whole:
            self.rewritten(file)
        elif size != file.offset:
            self.mark(file, 0.0)
        elif file.positions.waiting == 0 and self._has_ended(file, now_s):
            self._finish(file)

    def _has_ended(self, file: TailedFile, now_s: float) -> bool:
        if file.gone_at is None:
            return is_compressed(file.path)
        rested_s = now_s - max(file.grown_at, file.gone_at)
        return rested_s * 1000 >= self.config.delivery.close_rotated_after_ms

    def _shed(self, now_s: float) -> None:
        """Let deleted files go whose unread rest holds too much disk for too long."""
        for file in overdue(self.files.values(), self.config.delivery, now_s):
            self._retire(file, "deleted_unread")

    def _retire(self, file: TailedFile, reason: str) -> None:
        lost = max(0, file.whole_size - file.offset)
        file.abandon(reason, lost)
        if lost:
            self.log.warning("file.abandoned", path=file.path, bytes=lost, reason=reason, key=file.path)
        self._leave(file)
        file.retire()
        self.retired.add(file)

    def _finish(self, file: TailedFile) -> None:
        """Close a source for good: all of it is settled, and its account is final."""
        file.checkpoint().is_final = True
        self.state.save([file.record])
        self.log.info("file.finished", path=file.path, source=file.record.source, events=file.record.sequence)
        self.retired.discard(file)
        self._leave(file)
        self.opener.known.remember(file.record)
        self.on_finished(file)
        file.close()

    def rewritten(self, file: TailedFile) -> None:
        """Begin a new generation; a file that only seems to be shorter is given the time to come back."""
        now_s = time.monotonic()
        if file.size() < file.offset:
            file.shrunk_at = file.shrunk_at or now_s
            if now_s < file.shrunk_at + _SHRUNK_FOR_S:
                self.mark(file, file.shrunk_at + _SHRUNK_FOR_S - now_s)
                return
        self.begin_generation(file)

    def begin_generation(self, file: TailedFile) -> None:
        """Start a new source for a file that was truncated or written anew; the old one goes on in its copy, if any."""
        self.log.info("file.truncated", path=file.path, source=file.record.source, offset=file.offset)
        descriptor, gone_at = os.dup(file.descriptor), file.gone_at
        file.record.was_truncated = True
        self.state.save([file.record])
        found = Found(file.path, file.key, 0, file.entry)
        beside = self.opener.find_continuation(file.record, file.offset, file.guard, self.files)
        if beside is None:
            self._retire(file, "truncated_unread")
        else:
            path, key, copy = beside
            self._move(file, copy, key, path)
        fresh = self.opener.start_anew(descriptor, found, file.encoding)
        self.opener.save()
        self._add(fresh)
        fresh.gone_at = gone_at

    def reload(self, config: TailerConfig) -> None:
        """Take over another configuration: files go on as their inputs now say. Nothing is on its way, all is written.

        Files that no path leads to any more are kept as they are: nobody could open them again.
        """
        self.config = self.opener.config = config
        for file in [file for file in self.files.values() if file.gone_at is None]:
            self._leave(file)
            file.retire()
            self.opener.known.remember(file.record)
        self.rescan()

    def mark(self, file: TailedFile, after_s: float) -> None:
        """Have a file read after a delay, if it is not due earlier."""
        self.due[file] = min(self.due.get(file, float("inf")), time.monotonic() + after_s)

    def mark_paths(self, paths: Container[str], after_s: float) -> None:
        """Have the files at these paths read after a delay."""
        for file in [file for file in self.files.values() if file.path in paths]:
            self.mark(file, after_s)

    def concerns(self, path: str) -> bool:
        """Tell whether a path that came or went is one of ours, or a folder that may hold some."""
        return entry_for(path, self.config.inputs) is not None or os.path.isdir(path)  # noqa: PTH112

    def _by_source(self, source: str) -> TailedFile | None:
        return next((file for file in [*self.files.values(), *self.retired] if file.record.source == source), None)
