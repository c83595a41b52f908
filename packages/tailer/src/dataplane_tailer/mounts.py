"""Whether the kernel tells of writes to a file: not through a symbolic link, not on a network's file system.

Flows in: a path. Flows out: whether it has to be looked at again and again.
Source: inotify(7), section limitations; proc_pid_mounts(5).
"""

import os
from functools import lru_cache

_REMOTE = ("nfs", "cifs", "smb", "9p", "ceph", "gluster", "fuse", "afs", "lustre", "gpfs", "vboxsf", "virtiofs")
_MOUNTS = "/proc/self/mounts"


def is_heard(path: str) -> bool:
    """Tell whether inotify on the file's folder reports writes to it."""
    real = os.path.realpath(path)
    return real == path and not _kind_of(os.path.dirname(real)).startswith(_REMOTE)  # noqa: PTH120


@lru_cache(maxsize=1024)
def _kind_of(folder: str) -> str:
    """Return the type of the file system that holds a folder; an empty text where nobody knows."""
    best, kind = "", ""
    try:
        with open(_MOUNTS) as mounts:  # noqa: PTH123 - a file of the kernel's
            for line in mounts:
                _, where, found, *_ = line.split(" ")
                where = where.replace("\\040", " ")
                if len(where) > len(best) and (folder + "/").startswith(where.rstrip("/") + "/"):
                    best, kind = where, found
    except (OSError, ValueError):
        return ""
    return kind
