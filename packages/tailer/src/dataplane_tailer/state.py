"""What must outlive the process: sources, their checkpoints, and boundaries that time or a limit decided.

Flows in: checkpoints. Flows out: the same after a crash. Invariant: a source and its boundaries are on disk before the
first event that depends on them is published. SQLite in WAL mode, each commit synced; one process (flock).
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from dataplane_common.errors import Fatal
from dataplane_tailer.identity import FileKey

_VERSION = 1
_LOCK_FILE = "lock"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sources (source TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS boundaries (
    source TEXT NOT NULL, start INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (source, start)
) WITHOUT ROWID;
"""


class Boundary(msgspec.Struct, frozen=True):
    """Where time or a limit ended an event: bytes `start` to `end`; `piece` 0 is a line sent before its newline."""

    start: int
    end: int
    line_start: int
    piece: int
    ends_line: bool


class SourceRecord(msgspec.Struct):
    """One generation of one file. `offset` and `sequence` are the checkpoint; bytes below `sent_limit` may be sent.

    `path` is where it is now, `log_path` the name it was found under, which its events carry; `head` are its first
    bytes; lines above `line_limit` were cut into pieces there; `size_seen` is its size when it was last looked at,
    `packed_size` and `packed_at` are size and time of its compressed form; `encoding` has the order of its bytes;
    `dropped` counts the lines that a filter took, `abandoned_bytes` what was lost by reason. `marks` are places that
    were read, each with a hash of the bytes before it, the older the sparser: they tell a copy that ends before the
    checkpoint; `copies` are device, inode and size of those that were found. `gone_at` is when a finished one was no
    longer there, in seconds since the epoch.
    """

    source: str
    path: str
    log_path: str
    dataset: str
    device: int
    inode: int
    head: bytes = b""
    offset: int = 0
    sequence: int = 0
    dropped: int = 0
    guard: str = ""
    sent_limit: int = 0
    line_limit: int = 0
    first_at: str = ""
    last_at: str = ""
    size_seen: int = 0
    packed_size: int = 0
    packed_at: float = 0.0
    encoding: str = ""
    marks: list[tuple[int, str]] = []
    copies: list[tuple[int, int, int]] = []
    abandoned_bytes: dict[str, int] = {}
    last_error: str = ""
    was_truncated: bool = False
    is_final: bool = False
    gone_at: float = 0.0

    @property
    def key(self) -> FileKey:
        """What the file system calls its file."""
        return FileKey(self.device, self.inode)

    @property
    def has_evidence(self) -> bool:
        """Whether anything is known of its content; of a file that was empty only the inode is."""
        return self.offset > 0 or bool(self.head)


class State:
    """The state folder of one tailer.

    Raises:
        Fatal: the folder cannot be used: forbidden, full, in use by another process, damaged, or of a newer version.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)  # it holds beginnings of logs
            was_used = (directory / _LOCK_FILE).exists()
            self._lock = _lock(directory)
        except OSError as error:
            raise Fatal(f"state_dir {directory}: {error.strerror}; name a folder that the tailer may write") from error
        try:
            file = directory / "state.db"
            if was_used and file.exists() and file.stat().st_size == 0:
                raise sqlite3.DatabaseError("it is empty")
            self._database = sqlite3.connect(file, isolation_level=None)
            self._prepare()
        except (sqlite3.Error, Fatal) as error:
            os.close(self._lock)
            if isinstance(error, Fatal):
                raise
            raise Fatal(
                f"{directory}/state.db: {error}; if it is damaged, move it away: all files are sent again then"
            ) from error

    def _prepare(self) -> None:
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)
        found = int(self.get("version") or _VERSION)
        if found > _VERSION:
            raise Fatal(
                f"{self.directory}/state.db has version {found}, this tailer knows {_VERSION}; upgrade the tailer"
            )
        self.put("version", str(_VERSION))

    def get(self, key: str) -> str | None:
        """Return a remembered text."""
        row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, value: str) -> None:
        """Remember a text.

        Raises:
            Fatal: the disk refuses.
        """
        with self._writing():
            self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Write all or nothing."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            remedy = "let the tailer's user write it" if "readonly" in str(error) else "free space on this disk"
            raise Fatal(f"{self.directory}: the state cannot be written: {error}; {remedy}") from error

    def sources(self) -> list[SourceRecord]:
        """Return all sources, final ones included."""
        rows = self._database.execute("SELECT record FROM sources")
        return [msgspec.msgpack.decode(row[0], type=SourceRecord) for row in rows]

    def save(self, records: Iterable[SourceRecord]) -> None:
        """Write sources in one transaction, and drop the boundaries that lie before their checkpoints.

        Raises:
            Fatal: the disk refuses.
        """
        with self._writing():
            self._save(records)

    def adopt(self, machine: str, fresh: Mapping[str, SourceRecord]) -> None:
        """Put other sources in the place of known ones, and note on which machine, all at once.

        Raises:
            Fatal: the disk refuses.
        """
        with self._writing():
            for source in fresh:
                self._forget(source)
            self._save(fresh.values())
            self._database.execute("INSERT OR REPLACE INTO meta VALUES ('machine', ?)", (machine,))

    def _save(self, records: Iterable[SourceRecord]) -> None:
        bounded = {row[0] for row in self._database.execute("SELECT DISTINCT source FROM boundaries")}
        for record in records:
            self._database.execute(
                "INSERT OR REPLACE INTO sources VALUES (?, ?)", (record.source, msgspec.msgpack.encode(record))
            )
            if record.source in bounded:
                self._drop_boundaries(record)

    def _drop_boundaries(self, record: SourceRecord) -> None:
        """Keep the one that ends at the checkpoint: it says whether the next byte continues a line."""
        for boundary in self.boundaries(record.source):
            if boundary.end < record.offset:
                self._database.execute(
                    "DELETE FROM boundaries WHERE source = ? AND start = ?", (record.source, boundary.start)
                )

    def boundaries(self, source: str) -> list[Boundary]:
        """Return a source's boundaries in the order of their place."""
        rows = self._database.execute("SELECT record FROM boundaries WHERE source = ? ORDER BY start", (source,))
        return [msgspec.msgpack.decode(row[0], type=Boundary) for row in rows]

    def add_boundary(self, source: str, boundary: Boundary) -> None:
        """Write a boundary, before anything that depends on it is published.

        Raises:
            Fatal: the disk refuses.
        """
        with self._writing():
            self._database.execute(
                "INSERT OR REPLACE INTO boundaries VALUES (?, ?, ?)",
                (source, boundary.start, msgspec.msgpack.encode(boundary)),
            )

    def forget(self, *sources: str) -> None:
        """Drop sources and their boundaries.

        Raises:
            Fatal: the disk refuses.
        """
        with self._writing():
            for source in sources:
                self._forget(source)

    def _forget(self, source: str) -> None:
        self._database.execute("DELETE FROM sources WHERE source = ?", (source,))
        self._database.execute("DELETE FROM boundaries WHERE source = ?", (source,))

    def close(self) -> None:
        """Close the database and let another process in."""
        self._database.close()
        os.close(self._lock)


def _lock(directory: Path) -> int:
    """Hold the folder for this process; the lock goes with it, however it ends."""
    descriptor = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise Fatal(
            f"state_dir {directory} is in use by another tailer (pid {holder}); stop it, or choose another state_dir"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor
