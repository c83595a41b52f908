"""What waits for the sink in JetStream: how much, how old, and how long until the stream deletes it unread.

Flows in: what the server says of streams, consumers and the oldest unread message. Flows out: a `Backlog` per feed.
Invariant: what was deleted unread is counted once.
Source: NATS JetStream API, `$JS.API.STREAM.INFO`, `$JS.API.CONSUMER.INFO`, `$JS.API.STREAM.MSG.GET`.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from dataplane_common.bus import Connection
from dataplane_common.bus.streams import stream_info
from dataplane_common.errors import Transient
from elastinats.routes import Feed

#: Fresh enough for an alarm, rare enough to cost nothing.
_EVERY_S = 5.0
_NS = 1_000_000_000


@dataclass(slots=True)
class Backlog:
    """One feed: messages not yet settled, the age of the oldest, the time until the first of them is deleted.

    Times in seconds; `retention_s` is infinite where nothing waits or nothing is ever deleted. `expired` counts
    messages that were deleted unread since the sink started, and those that it found to be gone then; of a feed with
    a filter nobody can tell whose they were, so it counts none.
    """

    waiting: int = 0
    lag_s: float = 0.0
    retention_s: float = math.inf
    expired: int = 0
    _seen_to: int = 0
    _last: tuple[float, int] | None = None

    def learn(self, stream: dict[str, Any], consumer: dict[str, Any], oldest_s: float | None, now_s: float) -> None:
        """Take over what the server says; `oldest_s` is when the oldest unsettled message was stored."""
        state, limits = stream["state"], stream["config"]
        floor, first = int(consumer["ack_floor"]["stream_seq"]), int(state["first_seq"])
        self.waiting = int(consumer["num_pending"]) + int(consumer["num_ack_pending"])
        self.lag_s = max(0.0, now_s - oldest_s) if oldest_s is not None and self.waiting else 0.0
        if not consumer["config"].get("filter_subject") and not consumer["config"].get("filter_subjects"):
            read_to = max(floor, self._seen_to)
            self.expired += max(0, first - 1 - read_to)
            self._seen_to = max(read_to, first - 1)
        self.retention_s = min(self._by_age(limits), self._by_size(limits, state, floor, now_s))
        self._last = (now_s, int(state["last_seq"]))

    def _by_age(self, limits: dict[str, Any]) -> float:
        max_age_s = int(limits["max_age"]) / _NS
        return max(0.0, max_age_s - self.lag_s) if max_age_s and self.waiting else math.inf

    def _by_size(self, limits: dict[str, Any], state: dict[str, Any], floor: int, now_s: float) -> float:
        """Guess, at the pace of writing since the last look, when the limit of bytes reaches what is unread."""
        messages = int(state["messages"])
        if int(limits["max_bytes"]) <= 0 or not self.waiting or not messages or self._last is None:
            return math.inf
        then_s, last = self._last
        mean = int(state["bytes"]) / messages
        pace = (int(state["last_seq"]) - last) * mean / max(now_s - then_s, 0.001)
        read = max(0, floor + 1 - int(state["first_seq"])) * mean
        room = int(limits["max_bytes"]) - int(state["bytes"]) + read
        return max(0.0, room / pace) if pace > 0 else math.inf


async def watch(
    connection: Connection, feeds: Callable[[], Sequence[Feed]], found: dict[str, Backlog], now: Callable[[], float]
) -> None:
    """Keep `found`, by stream and durable, up to date until cancelled; a bus that is away leaves it as it was."""
    while True:
        wanted = {f"{feed.stream}/{feed.durable}": feed for feed in feeds()}
        for name in found.keys() - wanted.keys():
            del found[name]
        for name, feed in wanted.items():
            try:
                await look(connection, feed, found.setdefault(name, Backlog()), now)
            except Transient:
                break
        await asyncio.sleep(_EVERY_S)


async def look(connection: Connection, feed: Feed, backlog: Backlog, now: Callable[[], float]) -> None:
    """Bring one feed's backlog up to date; a stream or consumer that is not there leaves it as it was.

    Raises:
        Transient: the bus does not answer.
    """
    stream = await stream_info(connection, feed.stream)
    consumer = await _ask(connection, f"CONSUMER.INFO.{feed.stream}.{feed.durable}")
    if stream is None or "error" in consumer:
        return
    oldest_s = None
    if int(consumer["num_pending"]) + int(consumer["num_ack_pending"]):
        oldest_s = await _oldest(connection, feed, int(consumer["ack_floor"]["stream_seq"]) + 1)
    backlog.learn(stream, consumer, oldest_s, now())


async def _oldest(connection: Connection, feed: Feed, from_sequence: int) -> float | None:
    """Return when the feed's first message from a sequence on was stored."""
    times = []
    for subject in feed.filter_subjects or (">",):
        wanted = msgspec.json.encode({"seq": from_sequence, "next_by_subj": subject})
        answer = await _ask(connection, f"STREAM.MSG.GET.{feed.stream}", wanted)
        if "message" in answer:
            times.append(datetime.fromisoformat(answer["message"]["time"][:19] + "+00:00").timestamp())
    return min(times, default=None)


async def _ask(connection: Connection, what: str, body: bytes = b"") -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.json.decode(await connection.request(f"$JS.API.{what}", body))
    return answer
