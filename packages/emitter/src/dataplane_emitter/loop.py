"""The event loop of the emitter's own thread.

Flows in: sockets. Flows out: the queue's knowledge of whether its reader computes or waits. Invariant: nothing here
needs another thread, because at interpreter exit none can be started any more.
"""

import asyncio
import os
import selectors
import socket
import threading
from typing import Any

from dataplane_emitter.queue import BoundedQueue


class _Selector(selectors.DefaultSelector):
    """Waits for the socket, and lets the queue know when it does: nobody stands aside for a reader that waits."""

    def __init__(self, queue: BoundedQueue) -> None:
        super().__init__()
        self._queue = queue
        self._pid = os.getpid()

    def select(self, timeout: float | None = None) -> "list[tuple[selectors.SelectorKey, int]]":
        """See `selectors.BaseSelector`."""
        self._queue.is_reader_busy = timeout is not None and timeout <= 0
        try:
            return super().select(timeout)
        finally:
            self._queue.is_reader_busy = True
            if os.getpid() != self._pid:  # gevent's fork copies threads, too, and the connection is the parent's
                threading.Event().wait()


class Loop(asyncio.SelectorEventLoop):
    """An event loop that reads one queue and resolves names itself."""

    def __init__(self, queue: BoundedQueue) -> None:
        super().__init__(_Selector(queue))
        self.set_debug(False)  # in an application that debugs its own loop, asyncio would warn it of this one

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Say nothing through asyncio's logger, whose handlers may be ours: what matters is reported by the stages."""

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """Resolve within this thread, which has nothing better to do without a connection."""
        return socket.getaddrinfo(host, port, **options)
