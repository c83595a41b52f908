"""How a file that was found becomes a source: known by its inode, known by its content, or new.

Flows in: found files. Flows out: open files with the checkpoint at which they go on. Invariant: a new source is on disk
before its first event is published, and content that was shipped under one name is not shipped again under another.
"""

import os
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from dataplane_common.errors import Transient
from dataplane_common.event import new_source, timestamp
from dataplane_common.telemetry import Logger
from dataplane_tailer.config import TailerConfig
from dataplane_tailer.content import is_compressed, open_content, packed_head
from dataplane_tailer.discover import Found, siblings
from dataplane_tailer.encoding import mark_length, newline_of, resolve
from dataplane_tailer.file import LEASE_BYTES, TailedFile, is_same, trim_head
from dataplane_tailer.first_start import is_first_start, last_line_start
from dataplane_tailer.identity import FileKey, guard_of, head_of
from dataplane_tailer.known import Known
from dataplane_tailer.lineage import (
    LOST,
    SURE_BYTES,
    continues,
    is_continuation,
    is_copy,
    is_likely,
    is_related,
    is_shipped,
    is_surely_copy,
    may_be_copy,
    remember_copy,
)
from dataplane_tailer.mounts import is_heard
from dataplane_tailer.multiline import cutter
from dataplane_tailer.path_fields import fields_reader
from dataplane_tailer.positions import Position, Positions
from dataplane_tailer.render import Origin, Tally, renderer
from dataplane_tailer.state import SourceRecord, State
from dataplane_tailer.unpack import Unpacker

