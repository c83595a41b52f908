"""Unpacks compressed files in a thread of its own, while the others are followed.

Flows in: files that were found. Flows out: descriptors of their text. Invariant: one file is unpacked at a time, and a
file that changed meanwhile is unpacked anew.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Container
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dataplane_common.errors import Transient
from dataplane_tailer.content import Unpacking, is_compressed, open_or_unpack
from dataplane_tailer.discover import Found
from dataplane_tailer.identity import FileKey

#: What could not be unpacked is tried again after this, if it has not changed before.
_RETRY_S = 60.0


@dataclass(slots=True, eq=False)
class Unpacker:
    """Unpacks into `spool`; `on_ready` is called in the event loop when a text can be taken."""

    spool: Path
    on_ready: Callable[[], None]
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "unpack"))
    _is_closing: threading.Event = field(default_factory=threading.Event)
    _failed_s: dict[FileKey, float] = field(default_factory=dict)
    _jobs: dict[FileKey, tuple[tuple[int, float], "Future[int]"]] = field(default_factory=dict)

    def take(self, found: Found) -> int | None:
        """Return a descriptor of a file's text, or None while it is being unpacked.

        Raises:
            OSError: it cannot be opened.
            Transient: its compressed form is not complete.
        """
        version = (found.size, found.modified_at)
        seen, job = self._jobs.pop(found.key, (version, None))
        if job is None or seen != version or self._is_worth_another_try(found.key, job):
            _discard(job)
            job = self._threads.submit(self._unpack, found.path, found.key)
            loop = asyncio.get_running_loop()
            job.add_done_callback(lambda _job: loop.call_soon_threadsafe(self.on_ready))
        if job.done() and not job.exception():
            return job.result()
        self._jobs[found.key] = (version, job)
        return job.result() if job.done() else None

    def _is_worth_another_try(self, key: FileKey, job: "Future[int]") -> bool:
        """What could not be unpacked is tried again when it has changed, or after a while: the disk may have room."""
        if not job.done() or not job.exception():
            return False
        is_due = time.monotonic() - self._failed_s.setdefault(key, time.monotonic()) > _RETRY_S
        if is_due:
            del self._failed_s[key]
        return is_due

    def _unpack(self, path: str, key: FileKey) -> int:
        """Unpack step by step, in the thread."""
        opened = open_or_unpack(path, self.spool, key)
        while isinstance(opened, Unpacking):
            if self._is_closing.is_set():
                opened.close()
                raise Transient(f"{path}: not unpacked to its end before the stop")
            if (descriptor := opened.step()) is not None:
                return descriptor
        return opened

    def put_back(self, found: Found, descriptor: int) -> None:
        """Keep the text of a compressed file that is not read for now; any other is let go."""
        if not is_compressed(found.path):
            os.close(descriptor)
            return
        done: Future[int] = Future()
        done.set_result(descriptor)
        self._jobs[found.key] = ((found.size, found.modified_at), done)

    def forget_gone(self, there: Container[FileKey]) -> None:
        """Let the texts of files go that are no longer there."""
        for key in [key for key in self._jobs if key not in there]:
            _discard(self._jobs.pop(key)[1])
            self._failed_s.pop(key, None)

    async def wait(self) -> bool:
        """Wait until nothing is being unpacked, return whether anything was; how it ended is told to who takes it."""
        jobs = [asyncio.wrap_future(job) for _, job in self._jobs.values()]
        await asyncio.gather(*jobs, return_exceptions=True)
        return bool(jobs)

    def close(self) -> None:
        """Let everything go that was not taken."""
        self._is_closing.set()
        self._threads.shutdown(cancel_futures=True)
        for _, job in self._jobs.values():
            _discard(job)
        self._jobs.clear()


def _discard(job: "Future[int] | None") -> None:
    """Close what a job brings, whenever it does."""
    if job is not None and not job.cancel():
        job.add_done_callback(lambda done: os.close(done.result()) if not done.exception() else None)
