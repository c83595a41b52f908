"""The lock on a state folder: one process, named in it.

Flows in: a folder, made if it is not there. Flows out: a descriptor that holds it. Source: flock(2).
"""

import fcntl
import os
from pathlib import Path

from dataplane_common.errors import Fatal

LOCK_FILE = "lock"


def hold(directory: Path) -> int:
    """Hold the folder for this process; the lock goes with it, however it ends.

    Raises:
        Fatal: it cannot be used, or another process holds it.
    """
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)  # it holds beginnings of logs
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise Fatal(f"state_dir {directory}: {error.strerror}; name a folder that the tailer may write") from error
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
