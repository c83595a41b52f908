"""The bounded queue between the application's threads and the emitter's own.

Flows in: finished bodies with a rank. Flows out: the oldest first, whatever their rank. Invariant: no call waits for
anything but another call's few instructions, whoever looks finds events and bytes within their bounds, and every event
accepted is either taken or counted as dropped with a reason.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from math import inf
from typing import NamedTuple, Self

import msgspec

from dataplane_emitter.envelope import Route
from dataplane_emitter.level import RANKS
from dataplane_emitter.settings import QueueConfig

#: Events that wait to be counted: as many as make the lock cost little, and rarer than one call in a hundred.
_MAX_FRESH = 127
#: An event above this is counted at once, so that those that wait for it take at most half a megabyte.
_MAX_FRESH_BYTES = 4_096
#: In a flood, the caller who counts stands aside for so long: enough for the reader's thread to wake up. Else Python
#: gives it the interpreter only every 5 ms, and it falls behind.
_YIELD_S = 0.00005
#: It is a flood when this part of the queue is full.
_FLOOD_SHARE = 8


class Entry(msgspec.Struct, gc=False):
    """An event that waits: its rank, where it goes, its body, what it takes in the queue, the how many-th there it is.

    `log` and `process` are the members of that name, of a body that has not got them itself; many events share them.
    The application's garbage collector does not see it, so that a full queue costs no collection anything.
    """

    rank: int
    route: Route
    body: bytes
    size: int
    log: bytes = b""
    process: bytes = b""
    number: int = 0

    @classmethod
    def of(cls, rank: int, route: Route, body: bytes) -> Self:
        """Return the entry of a body that is complete."""
        return cls(rank, route, body, len(body) + route.cost_bytes)


class QueueCounts(NamedTuple):
    """One consistent look at the queue's account."""

    accepted: int
    taken: int
    queued: int
    queued_bytes: int
    dropped: dict[str, int]


