"""Which known generation a file's content belongs to, whatever its name and inode are now.

Flows in: records of known generations, open files. Flows out: candidates, and whether one is continued or copied.
Invariant: content decides; names only break ties where there is too little content to be sure.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from dataplane_tailer.content import is_compressed
from dataplane_tailer.discover import Found, siblings
from dataplane_tailer.file import is_same
from dataplane_tailer.identity import HEAD_BYTES, guard_of, has_head, head_of, mark_of
from dataplane_tailer.state import SourceRecord

#: A copy is compared with its original at so many places, so that the cost does not grow with the file.
_SAMPLES = 16
_SAMPLE_BYTES = 4096
#: From so much equal content on, two files are the same log; below it they may just begin alike.
SURE_BYTES = HEAD_BYTES
#: Fewer equal bytes than these say nothing at all.
_LEAST_BYTES = 8
#: So many copies of a source are remembered.
_COPIES = 16
#: The reason of what is lost of a source whose file was not there at the start; it may come back.
LOST = "rotated_while_stopped"


@dataclass(slots=True)
class Lineage:
    """An index of generations by their first bytes, of which there are the fewer the smaller a file is."""

    _heads: dict[str, bytes] = field(default_factory=dict)
    _by_head: dict[int, dict[bytes, dict[str, SourceRecord]]] = field(default_factory=dict)

    def add(self, record: SourceRecord) -> None:
        """Index a generation, again when its head has grown."""
        if not record.head or self._heads.get(record.source) is record.head:
            return
        self.discard(record.source)
        self._heads[record.source] = record.head
        self._by_head.setdefault(len(record.head), {}).setdefault(record.head, {})[record.source] = record

    def discard(self, source: str) -> None:
        """Forget a generation."""
        head = self._heads.pop(source, b"")
        if not head:
            return
        same_length = self._by_head[len(head)]
        same_length[head].pop(source)
        if not same_length[head]:
            del same_length[head]
        if not same_length:
            del self._by_head[len(head)]

    def candidates(self, head: bytes) -> list[SourceRecord]:
        """Return the generations that begin as a file with this head as far as both go, the longest heads first."""
        found: list[SourceRecord] = []
        for length in sorted(self._by_head, reverse=True):
            heads = self._by_head[length]
            if length > len(head) > 0:
                found += [record for known in heads if known.startswith(head) for record in heads[known].values()]
            elif length <= len(head):
                found += heads.get(head[:length], {}).values()
        return found


def continues(descriptor: int, offset: int, guard: bytes, head: bytes = b"") -> bool:
    """Tell whether a file holds what was read up to `offset`: it has the same bytes there."""
    return has_head(descriptor, head) and guard_of(descriptor, offset) == guard


def is_shipped(descriptor: int, record: SourceRecord, offset: int) -> bool:
    """Tell whether a file is a copy of a generation that ends before `offset`: there is nothing new in it."""
    size = os.fstat(descriptor).st_size
    if not _LEAST_BYTES <= size <= offset:
        return False
    if size <= len(record.head):
        return record.head.startswith(head_of(descriptor))
    marks = [mark for mark in record.marks if mark[0] <= size]
    if not marks or not has_head(descriptor, record.head):
        return False
    return mark_of(marks[-1][0], guard_of(descriptor, marks[-1][0])) == marks[-1]


def is_copy(descriptor: int, original: int) -> bool:
    """Tell whether a file's content is, as far as it goes, that of an original that is still whole."""
    size = os.fstat(descriptor).st_size
    if not 0 < size <= os.fstat(original).st_size:
        return False
    return all(
        os.pread(descriptor, _SAMPLE_BYTES, place) == os.pread(original, min(_SAMPLE_BYTES, size - place), place)
        for place in _places(size)
    )


def _places(size: int) -> Iterable[int]:
    last = max(0, size - _SAMPLE_BYTES)
    return sorted({last * number // (_SAMPLES - 1) for number in range(_SAMPLES)})


def is_related(name: str, original: str) -> bool:
    """Tell whether a file's name may have come from an original's by rotation: `app.log.1`, `app-2026.log.gz`.

    A link's file is rotated under its own name.
    """
    originals = [original, os.path.realpath(original)] if os.path.islink(original) else [original]  # noqa: PTH114
    stems = tuple(os.path.basename(one).partition(".")[0] for one in originals)  # noqa: PTH119
    return name not in originals and os.path.basename(name).startswith(stems)  # noqa: PTH119


def is_surely_copy(path: str, size: int, original: str) -> bool:
    """Tell whether a file with an original's content is its copy as long as that is whole.

    Programs that write the same lines have logs of other names, or of the same one in other folders.
    """
    has_own_name = os.path.basename(path) != os.path.basename(original)  # noqa: PTH119
    return size >= SURE_BYTES and has_own_name and is_related(path, original)


def is_likely(path: str, record: SourceRecord) -> bool:
    """Tell whether a file with a source's inode may be its file: where nothing but that is known, the name must fit."""
    return record.has_evidence or path == record.path or (is_related(path, record.path) and not is_compressed(path))


def is_continuation(descriptor: int, found: Found, record: SourceRecord) -> bool:
    """Tell whether a file that has a generation's head goes on where that was left, and is no namesake of it."""
    if not continues(descriptor, record.offset, bytes.fromhex(record.guard)) or _is_beside(found, record):
        return False
    if record.is_final and LOST not in record.abandoned_bytes and not is_compressed(found.path):
        return record.offset >= SURE_BYTES
    is_same_place = found.path == record.path and found.key.inode == record.inode  # a device's number is not stable
    return record.offset >= SURE_BYTES or is_same_place or is_related(found.path, record.path)


def may_be_copy(descriptor: int, found: Found, record: SourceRecord) -> bool:
    """Tell whether a file may be a copy that was made before its original was truncated.

    Where there is little content, the original must have been truncated: it was seen, or it lies there with other
    content.
    """
    if not is_related(found.path, record.log_path):
        return False
    if os.fstat(descriptor).st_size >= SURE_BYTES:
        return True
    if record.was_truncated:
        return True
    path = siblings(record.path).get(record.key)
    return path is not None and not is_compressed(path) and not _has(path, record)


def remember_copy(record: SourceRecord, found: Found) -> None:
    """Remember a file as a copy of a generation, as long as nothing is added to it."""
    copy = (*found.key, found.size)
    if copy not in record.copies:
        record.copies = [*record.copies[-_COPIES + 1 :], copy]


def _is_beside(found: Found, record: SourceRecord) -> bool:
    """Tell whether the very file of a source lies where a rename would have put it; then no copy is needed."""
    key = record.key
    path = None if record.is_final or key == found.key else siblings(record.path).get(key)
    return path is not None and not is_compressed(path) and _has(path, record)


def _has(path: str, record: SourceRecord) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return is_same(descriptor, record)
    finally:
        os.close(descriptor)
