"""What must outlive the process: sources, their checkpoints, and boundaries that time or a limit decided.

Flows in: checkpoints. Flows out: the same after a crash. Invariant: a source and its boundaries are on disk before the
first event that depends on them is published. SQLite in WAL mode, each commit synced; one process (flock).
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec

from dataplane_common.errors import Fatal
from dataplane_common.telemetry import get_logger
from dataplane_tailer.identity import FileKey, key_of
from dataplane_tailer.lock import LOCK_FILE, hold

_VERSION = 1
#: Under these words streams are remembered: `stream <name> <dataset>`.
STREAM = "stream "
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sources (source TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS boundaries (
    source TEXT NOT NULL, start INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (source, start)
) WITHOUT ROWID;
"""


class Boundary(msgspec.Struct, frozen=True):
    """Where time or a limit ended an event: bytes `start` to `end`; `piece` 0 is a line sent before its newline.

    A piece that was cut again has `parts` behind its number; `sequence` is the event's if it is not the next in order.
    """

    start: int
    end: int
    line_start: int
    piece: int
    ends_line: bool
    parts: tuple[int, ...] = ()
    sequence: int = 0


class SourceRecord(msgspec.Struct):
    """One generation of one file. `offset` and `sequence` are the checkpoint; bytes below `sent_limit` may be sent.

    `path` is where it is now, `log_path` the name it was found under, which its events carry; `head` are its first
    bytes; lines above `line_limit` were cut into pieces there; `size_seen` is its size when it was last looked at,
    `packed_size` and `packed_at` are size and time of its compressed form; `encoding` has the order of its bytes;
    `dropped` counts the lines that a filter took, `abandoned_bytes` what was lost by reason. `marks` are places that
    were read, each with a hash of the bytes before it, the older the sparser: they tell a copy that ends before the
    checkpoint; `copies` are device, inode and size of those that were found. `resumes` has for some offsets the number
    of the last event in front of them where that is not the count of events: pieces of lines that were refused once
    later lines had their numbers. `gone_at` is when a finished one was no longer there, in seconds since the epoch.
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
    resumes: dict[int, int] = {}
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
        self._file = directory / "state.db"
        was_used = os.path.exists(directory / LOCK_FILE)  # noqa: PTH110 - what is forbidden is said below
        self._lock = hold(directory)
        try:
            if was_used and self._file.exists() and self._file.stat().st_size == 0:
                raise sqlite3.DatabaseError("it is empty")
            self._open()
        except (sqlite3.Error, Fatal) as error:
            os.close(self._lock)
            if isinstance(error, Fatal):
                raise
            raise Fatal(
                f"{directory}/state.db: {error}; if it is damaged, move it away: all files are sent again then"
            ) from error

    def _open(self) -> None:
        self._database = sqlite3.connect(self._file, isolation_level=None)
        try:
            self._prepare()
        except (sqlite3.Error, Fatal):
            self._database.close()
            raise

    def _prepare(self) -> None:
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)
        found = int(self.get("version") or _VERSION)
        if found > _VERSION:
            raise Fatal(
                f"{self.directory}/state.db has version {found}, this tailer knows {_VERSION}; upgrade the tailer"
            )
        self._key = key_of(self._file.stat())
        self.put("version", str(_VERSION))

    def get(self, key: str) -> str | None:
        """Return a remembered text."""
        row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def texts(self, prefix: str) -> dict[str, str]:
        """Return the remembered texts whose keys begin so, those that were emptied left out."""
        rows = self._database.execute("SELECT key, value FROM meta WHERE value <> ''")
        return {key: value for key, value in rows if key.startswith(prefix)}

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
        self._put_back()
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

    def adopt(self, fresh: Mapping[str, SourceRecord], texts: Mapping[str, str]) -> None:
        """Put other sources in the place of known ones, and remember texts, all at once.

        Raises:
            Fatal: the disk refuses.
        """
        with self._writing():
            for source in fresh:
                self._forget(source)
            self._save(fresh.values())
            self._database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", texts.items())

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
            self._add_boundary(source, boundary)

    def split(self, record: SourceRecord, boundaries: Iterable[Boundary]) -> None:
        """Write how an event is cut, and with it what this does to the numbers behind it.

        Raises:
            Fatal: the disk refuses.
        """
        with self._writing():
            self._save([record])
            for boundary in boundaries:
                self._add_boundary(record.source, boundary)

    def _add_boundary(self, source: str, boundary: Boundary) -> None:
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

    def _put_back(self) -> None:
        """Write the state anew where somebody has deleted it: what is open is still whole.

        Raises:
            Fatal: another one lies there, or the disk refuses.
        """
        with suppress(FileNotFoundError):
            if key_of(self._file.stat()) != self._key:
                raise Fatal(f"{self._file} is another one than was opened; start the tailer again to go on with that")
            return
        if os.fstat(self._lock).st_nlink == 0:
            lost, self._lock = self._lock, hold(self.directory)
            os.close(lost)
        for rest in self.directory.glob(f"{self._file.name}-*"):
            rest.unlink()
        made = self._file.with_name(f"{self._file.name}-new")
        with closing(sqlite3.connect(made)) as fresh:
            self._database.backup(fresh)
        self._database.close()  # which deletes a write-ahead log by its name: it must not be the new one's
        made.replace(self._file)
        self._open()
        get_logger("state").warning("state.put_back", state_dir=str(self.directory), reason="it was deleted")

    def close(self) -> None:
        """Close the database and let another process in."""
        with suppress(Fatal):  # there is nothing left to be saved
            self._put_back()
        self._database.close()
        os.close(self._lock)
