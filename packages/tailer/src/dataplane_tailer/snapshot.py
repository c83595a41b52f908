"""The state of a tailer as it is on disk, read without disturbing the tailer that writes it.

Flows in: a state folder. Flows out: its sources, boundaries and remembered texts, and who holds it. Invariant: nothing
is written, no lock is taken, and all that is returned was true at one moment.
"""

import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from dataplane_common.errors import Fatal
from dataplane_tailer.lock import LOCK_FILE
from dataplane_tailer.state import STREAM, Boundary, SourceRecord

DATABASE = "state.db"
#: The version of the state that is understood here.
VERSION = 1
#: A tailer that starts or stops while its state is read takes the write-ahead log with it: read again, so often.
_ATTEMPTS = 5
_BUSY_TIMEOUT_S = 2.0
#: `1: FLOCK  ADVISORY  WRITE 4469 fe:00:10002867 0 EOF` (proc_locks(5)).
_LOCK_FIELDS = 6


class StreamRecord(msgspec.Struct, frozen=True):
    """What the state keeps of a source that is no file: `name` is `-` for standard input, or `journal …`."""

    source: str
    sequence: int = 0
    dropped: int = 0
    cursor: str = ""
    first_at: str = ""
    is_clean: bool = True
    last_error: str = ""
    name: str = ""
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a state folder holds; `holder` is the pid of the tailer that runs on it, None if none does."""

    directory: Path
    records: list[SourceRecord]
    boundaries: dict[str, list[Boundary]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    holder: int | None = None

    @property
    def streams(self) -> list[StreamRecord]:
        """The sources that are no files."""
        return streams_of(self.texts)


def streams_of(texts: Mapping[str, str]) -> list[StreamRecord]:
    """Return the streams among the texts that a state remembers. Pure.

    Raises:
        msgspec.MsgspecError: one of them is no stream.
    """
    streams = []
    for key, text in sorted(texts.items()):
        if key.startswith(STREAM) and text:
            name, _, dataset = key.removeprefix(STREAM).rpartition(" ")
            stream = msgspec.json.decode(text, type=StreamRecord)
            streams.append(msgspec.structs.replace(stream, name=name, dataset=dataset))
    return streams


def has_state(directory: Path) -> bool:
    """Tell whether a tailer has ever kept its state in a folder."""
    return (directory / DATABASE).is_file()


def read_snapshot(directory: Path) -> Snapshot:
    """Read a state folder.

    Raises:
        Fatal: there is no state, it may not be read, is damaged or of a newer version.
    """
    problem: Exception = FileNotFoundError("no state there; name the folder that the tailer runs with")
    for _ in range(_ATTEMPTS):
        if not has_state(directory):
            break
        try:
            return _read(directory)
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            problem = error
    raise Fatal(f"{directory}: the state cannot be read: {_reason(directory, problem)}")


def _reason(directory: Path, problem: Exception) -> str:
    if isinstance(problem, FileNotFoundError) or os.access(directory / DATABASE, os.R_OK):
        return str(problem)
    return "permission denied; run as the tailer's user or as root"


def _read(directory: Path) -> Snapshot:
    database = sqlite3.connect(_address(directory), uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT_S)
    try:
        database.execute("BEGIN")
        texts = {str(key): str(value) for key, value in database.execute("SELECT key, value FROM meta")}
        if (version := int(texts.get("version", VERSION))) > VERSION:
            raise Fatal(f"{directory}/{DATABASE} has version {version}, this command knows {VERSION}; upgrade it")
        records = [
            msgspec.msgpack.decode(row[0], type=SourceRecord) for row in database.execute("SELECT record FROM sources")
        ]
        boundaries: dict[str, list[Boundary]] = {}
        for source, record in database.execute("SELECT source, record FROM boundaries ORDER BY source, start"):
            boundaries.setdefault(source, []).append(msgspec.msgpack.decode(record, type=Boundary))
    finally:
        database.close()
    records.sort(key=lambda record: (record.path, record.first_at, record.source))
    return Snapshot(directory, records, boundaries, texts, holder_of(directory))


def _address(directory: Path) -> str:
    """Return the URI to read from: without a write-ahead log nothing can change, and nothing needs to be made for it.

    Source: sqlite.org, "Write-Ahead Logging", section 5, read-only databases.
    """
    has_log = (directory / f"{DATABASE}-wal").exists()
    return f"{(directory / DATABASE).absolute().as_uri()}?{'mode=ro' if has_log else 'immutable=1'}"


def holder_of(directory: Path, locks: Path = Path("/proc/locks")) -> int | None:
    """Return the pid of the process that holds a state folder, None if none does.

    The kernel's list is read instead of trying the lock: a tailer that starts in that moment would find it taken.
    """
    try:
        looked_at = (directory / LOCK_FILE).stat()
        text = locks.read_text()
    except OSError:
        return None
    return find_holder(text, looked_at.st_dev, looked_at.st_ino, _written_pid(directory))


def _written_pid(directory: Path) -> int | None:
    try:
        text = (directory / LOCK_FILE).read_text(errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def find_holder(locks: str, device: int, inode: int, written_pid: int | None) -> int | None:
    """Return who holds an flock(2) on a file by the text of /proc/locks. Pure.

    File systems that show another device there (btrfs, overlay) are known by the pid that the holder wrote down.
    """
    place = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}"
    for line in locks.splitlines():
        fields = line.split()
        if len(fields) < _LOCK_FIELDS or fields[1] != "FLOCK" or not fields[4].isdigit():
            continue
        is_written = fields[4] == str(written_pid) and fields[5].endswith(f":{inode}")
        if fields[5] == place or is_written:
            return int(fields[4])
    return None
