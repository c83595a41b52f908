"""The spool on disk: events that could not be delivered, until they can be, by this process or by a later one.

Flows in: frames and the account of this process's source. Flows out: segments to drain, our own and those that ended
processes have left. Invariant: a frame counts as stored only when it is on the disk, all of the spool takes at most
`max_bytes`, and nothing in it is ever thrown away for something newer.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dataplane_common.frame import Frame
from dataplane_common.ledger import SourceAccount
from dataplane_emitter import segment
from dataplane_emitter.home import Home
from dataplane_emitter.settings import SpoolConfig

#: A segment is drained and removed as a whole; of this size it is read in milliseconds.
_SEGMENT_BYTES = 8 * 1024 * 1024
#: Pause after the disk refused to take something.
_REFUSED_PAUSE_S = 10.0


class Spool:
    """The spool as one process sees it. Belongs to the emitter's own thread; raises nothing.

    `is_drained` says that all that ended processes had left at the start has been sent, or stays for a reason.
    """

    def __init__(self, config: SpoolConfig, source: str, report: Callable[[str], None]) -> None:
        self._max_bytes = config.max_bytes
        self._folder = Path(config.dir or ".").absolute()
        self._own_folder = self._folder / source
        self._report = report
        self._home: Home | None = None
        self._segment: int | None = None
        self._segment_bytes = 0
        self._refused_until = 0.0
        self.is_drained = False

    @property
    def is_open(self) -> bool:
        """Whether it makes sense to try to store something now."""
        return time.monotonic() >= self._refused_until

    def store(self, frames: Sequence[Frame], account: SourceAccount) -> bool:
        """Append frames and write them through to the disk; return whether they are there, all of them.

        `account` is the source's as it is with these frames stored.
        """
        data = b"".join(segment.encode(frame) for frame in frames)
        if not self.is_open:
            return False
        used = self.used_bytes()
        if used + len(data) > self._max_bytes:
            return self._refuse(f"the spool {self._folder} is full ({used} of {self._max_bytes} bytes)")
        try:
            home = self._own_home()
            home.save(account)
            self._append(home, data)
        except OSError as error:
            if not self._own_folder.exists():  # somebody has emptied the spool: begin anew
                self.close()
            return self._refuse(f"the spool {self._folder} cannot be written: {error.strerror or error}")
        return True

    def used_bytes(self) -> int:
        """Return what all processes have in this spool."""
        used = 0
        for path in self._folder.glob("*/*.segment"):
            with contextlib.suppress(OSError):
                used += path.stat().st_size
        return used

    def save(self, account: SourceAccount) -> None:
        """Write down the account if there is anything in our own folder."""
        with contextlib.suppress(OSError):
            if self._home is not None:
                self._home.save(account)

    def own(self) -> Home | None:
        """Return our own folder to drain, its last segment closed, or None if nothing waits there."""
        self._end_segment()
        return self._home if self._home is not None and self._home.segments() else None

    def left(self) -> Iterator[Home]:
        """Lock and yield the folders of processes that have ended; each must be left by whoever takes it."""
        for folder in sorted(self._folder.glob("*/")):
            if folder == self._own_folder:
                continue
            with contextlib.suppress(OSError):
                home = Home.enter(folder)
                if home is not None:
                    yield home

    def close(self) -> None:
        """Leave our own folder; what waits there is for the next process."""
        self._end_segment()
        if self._home is not None:
            self._home.leave()
            self._home = None

    def let_go(self) -> None:
        """Forget what the parent process has open, in a forked child."""
        if self._segment is not None:
            with contextlib.suppress(OSError):
                os.close(self._segment)
        if self._home is not None:
            self._home.let_go()
        self._segment = self._home = None

    def _own_home(self) -> Home:
        if self._home is None:
            self._home = Home.enter(self._own_folder, create=True) or Home.enter(self._own_folder, create=True)
        if self._home is None:
            raise OSError(f"{self._own_folder} is in use")
        return self._home

    def _append(self, home: Home, data: bytes) -> None:
        """Write to the segment's end, or leave it as it was."""
        if self._segment_bytes + len(data) > _SEGMENT_BYTES:
            self._end_segment()
        if self._segment is None:
            self._segment = home.new_segment()
        try:
            _write_all(self._segment, data)
            os.fsync(self._segment)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._segment, self._segment_bytes)
            raise
        self._segment_bytes += len(data)

    def _end_segment(self) -> None:
        if self._segment is not None:
            with contextlib.suppress(OSError):
                os.close(self._segment)
        self._segment = None
        self._segment_bytes = 0

    def _refuse(self, why: str) -> bool:
        self._refused_until = time.monotonic() + _REFUSED_PAUSE_S
        self._report(f"{why}; events wait in memory")
        return False


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