class BoundedQueue:
    """Holds at most `max_events` events of at most `max_bytes`; full, it drops by its policy and counts.

    A log call only appends to `_fresh`, which needs no lock; whoever looks at the rest counts and sorts those first.
    The lock is re-entrant, because a signal handler or a finaliser may log in the middle of a log call.
    `is_reader_busy` is the reader's word that it computes; while it waits, for the bus or for events, nobody stands
    aside for it.
    """

    def __init__(self, config: QueueConfig) -> None:
        self._max_events = config.max_events
        self._max_bytes = config.max_bytes
        self._make_room = _POLICIES[config.overflow]
        self._lock = threading.RLock()
        self._fresh: deque[Entry] = deque()
        self._ranks: tuple[deque[Entry], ...] = tuple(deque() for _ in range(RANKS))
        self._accepted = 0
        self._taken = 0
        self._events = 0
        self._bytes = 0
        self._closed = False
        self._flood_from = config.max_events // _FLOOD_SHARE
        self.is_reader_busy = False
        self.dropped: Counter[str] = Counter()

    def __len__(self) -> int:
        return self.counts().queued

    @property
    def accepted(self) -> int:
        """Events that were ever put here, those dropped since included."""
        return self.counts().accepted

    @property
    def queued_bytes(self) -> int:
        """What the events that wait take, about as much as they will take on the wire."""
        return self.counts().queued_bytes

    def put(self, entry: Entry) -> None:
        """Append an event; never waits, never raises. What is dropped for it, or instead of it, is counted."""
        self._fresh.append(entry)
        if len(self._fresh) > _MAX_FRESH or entry.size > _MAX_FRESH_BYTES:
            with self._lock:
                self._sort()
            if self.is_reader_busy and self._events > self._flood_from:
                time.sleep(_YIELD_S)

    def try_put(self, entry: Entry) -> bool:
        """Append an event if there is room for it and return whether there was; nothing is dropped or counted."""
        with self._lock:
            self._sort()
            if self._closed or self._events >= self._max_events or self._bytes + entry.size > self._max_bytes:
                return False
            self._add(entry)
            return True

    def refuse(self, reason: str) -> None:
        """Count an event that never became one."""
        with self._lock:
            self._accepted += 1
            self.dropped[reason] += 1

    def drop(self, reason: str, count: int) -> None:
        """Count events that were taken and will never arrive."""
        with self._lock:
            self.dropped[reason] += count

    def take(self, max_events: int, max_bytes: int) -> list[Entry]:
        """Remove and return the oldest events, in order, up to the limits; the first one always fits."""
        taken: list[Entry] = []
        size = 0
        with self._lock:
            self._sort()
            while max_events and (found := self._oldest_run()) is not None:
                waiting, end = found
                while max_events and waiting:
                    entry = waiting.popleft()
                    is_too_much = size + entry.size > max_bytes and taken
                    if is_too_much or entry.number > end:
                        waiting.appendleft(entry)
                        max_events = 0 if is_too_much else max_events
                        break
                    taken.append(entry)
                    size += entry.size
                    max_events -= 1
            self._events -= len(taken)
            self._bytes -= size
            self._taken += len(taken)
        return taken

    def oldest(self) -> int | None:
        """Return the number of the oldest event that waits, or None."""
        with self._lock:
            self._sort()
            found = self._oldest_run()
            return found[0][0].number if found else None

    def close(self) -> None:
        """Refuse everything from now on, with the reason `closed`; what waits stays to be taken."""
        with self._lock:
            self._sort()
            self._closed = True

    def clear(self, reason: str) -> None:
        """Drop and count everything that waits."""
        with self._lock:
            self._sort()
            if self._events:
                self.dropped[reason] += self._events
            self._events = self._bytes = 0
            for rank in self._ranks:
                rank.clear()

    def counts(self) -> QueueCounts:
        """Return the account."""
        with self._lock:
            self._sort()
            return QueueCounts(self._accepted, self._taken, self._events, self._bytes, dict(self.dropped))

    def _sort(self) -> None:
        """Count what came since the last time, as many as there are now, and put each where its rank waits."""
        fresh = self._fresh
        for _ in range(len(fresh)):
            if not fresh:
                return  # a signal handler that logs has done it in our midst
            self._add(fresh.popleft())

    def _add(self, entry: Entry) -> None:
        self._accepted = entry.number = self._accepted + 1
        size = entry.size
        is_full = self._closed or self._events >= self._max_events or self._bytes + size > self._max_bytes
        if is_full and not self._has_room(entry.rank, size):
            return
        self._events += 1
        self._bytes += size
        self._ranks[entry.rank].append(entry)

    def _oldest_run(self) -> "tuple[deque[Entry], float] | None":
        """Return the rank with the oldest event, and the number of the oldest one of any other rank.

        Up to that number its events are the oldest of all.
        """
        oldest, number, end = None, inf, inf
        for waiting in self._ranks:
            if waiting:
                first = waiting[0].number
                if first < number:
                    oldest, number, end = waiting, first, number
                elif first < end:
                    end = first
        return None if oldest is None else (oldest, end)

    def _has_room(self, rank: int, size: int) -> bool:
        """Drop what the policy says until `size` fits; count the new event itself if it does not."""
        if self._closed:
            self.dropped["closed"] += 1
            return False
        while size <= self._max_bytes and (self._events >= self._max_events or self._bytes + size > self._max_bytes):
            victim = self._make_room(self, rank)
            if victim is None:
                break
            entry = victim.popleft()
            self._events -= 1
            self._bytes -= entry.size
            self.dropped["queue_full"] += 1
        else:
            if size <= self._max_bytes:
                return True
        self.dropped["queue_full"] += 1
        return False

    def _lowest(self, rank: int) -> "deque[Entry] | None":
        """The oldest of the least important events goes first, if it is not worth more than the new one."""
        return next((waiting for waiting in self._ranks[: rank + 1] if waiting), None)

    def _any(self, _rank: int) -> "deque[Entry] | None":
        """The oldest event goes first."""
        found = self._oldest_run()
        return found[0] if found else None

    def _none(self, _rank: int) -> "deque[Entry] | None":
        """The new event goes."""
        return None


_POLICIES: dict[str, Callable[[BoundedQueue, int], "deque[Entry] | None"]] = {
    "drop_lowest": BoundedQueue._lowest,  # noqa: SLF001 - its own policies
    "drop_oldest": BoundedQueue._any,  # noqa: SLF001 - as above
    "drop_newest": BoundedQueue._none,  # noqa: SLF001 - as above
}
