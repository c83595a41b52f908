"""One at a time, across processes: a lock on a file, with a deadline.

Invariant: the kernel holds the lock, so it ends with its process, however that ends (flock(2)).
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataplane_common.errors import Fatal

_POLL_S = 0.1


@contextmanager
def locked(file: Path, *, timeout_s: float, what: str) -> Iterator[None]:
    """Hold the lock on `file` for the body's time.

    Raises:
        Fatal: another process held it for longer than `timeout_s`; `what` says what that one does.
    """
    deadline = time.monotonic() + timeout_s
    with file.open("ab") as handle:
        while not _try(handle.fileno()):
            if time.monotonic() > deadline:
                raise Fatal(f"{what} (lock {file} held for {timeout_s:g} s): wait for it, or end that process")
            time.sleep(_POLL_S)
        yield


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
