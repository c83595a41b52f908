"""How a file that was found becomes a source: known by its inode, known by its content, or new.

Flows in: found files. Flows out: open files with the checkpoint at which they go on. Invariant: a new source is on disk
before its first event is published, and content that was shipped under one name is not shipped again under another.
"""

import os
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dataplane_common.errors import Transient
from dataplane_common.event import new_source, timestamp
from dataplane_common.telemetry import Logger
from dataplane_tailer.config import InputConfig, TailerConfig
from dataplane_tailer.content import is_compressed, open_content
from dataplane_tailer.discover import Found, siblings
from dataplane_tailer.encoding import newline_of, resolve
from dataplane_tailer.file import TailedFile, is_same, trim_head
from dataplane_tailer.identity import FileKey, guard_of, head_of
from dataplane_tailer.lineage import (
    SURE_BYTES,
    Lineage,
    continues,
    is_continuation,
    is_copy,
    is_related,
    is_shipped,
    may_be_copy,
)
from dataplane_tailer.mounts import is_heard
from dataplane_tailer.multiline import cutter
from dataplane_tailer.path_fields import fields_reader
from dataplane_tailer.positions import Position, Positions
from dataplane_tailer.render import Origin, Tally, renderer
from dataplane_tailer.state import SourceRecord, State

#: So many copies of a source are remembered.
_COPIES = 16
#: Where a byte-order mark would be.
_MARK_BYTES = 4


@dataclass(frozen=True, slots=True)
class Moved:
    """A file whose content was found to be that of an open source, under another inode."""

    file: TailedFile
    descriptor: int


