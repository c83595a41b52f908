"""A folder of the spool: what one process has written and nobody has delivered yet.

Flows in: segments and the account of their source. Flows out: the same, in order. Invariant: whoever works in a folder
holds the lock of its file `lock` (flock(2)), so no two processes ever do; a dead process holds none.
"""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Self

import msgspec

from dataplane_common.ledger import SourceAccount

_LOCK = "lock"
_ACCOUNT = "account.json"
_SUFFIX = ".segment"


class Home:
    """A folder that this process has locked. Methods raise `OSError` where the disk does."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self._lock = lock
        self._number = max((int(path.stem, 16) for path in self.segments()), default=0)

    @classmethod
    def enter(cls, folder: Path, *, create: bool = False) -> Self | None:
        """Lock a folder; return None if another process works in it, or if it is none.

        Raises:
            OSError: the folder cannot be made or opened.
        """
        if create:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        try:
            lock = os.open(folder / _LOCK, flags, 0o600)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(folder / _LOCK).st_ino == os.fstat(lock).st_ino:  # noqa: PTH116 - beside its fstat
                return cls(folder, lock)
        except OSError:  # locked, or removed by the process that had it
            pass
        os.close(lock)
        return None

    def segments(self) -> list[Path]:
        """Return the segments, oldest first."""
        return sorted(self.folder.glob(f"*{_SUFFIX}"))

    def new_segment(self) -> int:
        """Open a new, empty segment for appending and return its descriptor."""
        self._number += 1
        path = self.folder / f"{self._number:08x}{_SUFFIX}"
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def save(self, account: SourceAccount) -> None:
        """Write the account, all of it or nothing; after a loss of power there may be none."""
        new = self.folder / f"{_ACCOUNT}.new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(account))
        finally:
            os.close(descriptor)
        new.replace(self.folder / _ACCOUNT)

    def account(self) -> SourceAccount | None:
        """Return the account, or None where there is none that can be read."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode((self.folder / _ACCOUNT).read_bytes(), type=SourceAccount)
        return None

    def leave(self) -> None:
        """Unlock the folder, and remove it if nothing waits in it."""
        with contextlib.suppress(OSError):
            if not self.segments():
                for name in (_ACCOUNT, f"{_ACCOUNT}.new", _LOCK):
                    (self.folder / name).unlink(missing_ok=True)
                self.folder.rmdir()
        self.let_go()

    def let_go(self) -> None:
        """Close the lock's descriptor and touch nothing: in a forked child the lock is the parent's."""
        with contextlib.suppress(OSError):
            os.close(self._lock)