_REMEDY = "let the tailer's user read it"


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
    known: Known
    unpacker: Unpacker
    refused: dict[str, str] = field(default_factory=dict)
    is_resuming: bool = False
    _unsaved: list[SourceRecord] = field(default_factory=list)
    held_since: dict[FileKey, float] = field(default_factory=dict)

    def content_of(self, path: str, key: FileKey) -> int:
        """Return a descriptor of a file's text, or raise what `open_content` raises."""
        return open_content(path, self.unpacker.spool, key)

    def open(self, found: Found) -> TailedFile | Moved | None:
        """Open a file, unless it is refused, incomplete, done, or held back as a copy of one that is still whole."""
        if self.known.is_read(found) or self._is_left_alone(found):
            return None
        try:
            descriptor = self._content(found)
        except OSError as error:
            self.refuse(found.path, error)
            return None
        except Transient as error:
            self.log.warning("file.incomplete", error=str(error))
            return None
        self.refused.pop(found.path, None)
        if descriptor is None:
            return None
        try:
            source = self._source_of(descriptor, found)
            opened = self._start(descriptor, found, source) if isinstance(source, SourceRecord) else source
        except OSError as error:
            os.close(descriptor)
            self.refuse(found.path, error)
            return None
        if opened is None:
            self.unpacker.put_back(found, descriptor)
        else:
            self.held_since.pop(found.key, None)
        return opened

    def _is_left_alone(self, found: Found) -> bool:
        """Files without their byte-order mark are not begun, nor those that nobody has written to for long."""
        is_markless = found.size < mark_length(found.entry.encoding)
        is_old = 0 < found.entry.ignore_older_s < time.time() - found.modified_at
        return is_markless or (is_old and found.key not in self.known.by_key())

    def _content(self, found: Found) -> int | None:
        """Return a descriptor of a file's text, or None while it is being unpacked.

        What may be the rest of a source of an earlier run is unpacked at once, before that source is called lost.
        """
        is_plain = not is_compressed(found.path)
        if is_plain or (self.is_resuming and self.known.lineage.candidates(packed_head(found.path))):
            return self.content_of(found.path, found.key)
        return self.unpacker.take(found)

    def forget_gone(self, there: Container[FileKey]) -> None:
        """Drop what is remembered of files that are no longer there."""
        self.known.forget_gone(there)
        self.unpacker.forget_gone(there)
        for key in [key for key in self.held_since if key not in there]:
            del self.held_since[key]

    def start_anew(self, descriptor: int, found: Found, encoding: str) -> TailedFile:
        """Start a new source on an open file that had this encoding, whatever else was known of it."""
        return self._start(descriptor, found, self._new_record(descriptor, found, encoding))

    def go_on(self, descriptor: int, found: Found, record: SourceRecord) -> TailedFile:
        """Go on with a remembered source on an open file that was found to be it."""
        return self._start(descriptor, found, self._take_over(descriptor, record, found))

    def find_continuation(
        self, record: SourceRecord, offset: int, guard: bytes, taken: Container[FileKey]
    ) -> tuple[str, FileKey, int] | None:
        """Return (path, key, descriptor) of the file beside a source's that holds what was read up to `offset`."""
        path = record.path
        for key, beside in sorted(siblings(path).items(), key=lambda item: item[1]):
            if key in taken or not is_related(beside, path):
                continue
            try:
                if is_compressed(beside) and not packed_head(beside).startswith(record.head):
                    continue
                descriptor = self.content_of(beside, key)
            except (OSError, Transient):
                continue
            if (offset or record.head) and continues(descriptor, offset, guard, record.head):
                return beside, key, descriptor
            os.close(descriptor)
        return None

    def forgive(self) -> None:
        """Drop what was refused and is gone."""
        for path in [path for path in self.refused if not os.path.lexists(path)]:
            del self.refused[path]

    def refuse(self, path: str, error: OSError | Transient) -> None:
        """Note that a file may not be read, and say so once."""
        if path in self.refused:
            return
        if isinstance(error, Transient):
            self.refused[path] = str(error)
            self.log.warning("file.incomplete", error=str(error), key=path)
            return
        self.refused[path] = error.strerror or str(error)
        self.log.warning("file.refused", path=path, error=error.strerror, remedy=_REMEDY, key=path)

    def _source_of(self, descriptor: int, found: Found) -> SourceRecord | Moved | None:
        """Return the source that this file is, or None if it is held back."""
        if (known := self._by_inode(descriptor, found)) is not None:
            return known
        for candidate in self.known.lineage.candidates(head_of(descriptor)):
            if candidate.dataset != found.entry.dataset:
                continue
            live = self.open_file(candidate.source)
            if live is None:
                if is_continuation(descriptor, found, candidate):
                    return self._take_over(descriptor, candidate, found)
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
        """Go on where this very file was left last; under another dataset as a new source. Others may be in a copy.

        A file that was empty when it was last seen has only its inode to tell; that is asked last.
        """
        known = self.known.by_key().get(found.key, [])
        for record in sorted(known, key=lambda record: (record.offset, not record.is_final), reverse=True):
            if record.has_evidence is not is_evident or (record.is_final and not is_evident):
                continue
            if not is_likely(found.path, record) or not is_same(descriptor, record):
                continue
            if record.dataset == found.entry.dataset:
                return self._take_over(descriptor, record, found)
            self.known.take(record)
            record.is_final = True
            self._unsaved.append(record)
            fresh = self._new_record(descriptor, found)
            fresh.offset, fresh.guard = record.offset, record.guard
            return fresh
        return None

    def _is_copy_of(self, descriptor: int, found: Found, record: SourceRecord) -> bool:
        """Tell whether a file is known as a copy of a generation, or is found to be one; that is remembered."""
        if (*found.key, found.size) in record.copies:
            return True
        is_one = may_be_copy(descriptor, found, record)
        if is_one:
            record.was_truncated = True
            remember_copy(record, found)
            self.state.save([record])
        return is_one

    def _is_held(self, descriptor: int, found: Found, original: TailedFile) -> bool:
        """Hold a copy back while its original is whole; what may be a log of its own is held for a short time only.

        A deleted one was moved to another disk, or written anew under its name as `rsync` and `sed -i` do it.
        """
        path, whole = original.record.log_path, original.size()
        if found.path == path:
            return whole >= SURE_BYTES and original.is_deleted() and is_copy(original.descriptor, descriptor)
        if not is_copy(descriptor, original.descriptor):
            return False
        size = os.fstat(descriptor).st_size
        is_whole, is_deleted = size == whole and is_related(found.path, path), original.is_deleted()
        if is_whole and is_deleted:
            remember_copy(original.record, found)
        is_moved = is_deleted and (is_whole or size >= SURE_BYTES)
        if is_moved or (is_whole and is_compressed(found.path)) or is_surely_copy(found.path, size, path):
            return True
        since_s = self.held_since.setdefault(found.key, time.monotonic())
        return (time.monotonic() - since_s) * 1000 < self.config.delivery.hold_copy_ms

    def _take_over(self, descriptor: int, record: SourceRecord, found: Found) -> SourceRecord:
        self.known.take(record)
        record.path, record.device, record.inode, record.is_final = found.path, *found.key, False
        record.gone_at = 0.0
        record.abandoned_bytes.pop(LOST, None)
        trim_head(record, descriptor)
        self.log.info("file.resumed", path=record.path, source=record.source, offset=record.offset)
        return record

    def _new_record(self, descriptor: int, found: Found, encoding: str = "") -> SourceRecord:
        now, dataset = timestamp(time.time()), found.entry.dataset
        record = SourceRecord(new_source(), found.path, found.path, dataset, *found.key, first_at=now)
        record.head = head_of(descriptor)
        record.encoding = encoding or resolve(found.entry.encoding, record.head)
        if found.entry.start_at == "end" and is_first_start(self.state, found.entry):
            record.offset = last_line_start(descriptor, newline_of(record.encoding))
            record.guard = guard_of(descriptor, record.offset).hex()
        self.log.info("file.opened", path=found.path, source=record.source, offset=record.offset)
        return record

    def _start(self, descriptor: int, found: Found, record: SourceRecord) -> TailedFile:
        entry, tally = found.entry, Tally()
        fields = {**fields_reader(entry.paths)(record.log_path), **entry.fields}
        origin = Origin(record.source, record.log_path, record.dataset, self.config.host, fields)
        encoding = resolve(entry.encoding, head_of(descriptor), record.encoding)
        newline = newline_of(encoding)
        limit = self.config.delivery.max_line_bytes
        record.encoding, record.packed_size, record.packed_at = encoding, found.size, found.modified_at
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
            began_empty=not record.has_evidence,
        )
        if found.size > record.offset:  # it is shipped at once: one write for all files instead of one for each
            record.sent_limit = max(record.sent_limit, record.offset + LEASE_BYTES)
            record.line_limit = record.line_limit or limit
        file.rewind(self.state.boundaries(record.source))
        file.note_size(time.monotonic())
        self._unsaved.append(record)
        self.known.lineage.add(record)
        return file

    def save(self) -> None:
        """Write down what was opened, all at once: a sync for each of 10,000 files would take half a minute."""
        if self._unsaved:
            self.state.save(self._unsaved)
            self._unsaved.clear()