@dataclass(slots=True, eq=False)
class Opener:
    """Opens what was found. `open_file` finds an open file by its source; `refused` has what may not be read."""

    config: TailerConfig
    state: State
    log: Logger
    open_file: Callable[[str], TailedFile | None]
    refused: dict[str, str] = field(default_factory=dict)
    lineage: Lineage = field(default_factory=Lineage)
    _remembered: dict[FileKey, list[SourceRecord]] = field(default_factory=dict)
    _done: dict[FileKey, int] = field(default_factory=dict)
    _held_since: dict[FileKey, float] = field(default_factory=dict)

    @property
    def spool(self) -> Path:
        """Where compressed files are unpacked."""
        return self.config.state_dir / "spool"

    def content_of(self, path: str) -> int:
        """Return a descriptor of a file's text.

        Raises:
            OSError: it cannot be opened.
            Transient: its compressed form is not complete.
        """
        return open_content(path, self.spool)

    def remember(self, record: SourceRecord) -> None:
        """Keep a source of an earlier run, or one that is finished, so that it is known again."""
        key = FileKey(record.device, record.inode)
        self._remembered.setdefault(key, []).append(record)
        self.lineage.add(record)
        if record.is_final and is_compressed(record.path):
            self._done[key] = record.packed_size

    def remembered(self) -> Mapping[FileKey, list[SourceRecord]]:
        """Return the sources that are known and not open, by inode."""
        return self._remembered

    def open(self, found: Found) -> TailedFile | Moved | None:
        """Open a file, unless it is refused, incomplete, done, or held back as a copy of one that is still whole."""
        if self._done.get(found.key) == found.size or (found.size == 0 and found.entry.encoding.startswith("utf-16")):
            return None  # read already; or its byte-order mark is not written yet
        try:
            descriptor = open_content(found.path, self.spool)
        except OSError as error:
            self.refuse(found.path, error)
            return None
        except Transient as error:
            self.log.warning("file.incomplete", error=str(error))
            return None
        self.refused.pop(found.path, None)
        try:
            source = self._source_of(descriptor, found)
            opened = self._start(descriptor, found, source) if isinstance(source, SourceRecord) else source
        except OSError as error:
            os.close(descriptor)
            self.refuse(found.path, error)
            return None
        if opened is None:
            os.close(descriptor)
        else:
            self._held_since.pop(found.key, None)
        return opened

    def start_anew(self, descriptor: int, found: Found) -> TailedFile:
        """Start a new source on an open file, whatever was known of it."""
        return self._start(descriptor, found, self._new_record(descriptor, found))

    def go_on(self, descriptor: int, found: Found, record: SourceRecord) -> TailedFile:
        """Go on with a remembered source on an open file that was found to be it."""
        return self._start(descriptor, found, self._take_over(record, found))

    def _forget(self, record: SourceRecord) -> None:
        """A source that is open again is no longer merely remembered."""
        key = FileKey(record.device, record.inode)
        others = [other for other in self._remembered.pop(key, []) if other is not record]
        if others:
            self._remembered[key] = others

    def find_continuation(
        self, record: SourceRecord, offset: int, guard: bytes, taken: Container[FileKey]
    ) -> tuple[str, FileKey, int] | None:
        """Return (path, key, descriptor) of the file beside a source's that holds what was read up to `offset`."""
        path = record.path
        for key, beside in sorted(siblings(path).items(), key=lambda item: item[1]):
            if key in taken or not is_related(beside, path):
                continue
            try:
                descriptor = open_content(beside, self.spool)
            except (OSError, Transient):
                continue
            if (offset or record.head) and continues(descriptor, offset, guard, record.head):
                return beside, key, descriptor
            os.close(descriptor)
        return None

    def forgive(self) -> None:
        """Drop what was refused and is no longer there."""
        for path in [path for path in self.refused if not os.path.lexists(path)]:
            del self.refused[path]

    def refuse(self, path: str, error: OSError | Transient) -> None:
        """Note that a file may not be read, and say so once."""
        if path in self.refused:
            return
        if isinstance(error, Transient):
            self.refused[path] = str(error)
            self.log.warning("file.incomplete", error=str(error))
            return
        self.refused[path] = error.strerror or str(error)
        self.log.warning("file.refused", path=path, error=error.strerror, remedy="let the tailer's user read it")

    def _source_of(self, descriptor: int, found: Found) -> SourceRecord | Moved | None:
        """Return the source that this file is, or None if it is held back."""
        if (known := self._by_inode(descriptor, found)) is not None:
            return known
        for candidate in self.lineage.candidates(descriptor):
            if candidate.dataset != found.entry.dataset:
                continue
            live = self.open_file(candidate.source)
            if live is None:
                if is_continuation(descriptor, found, candidate):
                    return self._take_over(candidate, found)
            elif live.is_intact():
                if self._is_held(descriptor, found, live):
                    return None
                continue
            elif continues(descriptor, live.offset, live.guard):
                return Moved(live, descriptor)
            offset = candidate.offset if live is None else live.offset
            if is_shipped(descriptor, candidate, offset) and self._is_copy_of(descriptor, found, candidate):
                return None
        return self._by_inode(descriptor, found, is_evident=False) or self._new_record(descriptor, found)

    def _by_inode(self, descriptor: int, found: Found, *, is_evident: bool = True) -> SourceRecord | None:
        """Go on where this very file was left; under another dataset as a new source. Others may be found in a copy.

        A file that was empty when it was last seen has only its inode to tell; that is asked last.
        """
        for record in reversed(self._remembered.get(found.key, [])):
            has_evidence = record.offset > 0 or bool(record.head)
            if has_evidence is not is_evident or (record.is_final and not is_evident):
                continue
            if not is_same(descriptor, record):
                continue
            if record.dataset == found.entry.dataset:
                return self._take_over(record, found)
            self._forget(record)
            record.is_final = True
            self.state.save([record])
            fresh = self._new_record(descriptor, found)
            fresh.offset, fresh.guard = record.offset, record.guard
            return fresh
        return None

    def _is_copy_of(self, descriptor: int, found: Found, record: SourceRecord) -> bool:
        """Tell whether a file is known as a copy of a generation, or is found to be one; that is remembered."""
        copy = (*found.key, found.size)
        if copy in record.copies:
            return True
        is_one = may_be_copy(descriptor, found, record)
        if is_one:
            record.copies = [*record.copies[-_COPIES + 1 :], copy]
            self.state.save([record])
        return is_one

    def _is_held(self, descriptor: int, found: Found, original: TailedFile) -> bool:
        """Hold a copy back while its original is whole; one too small to be sure of is held for a short time only."""
        if found.path == original.record.log_path or not is_copy(descriptor, original.descriptor):
            return False
        since_s = self._held_since.setdefault(found.key, time.monotonic())
        size = os.fstat(descriptor).st_size
        is_packed = is_compressed(found.path) and is_related(found.path, original.record.log_path)
        is_sure = size >= SURE_BYTES or (is_packed and size == original.size())
        return is_sure or (time.monotonic() - since_s) * 1000 < self.config.delivery.hold_copy_ms

    def _take_over(self, record: SourceRecord, found: Found) -> SourceRecord:
        self._forget(record)
        record.path, record.device, record.inode, record.is_final = found.path, *found.key, False
        self.log.info("file.resumed", path=record.path, source=record.source, offset=record.offset)
        return record

    def _new_record(self, descriptor: int, found: Found) -> SourceRecord:
        now = timestamp(time.time())
        dataset = found.entry.dataset
        record = SourceRecord(new_source(), found.path, found.path, dataset, *found.key, first_at=now)
        record.head = head_of(descriptor)
        if found.entry.start_at == "end" and self.is_first_start(found.entry):
            record.offset = _last_line_start(descriptor, os.fstat(descriptor).st_size)
            record.guard = guard_of(descriptor, record.offset).hex()
        self.log.info("file.opened", path=found.path, source=record.source, offset=record.offset)
        return record

    def _start(self, descriptor: int, found: Found, record: SourceRecord) -> TailedFile:
        entry, tally = found.entry, Tally()
        fields = {**fields_reader(entry.paths)(record.log_path), **entry.fields}
        origin = Origin(record.source, record.log_path, record.dataset, self.config.host, fields)
        encoding = resolve(entry.encoding, os.pread(descriptor, _MARK_BYTES, 0))
        newline = newline_of(encoding)
        limit = self.config.delivery.max_line_bytes
        record.packed_size = found.size
        trim_head(record, descriptor)
        file = TailedFile(
            descriptor,
            record,
            origin,
            renderer(origin, entry, tally, encoding=encoding),
            entry,
            Positions(Position(record.offset, record.sequence, record.dropped), bytes.fromhex(record.guard)),
            newline,
            encoding,
            cutter(entry, entry.multiline, encoding, newline_length=len(newline), max_bytes=limit),
            tally,
            replay_until=record.sent_limit,
            is_polled=not is_heard(found.path),
        )
        file.rewind(self.state.boundaries(record.source))
        file.note_size(time.monotonic())
        self.state.save([record])
        self.lineage.add(record)
        return file

    def is_first_start(self, entry: InputConfig) -> bool:
        """Tell whether an input has never been looked at with this state."""
        return self.state.get(_input_key(entry)) is None

    def remember_start(self) -> None:
        """Write down that all inputs have been looked at."""
        for entry in self.config.inputs:
            if self.is_first_start(entry):
                self.state.put(_input_key(entry), timestamp(time.time()))


def _input_key(entry: InputConfig) -> str:
    return f"input {entry.dataset} {' '.join(entry.paths)}"


def _last_line_start(descriptor: int, size: int) -> int:
    """Return the place behind the last newline, so that reading from the end begins with a whole line."""
    window = os.pread(descriptor, 64 * 1024, max(0, size - 64 * 1024))
    return size - (len(window) - 1 - window.rfind(b"\n")) if b"\n" in window else size
