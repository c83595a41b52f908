"""Reads a durable JetStream consumer by overlapping pull requests.

Flows in: the consumer's configuration. Flows out: lists of deliveries, each settled exactly once by its reader.
Invariant: what is asked for and not yet taken is bounded by two requests of `max_bytes`; a lost one is noticed.
Source: NATS ADR-37 (pull consumers), ADR-15 and the v1 and v2 forms of the ack subject.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from dataplane_common.bus.connection import Connection
from dataplane_common.bus.delivery import Delivery, Reader
from dataplane_common.bus.direct import Message
from dataplane_common.errors import Transient
from dataplane_common.lifecycle import cancel

__all__ = ["ConsumerConfig", "Delivery", "PullConsumer"]

#: A request lives this long on the server; half of ADR-37's default, so that a lost one is short.
_EXPIRES_S = 30.0
#: The server says every so often that a request is alive; after two silent periods it counts as lost.
_HEARTBEAT_S = 5.0
#: Wait after an answer that says "not now" (no responders, no leader, too many requests).
_RETRY_S = 1.0
_NS = 1_000_000_000
_DELETED = ("consumer deleted", "no responders", "stream not found", "consumer not found")
#: Date and time, nanoseconds, zone.
_TIME = re.compile(r"([0-9-]+T[0-9:]+)(?:\.([0-9]+))?(Z|[+-][0-9:]+)")
#: Statuses that end a request because it was served.
_COMPLETED = ("maxbytes", "batch completed")


@dataclass(frozen=True, slots=True)
class ConsumerConfig:
    """A durable consumer. No filter means the whole stream; `ack_wait_s` must exceed the time to settle."""

    stream: str
    durable: str
    filter_subjects: tuple[str, ...] = ()
    ack_wait_s: float = 60.0
    max_ack_pending: int = 20_000
    description: str = ""

    def as_api(self) -> dict[str, Any]:
        """Return the request body of `$JS.API.CONSUMER.CREATE` (durations are nanoseconds there)."""
        config: dict[str, Any] = {
            "name": self.durable,
            "durable_name": self.durable,
            "description": self.description,
            "ack_policy": "explicit",
            "ack_wait": int(self.ack_wait_s * _NS),
            "max_deliver": -1,
            "max_ack_pending": self.max_ack_pending,
            "deliver_policy": "all",
            "replay_policy": "instant",
        }
        if self.filter_subjects:
            config["filter_subjects"] = list(self.filter_subjects)
        return {"stream_name": self.stream, "config": config}


@dataclass(slots=True, eq=False)
class PullConsumer:
    """Pulls deliveries while they are taken: a reader that does not call `fetch` stops the stream.

    `max_messages` and `max_bytes` bound one request, of which two overlap. Deliveries come in the order of the stream,
    repeats of what was not settled aside. A consumer that was deleted is created again.
    """

    connection: Connection
    config: ConsumerConfig
    max_messages: int = 5_000
    max_bytes: int = 4 * 1024 * 1024
    report: Callable[[str], None] = print
    _buffer: list[Delivery] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _expected: int = 0
    _heard_at: float = 0.0
    _again_at: float = 0.0
    _requests: int = 0
    _reader: Reader = field(default_factory=Reader)
    _created: str = ""
    _is_missing: bool = True
    _is_paused: bool = False
    _refilling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _watch_task: "asyncio.Task[None] | None" = None

    async def start(self) -> None:
        """Subscribe to the inbox of the requests; the consumer is created as soon as the server is there."""
        await self.connection.subscribe(f"{self._inbox}.*", self._on_message)
        self.connection.on_ready(self._begin_anew)
        self._watch_task = asyncio.create_task(self._watch())

    async def fetch(self, timeout_s: float) -> list[Delivery]:
        """Return what has arrived, waiting up to `timeout_s` for the first; an empty list means nothing came."""
        if not self._buffer:
            self._arrived.clear()
            await self._refill()
            try:
                await asyncio.wait_for(self._arrived.wait(), timeout_s)
            except TimeoutError:
                return []
        taken, self._buffer = self._buffer, []
        await self._refill()
        return taken

    def pause(self) -> None:
        """Send no further requests until `resume`; what was asked for may still arrive."""
        self._is_paused = True

    def resume(self) -> None:
        """Send requests again."""
        self._is_paused = False

    async def close(self) -> None:
        """Stop pulling. What was delivered and not settled is delivered again after `ack_wait_s`, to anyone.

        Without a subscriber the server lets go of the requests; what it has sent meanwhile is in `unfetched`.
        """
        await self.connection.unsubscribe(f"{self._inbox}.*")
        if self._watch_task is not None:
            await cancel(self._watch_task)

    def unfetched(self) -> list[Delivery]:
        """Return what arrived and was never taken, so that a stopping reader can hand it back with a nak."""
        taken, self._buffer = self._buffer, []
        return taken

    @property
    def _inbox(self) -> str:
        return f"{self.connection.inbox}.pull.{self.config.stream}.{self.config.durable}"

    @property
    def _name(self) -> str:
        return f"{self.config.stream}/{self.config.durable}"

    def _on_message(self, message: Message) -> None:
        self._heard_at = time.monotonic()
        if message.reply.startswith("$JS.ACK."):
            self._expected -= 1
            if not self._buffer:
                self._arrived.set()
            self._buffer.append(Delivery(message, self.connection, self._reader, self._heard_at))
        else:
            self._on_status(message.headers or {})

    def _on_status(self, headers: Mapping[str, str]) -> None:
        """End or keep a request by the status that the server sent for it."""
        status, text = headers.get("Status", ""), headers.get("Description", "").lower()
        if status == "100":
            return
        self._expected -= int(headers.get("Nats-Pending-Messages", self._expected))
        if status == "503" or any(sign in text for sign in _DELETED):
            self._is_missing = True
        if status in {"503", "409"} and not any(sign in text for sign in _COMPLETED):
            self._postpone(f"{status} {text}".strip())

    def _begin_anew(self) -> None:
        """Forget the requests of the old session."""
        self._expected = 0
        self._again_at = 0.0
        self._is_missing = True

    async def _watch(self) -> None:
        """Keep requests out while the reader takes what they bring; notice those that were lost."""
        while True:
            await asyncio.sleep(_RETRY_S / 4)
            if self._expected > 0 and self._heard_at < time.monotonic() - 2 * _HEARTBEAT_S:
                self._expected = 0
                self.report(f"consumer {self._name}: no heartbeat from the server, asking again")
            if not self._buffer:
                await self._refill()

    async def _refill(self) -> None:
        """Have between one and two requests' worth of messages on their way."""
        if self._is_paused or not self.connection.is_connected or self._again_at > time.monotonic():
            return
        if self._refilling.locked():
            return  # one that waits for the consumer's creation will ask for all of us
        async with self._refilling:
            await self._ask_for_more()

    async def _ask_for_more(self) -> None:
        try:
            if self._is_missing:
                self._is_missing = False
                self._meet(await create_consumer(self.connection, self.config))
            while self._expected < self.max_messages:
                await self._request()
        except Transient as error:
            self._is_missing = True
            self._postpone(str(error))

    def _meet(self, info: Mapping[str, Any]) -> None:
        """Take what is stored already for what may have been delivered; answers to a former consumer go nowhere."""
        created = str(info.get("created", ""))
        if self._created not in ("", created):
            self._reader.is_current = False
            self._reader = Reader()
        self._created = created
        self._reader.since_ns = _nanoseconds(str(info.get("ts") or created))

    def _postpone(self, why: str) -> None:
        self._again_at = time.monotonic() + _RETRY_S
        self.report(f"consumer {self._name}: {why}")

    async def _request(self) -> None:
        body = {
            "batch": self.max_messages,
            "max_bytes": self.max_bytes,
            "expires": int(_EXPIRES_S * _NS),
            "idle_heartbeat": int(_HEARTBEAT_S * _NS),
        }
        self._expected = max(0, self._expected) + self.max_messages
        self._heard_at = time.monotonic()
        self._requests += 1
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.config.stream}.{self.config.durable}"
        await self.connection.publish(subject, msgspec.json.encode(body), reply=f"{self._inbox}.{self._requests:x}")


