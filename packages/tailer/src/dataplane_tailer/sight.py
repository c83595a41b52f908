"""What the system shows of the files that a state knows: their names, sizes and times, deleted ones included.

Flows in: a snapshot. Flows out: one `Sight` per source. Invariant: files are looked at, never opened, so nothing waits
for a pipe or a dead server's disk longer than a look takes.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dataplane_tailer.content import is_compressed
from dataplane_tailer.discover import siblings
from dataplane_tailer.identity import FileKey, key_of
from dataplane_tailer.state import SourceRecord

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Sight:
    """A source's file now. Times are seconds since the epoch, 0 where nothing is known.

    `path` is the name that leads to it, None if none was found; `is_held` if the tailer holds it open without a name,
    or may, for all that we can see; `changed_at` is when its size or names last changed; `free_bytes` is the room on
    its disk, None where unknown.
    """

    path: str | None
    size: int
    written_at: float = 0.0
    changed_at: float = 0.0
    is_held: bool = False
    is_readable: bool = True
    free_bytes: int | None = None


def look(records: Iterable[SourceRecord], holder: int | None) -> dict[str, Sight]:
    """Return what is seen of each source that is not final, by its id."""
    held = {} if holder is None else open_files(holder)
    beside: dict[str, Mapping[FileKey, str]] = {}
    return {record.source: _look_at(record, held, beside) for record in records if not record.is_final}


def _look_at(
    record: SourceRecord, held: Mapping[FileKey, os.stat_result] | None, beside: dict[str, Mapping[FileKey, str]]
) -> Sight:
    key = record.key
    path = record.path
    if (seen := _stat(path)) is None or key_of(seen) != key:
        path, seen = _name_beside(path, key, beside)
    if seen is not None:
        size = record.size_seen if is_compressed(path) else seen.st_size
        readable = os.access(path, os.R_OK)
        return Sight(path, size, seen.st_mtime, seen.st_ctime, is_readable=readable, free_bytes=_free(path))
    if held is not None and (seen := held.get(key)) is not None:
        free = _free(record.path)
        return Sight(None, seen.st_size, seen.st_mtime, seen.st_ctime, is_held=True, free_bytes=free)
    return Sight(None, record.size_seen, is_held=held is None)


def _name_beside(
    path: str, key: FileKey, beside: dict[str, Mapping[FileKey, str]]
) -> tuple[str, os.stat_result | None]:
    folder = os.path.dirname(path)  # noqa: PTH120 - strings stay strings on this path
    if folder not in beside:
        beside[folder] = siblings(path)
    found = beside[folder].get(key)
    return (path, None) if found is None else (found, _stat(found))


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116
    except OSError:
        return None


def _free(path: str) -> int | None:
    try:
        room = os.statvfs(os.path.dirname(path))  # noqa: PTH120
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


def open_links(process: Path) -> Iterator[tuple[str, str]]:
    """Yield (path, target) of each descriptor of a process, `/proc/N`; nothing where that may not be seen."""
    try:
        links = list(os.scandir(process / "fd"))
    except OSError:
        return
    for link in links:
        with suppress(OSError):  # closed since
            yield link.path, os.readlink(link.path)  # noqa: PTH115 - strings stay strings here


def open_files(pid: int, proc: Path = _PROC) -> dict[FileKey, os.stat_result] | None:
    """Return the files that a process holds open; None where that may not be seen."""
    try:
        links = list(os.scandir(proc / str(pid) / "fd"))
    except OSError:
        return None
    looked_at = [seen for link in links if (seen := _stat(link.path)) is not None]
    return {key_of(seen): seen for seen in looked_at}
