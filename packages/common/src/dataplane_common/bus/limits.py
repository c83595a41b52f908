"""What the streams say of themselves that publishers go by: the largest message, and how long they know a repeat.

Flows in: the names of streams that acknowledge, and refusals. Flows out: two numbers, safe ones until a stream has told
its own. Invariant: nothing waits for an answer; a server that gives none (it may be forbidden to ask) changes nothing.
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import NamedTuple

from dataplane_common.bus.connection import Connection
from dataplane_common.bus.streams import DUPLICATE_WINDOW_S, stream_for, stream_info
from dataplane_common.errors import Transient
from dataplane_common.lifecycle import cancel

_NS = 1_000_000_000
#: Ten thousand hosts that come back together do not all ask at once.
_SPREAD_S = 5.0
#: What a stream counts may grow by a header when a message is sent again.
_HEADROOM_BYTES = 64


class Limit(NamedTuple):
    """One stream's; `max_message_bytes` None means any size."""

    duplicate_window_s: float = DUPLICATE_WINDOW_S
    max_message_bytes: int | None = None


@dataclass(slots=True, eq=False)
class StreamLimits:
    """Asks each stream once in each session, and again when it has refused a message for its size.

    Where that was not answered, it is not asked again in this session: the server may forbid it.
    """

    connection: Connection
    spread_s: float = _SPREAD_S
    _known: dict[str, dict[str, Limit]] = field(default_factory=dict)
    _most_bytes: dict[str, int] = field(default_factory=dict)
    _asked: dict[tuple[str, str], int] = field(default_factory=dict)
    _asking: "set[asyncio.Task[None]]" = field(default_factory=set)
    _urgent: "asyncio.Task[None] | None" = None
    _unheard_in: int = -1

    @property
    def duplicate_window_s(self) -> float:
        """How long a repeat is surely taken for one, whichever of the streams takes it."""
        known = [limit.duplicate_window_s for by_stream in self._known.values() for limit in by_stream.values()]
        return min(known, default=DUPLICATE_WINDOW_S)

    def max_message_bytes(self, subject: str) -> int | None:
        """Return what headers and payload may weigh together for the streams of a subject's signal, None: anything."""
        return self._most_bytes.get(_signal(subject))

    def note_stream(self, subject: str, stream: str) -> None:
        """Hear that a stream has acknowledged a message; what it is like is asked soon."""
        place = (_signal(subject), stream)
        if self._asked.get(place) != self.connection.sessions:
            self._asked[place] = self.connection.sessions
            self._start(subject, stream, random.uniform(0, self.spread_s))  # noqa: S311 - nothing secret

    def note_refusal(self, subject: str) -> None:
        """Hear that a message was too large for its stream, or for what was known of it."""
        is_asking = self._urgent is not None and not self._urgent.done()
        if not is_asking and self._unheard_in != self.connection.sessions:
            self._urgent = self._start(subject, None, 0.0)

    async def close(self) -> None:
        """Ask no more."""
        await cancel(*self._asking)

    def _start(self, subject: str, stream: str | None, delay_s: float) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._ask(subject, stream, delay_s))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    async def _ask(self, subject: str, stream: str | None, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            stream = stream or await stream_for(self.connection, subject)
            info = await stream_info(self.connection, stream) if stream else None
        except Transient:
            self._unheard_in = self.connection.sessions
            return
        if stream and info is not None:
            config = info.get("config", {})
            window_s, most = config.get("duplicate_window", 0) / _NS, config.get("max_msg_size", -1)
            limit = Limit(window_s or DUPLICATE_WINDOW_S, most - _HEADROOM_BYTES if most > 0 else None)
            self._remember(_signal(subject), stream, limit)

    def _remember(self, signal: str, stream: str, limit: Limit) -> None:
        by_stream = self._known.setdefault(signal, {})
        by_stream[stream] = limit
        limits = [known.max_message_bytes for known in by_stream.values() if known.max_message_bytes is not None]
        if limits:
            self._most_bytes[signal] = min(limits)
        else:
            self._most_bytes.pop(signal, None)


def _signal(subject: str) -> str:
    return subject.partition(".")[0]
