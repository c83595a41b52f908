"""Which files are open, as which source, and which of them are due to be read.

Flows in: what discovery found. Flows out: open files, due times. Invariant: each generation of a file is one source,
found again after a restart by its identity, under its path or beside it.
"""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dataplane_common.event import new_source, timestamp
from dataplane_common.telemetry import Logger
from dataplane_tailer.config import InputConfig, TailerConfig
from dataplane_tailer.discover import Found, compare, entry_for, find, siblings
from dataplane_tailer.file import TailedFile, is_same
from dataplane_tailer.identity import FileKey, head_of
from dataplane_tailer.parse import parser
from dataplane_tailer.positions import Position, Positions
from dataplane_tailer.render import Origin, Render, parsed_renderer, plain_renderer
from dataplane_tailer.state import SourceRecord, State


@dataclass(slots=True, eq=False)
class Tracker:
    """The open files of one tailer."""

    config: TailerConfig
    state: State
    log: Logger
    on_finished: Callable[[TailedFile], None]
    files: dict[FileKey, TailedFile] = field(default_factory=dict)
    due: dict[TailedFile, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    _remembered: dict[FileKey, list[SourceRecord]] = field(default_factory=dict)

    def resume(self) -> None:
        """Load what the state remembers, and open files that were renamed to a name outside the inputs meanwhile."""
        self._adopt_cloned_state()
        for record in self.state.sources():
            self._remembered.setdefault(FileKey(record.device, record.inode), []).append(record)
        found = find(self.config.inputs)
        for key, records in list(self._remembered.items()):
            for record in records:
                if key not in found and not record.is_final:
                    self._look_beside(key, record)
        self.reconcile(found)

    def _adopt_cloned_state(self) -> None:
        """Give every file a new source where the state was made on another host: ids must not be said twice."""
        here = _machine_id() or self.config.host
        before = self.state.get("machine")
        self.state.put("machine", here)
        if before is None or before == here:
            return
        self.log.warning("state.adopted", made_on=before, host=here)
        for record in self.state.sources():
            self.state.forget(record.source)
            record.source, record.sequence, record.sent_limit = new_source(), 0, 0
            self.state.save([record])

    def _look_beside(self, key: FileKey, record: SourceRecord) -> None:
        path = siblings(record.path).get(key)
        entry = entry_for(record.path, self.config.inputs)
        if path is None or entry is None:
            self.log.warning("file.lost", path=record.path, source=record.source, offset=record.offset, key=record.path)
            record.is_final = True
            self.state.save([record])
            return
        file = self._open(Found(path, key, 0, entry))
        if file is not None:
            file.gone_at = time.monotonic()

    def rescan(self) -> None:
        """Look at the disk again: open, follow, let go, and mark what has grown as due."""
        self.reconcile(find(self.config.inputs))

    def reconcile(self, found: dict[FileKey, Found]) -> None:
        """Bring the open files in line with those found."""
        changes = compare({key: file.path for key, file in self.files.items() if file.gone_at is None}, found)
        now_s = time.monotonic()
        for key in changes.gone:
            self.files[key].gone_at = now_s
        for key, path in changes.moved:
            self.log.info("file.moved", source=self.files[key].record.source, path=path, was=self.files[key].path)
            self.files[key].record.path = path
        for new in changes.new:
            if (known := self.files.get(new.key)) is not None:
                known.gone_at, known.record.path = None, new.path
            else:
                self._open(new)
        for file in list(self.files.values()):
            self._look_at(file, now_s)
        self._remember_start()

    def _look_at(self, file: TailedFile, now_s: float) -> None:
        try:
            size = file.note_size(now_s)
        except OSError as error:
            file.last_error = str(error)
            return
        if size != file.offset:
            self.mark(file, 0.0)
        rested_s = now_s - max(file.grown_at, file.gone_at or 0.0)
        if file.gone_at is not None and rested_s * 1000 >= self.config.delivery.close_rotated_after_ms:
            self.finish_if_done(file)

    def mark(self, file: TailedFile, after_s: float) -> None:
        """Have a file read after a delay, if it is not due earlier."""
        self.due[file] = min(self.due.get(file, float("inf")), time.monotonic() + after_s)

    def mark_paths(self, paths: Iterable[str], after_s: float) -> None:
        """Have the files at these paths read after a delay."""
        by_path = {file.path: file for file in self.files.values()}
        for path in paths:
            if (file := by_path.get(path)) is not None:
                self.mark(file, after_s)

    def concerns(self, path: str) -> bool:
        """Tell whether a path that came or went is one of ours, or a folder that may hold some."""
        return entry_for(path, self.config.inputs) is not None or os.path.isdir(path)  # noqa: PTH112

    def finish_if_done(self, file: TailedFile) -> None:
        """Let a rotated file go once all of it is acknowledged."""
        if file.offset >= file.size() and file.positions.waiting == 0:
            self.finish(file)

    def finish(self, file: TailedFile) -> None:
        """Close a source for good: its account becomes final."""
        file.checkpoint().is_final = True
        self.state.save([file.record])
        self.log.info("file.finished", path=file.path, source=file.record.source, events=file.record.sequence)
        self.files.pop(file.key, None)
        self.due.pop(file, None)
        self.on_finished(file)
        file.close()

    def begin_generation(self, file: TailedFile) -> None:
        """Start a new source for a file that was truncated or written anew under the same inode."""
        self.log.info("file.truncated", path=file.path, source=file.record.source, offset=file.offset)
        descriptor = os.dup(file.descriptor)
        file.record.is_final = True
        self.state.save([file.record])
        self.on_finished(file)
        self.due.pop(file, None)
        file.close()
        fresh = self._start(
            descriptor, Found(file.path, file.key, 0, file.entry), self._new_record(descriptor, file.path, file.entry)
        )
        fresh.gone_at = file.gone_at

    def _open(self, found: Found) -> TailedFile | None:
        try:
            descriptor = os.open(found.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self.refused[found.path] = error.strerror or str(error)
            self.log.warning(
                "file.refused", path=found.path, error=error.strerror, remedy="let the tailer's user read it"
            )
            return None
        self.refused.pop(found.path, None)
        record = self._recognise(descriptor, found) or self._new_record(descriptor, found.path, found.entry)
        return self._start(descriptor, found, record)

    def _recognise(self, descriptor: int, found: Found) -> SourceRecord | None:
        for record in self._remembered.pop(found.key, []):
            if record.dataset == found.entry.dataset and is_same(descriptor, record):
                record.path, record.is_final = found.path, False
                self.log.info("file.resumed", path=record.path, source=record.source, offset=record.offset)
                return record
            if not record.is_final:
                record.is_final = True
                self.state.save([record])
        return None

    def _new_record(self, descriptor: int, path: str, entry: InputConfig) -> SourceRecord:
        stat = os.fstat(descriptor)
        head = head_of(descriptor)
        now = timestamp(time.time())
        record = SourceRecord(new_source(), path, entry.dataset, stat.st_dev, stat.st_ino, *head, first_at=now)
        if entry.start_at == "end" and self._is_first_start(entry):
            record.offset = _last_line_start(descriptor, stat.st_size)
        self.state.save([record])
        self.log.info("file.opened", path=path, source=record.source, offset=record.offset)
        return record

    def _start(self, descriptor: int, found: Found, record: SourceRecord) -> TailedFile:
        fields = dict(found.entry.fields)
        origin = Origin(record.source, found.path, record.dataset, self.config.host, fields)
        file = TailedFile(
            descriptor,
            record,
            origin,
            _renderer(origin, found.entry),
            found.entry,
            Positions(Position(record.offset, record.sequence)),
            replay_until=record.sent_limit,
        )
        file.rewind(self.state.boundaries(record.source))
        file.note_size(time.monotonic())
        self.files[found.key] = file
        self.mark(file, 0.0)
        return file

    def _is_first_start(self, entry: InputConfig) -> bool:
        return self.state.get(_input_key(entry)) is None

    def _remember_start(self) -> None:
        for entry in self.config.inputs:
            if self._is_first_start(entry):
                self.state.put(_input_key(entry), timestamp(time.time()))


def _input_key(entry: InputConfig) -> str:
    return f"input {entry.dataset} {' '.join(entry.paths)}"


def _renderer(origin: Origin, entry: InputConfig) -> Render:
    parse = parser(entry.parser)
    return plain_renderer(origin) if parse is None else parsed_renderer(origin, parse)


def _last_line_start(descriptor: int, size: int) -> int:
    """Return the place behind the last newline, so that reading from the end begins with a whole line."""
    window = os.pread(descriptor, 64 * 1024, max(0, size - 64 * 1024))
    return size - (len(window) - 1 - window.rfind(b"\n")) if b"\n" in window else size


def _machine_id() -> str | None:
    try:
        with open("/etc/machine-id") as file:  # noqa: PTH123 - machine-id(5) has one place
            return file.read().strip() or None
    except OSError:
        return None
