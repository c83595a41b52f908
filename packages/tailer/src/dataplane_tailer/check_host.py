"""`check`: whether the host gives what the tailer needs: descriptors, inotify watches, a place for its state.

Flows in: the files and folders of the inputs, limits. Flows out: findings.
"""

import os
import re
import resource
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from dataplane_tailer.config import TailerConfig
from dataplane_tailer.discover import folders
from dataplane_tailer.finding import Finding
from dataplane_tailer.sight import open_links
from dataplane_tailer.snapshot import holder_of

_PROC = Path("/proc")
#: What a tailer has open besides the files: sockets, the state, inotify, Python itself; and old generations of files.
_OTHER_DESCRIPTORS = 128
#: File systems whose content ends with the machine's run.
_VOLATILE = frozenset({"tmpfs", "ramfs", "devtmpfs"})
#: File systems without the shared memory that SQLite's write-ahead log needs (sqlite.org, "Write-Ahead Logging").
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.glusterfs", "ceph", "lustre"})
#: Folders are counted up to here: more is beyond any limit.
_COUNT_LIMIT = 1_000_000


def check_host(config: TailerConfig, file_count: int, proc: Path = _PROC) -> list[Finding]:
    """Look at the limits of this host, those of a running tailer where one runs, and at the state's place."""
    watched = count_folders(folders(config.inputs))
    watches, instances = inotify_limits(proc)
    return [
        *judge_descriptors(file_count, descriptor_limit(holder_of(config.state_dir), proc)),
        *judge_watches(watched, watches),
        *judge_instances(count_inotify(proc), instances),
        *check_state_dir(config.state_dir, proc),
    ]


def descriptor_limit(holder: int | None, proc: Path = _PROC) -> int:
    """Return the soft limit of descriptors: that of the running tailer, else of this process."""
    if holder is not None:
        try:
            text = (proc / str(holder) / "limits").read_text()
        except OSError:
            text = ""
        if limit := re.search(r"^Max open files\s+(\d+)", text, re.MULTILINE):
            return int(limit[1])
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def judge_descriptors(files: int, limit: int) -> list[Finding]:
    """Compare the number of files with the limit of descriptors. Pure."""
    needed = files + _OTHER_DESCRIPTORS
    if limit < 0 or needed <= limit:
        return []
    text = (
        f"{files:,} files match and a process may open {limit:,} (RLIMIT_NOFILE): the rest would not be read; "
        f"set LimitNOFILE={2 * needed} in the unit, or `ulimit -n {2 * needed}`"
    )
    return [Finding("warning", "descriptors", text)]


def count_folders(watched: Mapping[str, bool]) -> int:
    """Return how many folders would be watched; if one is watched deeply, all are."""
    if not any(watched.values()):
        return len(watched)
    count = 0
    for folder in watched:
        for _ in os.walk(folder):
            count += 1
            if count >= _COUNT_LIMIT:
                return count
    return count


def inotify_limits(proc: Path = _PROC) -> tuple[int | None, int | None]:
    """Return (watches, instances) that a user may have, None where the system does not say (inotify(7))."""
    folder = proc / "sys" / "fs" / "inotify"
    return _number(folder / "max_user_watches"), _number(folder / "max_user_instances")


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def count_inotify(proc: Path = _PROC) -> int:
    """Return how many inotify instances the processes of this user have, as far as it can be seen."""
    count = 0
    for process in proc.glob("[0-9]*"):
        with suppress(OSError):
            if process.stat().st_uid == os.geteuid():
                count += sum(target == "anon_inode:inotify" for _, target in open_links(process))
    return count


def judge_watches(folders_watched: int, limit: int | None) -> list[Finding]:
    """Compare the number of folders with the limit of watches. Pure."""
    if limit is None or folders_watched < limit:
        return []
    text = (
        f"{folders_watched:,} folders would be watched, {limit:,} watches are allowed: changes are seen by rescans "
        f"only, seconds later; sysctl fs.inotify.max_user_watches={4 * folders_watched}, or narrower paths"
    )
    return [Finding("warning", "inotify", text)]


def judge_instances(used: int, limit: int | None) -> list[Finding]:
    """Compare the inotify instances of this user with their limit. Pure."""
    if limit is None or used < limit:
        return []
    text = (
        f"this user has {used:,} inotify instances of {limit:,}: changes are then seen by rescans only, seconds later; "
        f"sysctl fs.inotify.max_user_instances={4 * limit}"
    )
    return [Finding("warning", "inotify", text)]


def check_state_dir(directory: Path, proc: Path = _PROC) -> list[Finding]:
    """Look at the place of the state: it must be writable, outlive the machine's run, and not be remote."""
    there = next(folder for folder in (directory, *directory.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        text = f"{there} cannot be written; name a folder that the tailer's user may write, or change its mode"
        return [Finding("error", "state_dir", text)]
    try:
        mounts = (proc / "self" / "mounts").read_text().splitlines()
    except OSError:
        return []
    return judge_file_system(directory, file_system(str(there.resolve()), mounts))


def file_system(path: str, mounts: Iterable[str]) -> str:
    """Return the type of the file system that a path lies on, by the lines of /proc/self/mounts. Pure."""
    best, kind = "", ""
    for line in mounts:
        fields = line.split()
        if len(fields) < 3:  # noqa: PLR2004 - device, place, type (proc_mounts(5))
            continue
        place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[1])
        is_above = path == place or path.startswith(place.rstrip("/") + "/")
        if is_above and len(place) >= len(best):
            best, kind = place, fields[2]
    return kind


def judge_file_system(directory: Path, kind: str) -> list[Finding]:
    """Say what is wrong with the type of a file system. Pure."""
    if kind in _VOLATILE:
        text = f"{directory} lies on {kind}: a reboot forgets it, and all files are sent again; name a folder on a disk"
        return [Finding("warning", "state_dir", text)]
    if kind in _REMOTE:
        text = f"{directory} lies on {kind}, which cannot lock and share memory as the state needs; name a local folder"
        return [Finding("warning", "state_dir", text)]
    return []
