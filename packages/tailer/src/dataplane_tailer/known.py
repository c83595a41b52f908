"""The sources that are known and not open: left by an earlier run, finished, or waiting for their input.

Flows in: records. Flows out: who an inode was. Invariant: what is finished is remembered as long as its file or a copy
of it is there, and a day longer, so that it is not read again; what is older is forgotten, so that nothing grows.
"""

import time
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field

from dataplane_tailer.content import is_compressed
from dataplane_tailer.discover import Found
from dataplane_tailer.identity import FileKey
from dataplane_tailer.lineage import Lineage
from dataplane_tailer.state import SourceRecord, State

#: A rotated file is compressed or copied within a day of its disappearance, or never.
_KEEP_GONE_S = 86_400.0
#: So many finished sources whose files are gone are remembered at the most, the latest ones.
_KEEP_GONE = 4096


@dataclass(slots=True, eq=False)
class Known:
    """Records by inode; `lineage` finds them, and those of open files, by content."""

    state: State
    lineage: Lineage = field(default_factory=Lineage)
    _by_key: dict[FileKey, list[SourceRecord]] = field(default_factory=dict)
    _read: dict[FileKey, tuple[int, float]] = field(default_factory=dict)

    def remember(self, record: SourceRecord) -> None:
        """Keep a source so that it is known again."""
        self._by_key.setdefault(record.key, []).append(record)
        self.lineage.add(record)
        if record.is_final and is_compressed(record.path):
            self._read[record.key] = (record.packed_size, record.packed_at)

    def by_key(self) -> Mapping[FileKey, list[SourceRecord]]:
        """Return the sources that are known and not open, by inode."""
        return self._by_key

    def is_read(self, found: Found) -> bool:
        """Tell whether this is a compressed file that was read to its end, and has not changed since."""
        return self._read.get(found.key) == (found.size, found.modified_at)

    def take(self, record: SourceRecord) -> None:
        """A source that is open again is no longer merely known."""
        others = [other for other in self._by_key.pop(record.key, []) if other is not record]
        if others:
            self._by_key[record.key] = others

    def forget_gone(self, there: Container[FileKey]) -> None:
        """Forget finished sources of which nothing is there any more; `there` are files that are not open."""
        gone = [record for record in self._finished() if not self._is_there(record, there)]
        now_s = time.time()
        fresh = [record for record in gone if not record.gone_at]
        for record in fresh:
            record.gone_at = now_s
        if fresh:
            self.state.save(fresh)
        gone.sort(key=lambda record: record.gone_at)
        surplus = len(gone) - _KEEP_GONE
        late = [r for number, r in enumerate(gone) if number < surplus or now_s - r.gone_at > _KEEP_GONE_S]
        if late:
            self._forget(late)

    def _finished(self) -> Iterator[SourceRecord]:
        for records in self._by_key.values():
            yield from (record for record in records if record.is_final)

    def _forget(self, records: list[SourceRecord]) -> None:
        for record in records:
            self.take(record)
            self._read.pop(record.key, None)
            self.lineage.discard(record.source)
        self.state.forget(*(record.source for record in records))

    def _is_there(self, record: SourceRecord, there: Container[FileKey]) -> bool:
        """Tell whether a finished source's file or a copy of it is there, and not its inode only."""
        is_latest = self._by_key[record.key][-1] is record
        return (is_latest and record.key in there) or any(FileKey(*copy[:2]) in there for copy in record.copies)