async def create_consumer(connection: Connection, config: ConsumerConfig) -> dict[str, Any]:
    """Create or update a durable consumer, return what the server says of it; one with the same configuration stays.

    Raises:
        Transient: no answer, or the stream is not there (yet).
    """
    subject = f"$JS.API.CONSUMER.CREATE.{config.stream}.{config.durable}"
    request = msgspec.json.encode(config.as_api())
    answer: dict[str, Any] = msgspec.json.decode(await connection.request(subject, request))
    if error := answer.get("error"):
        raise Transient(f"cannot create the consumer: {error.get('description')} ({error.get('err_code')})")
    return answer


async def consumer_info(connection: Connection, stream: str, durable: str) -> dict[str, Any] | None:
    """Return what the server says of a consumer, or None where there is no such consumer, or no such stream.

    Raises:
        Transient: no answer.
    """
    answer: dict[str, Any] = msgspec.json.decode(await connection.request(f"$JS.API.CONSUMER.INFO.{stream}.{durable}"))
    return None if "error" in answer else answer


def _nanoseconds(text: str) -> int:
    """Return an RFC 3339 time of the server's, as nanoseconds since the epoch; 0 for none."""
    match = _TIME.fullmatch(text)
    if match is None:
        return 0
    whole = datetime.fromisoformat(f"{match[1]}{match[3].replace('Z', '+00:00')}").timestamp()
    return int(whole) * _NS + int((match[2] or "").ljust(9, "0")[:9])
