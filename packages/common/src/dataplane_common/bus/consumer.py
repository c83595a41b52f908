"""Reads a durable JetStream consumer by overlapping pull requests.

Flows in: the consumer's configuration. Flows out: lists of deliveries, each settled exactly once by its reader.
Invariant: what is asked for and not yet taken is bounded by two requests of `max_bytes`; a lost one is noticed.
Source: NATS ADR-37 (pull consumers), ADR-15 and the v1 and v2 forms of the ack subject.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dataplane_common.bus.connection import Connection, Message
from dataplane_common.bus.delivery import Delivery
from dataplane_common.errors import Transient
from dataplane_common.lifecycle import cancel

__all__ = ["ConsumerConfig", "Delivery", "PullConsumer"]

#: Two requests overlap, so that the server never waits for us between them.
_SLOTS = 2
#: A request lives this long on the server; half of ADR-37's default, so that a lost one is short.
_EXPIRES_S = 30.0
#: The server says every so often that a request is alive; after two silent periods it counts as lost.
_HEARTBEAT_S = 5.0
#: Wait after an answer that says "not now" (no responders, no leader, too many requests).
_RETRY_S = 1.0
_NS = 1_000_000_000
_DELETED = ("consumer deleted", "no responders", "stream not found", "consumer not found")


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


@dataclass(slots=True)
class _Pull:
    """One outstanding request and when it was last heard of."""

    number: int
    remaining: int = 0
    heard_at: float = 0.0
    again_at: float = 0.0


@dataclass(slots=True, eq=False)
class PullConsumer:
    """Pulls deliveries while they are taken: a reader that does not call `fetch` stops the stream.

    `max_messages` and `max_bytes` bound one request. A consumer that was deleted is created again.
    """

    connection: Connection
    config: ConsumerConfig
    max_messages: int = 5_000
    max_bytes: int = 4 * 1024 * 1024
    report: Callable[[str], None] = print
    _pulls: list[_Pull] = field(default_factory=list)
    _buffer: list[Delivery] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _missing: bool = True
    _watch_task: "asyncio.Task[None] | None" = None
    _paused: bool = False

    async def start(self) -> None:
        """Subscribe to the inboxes of the requests; the consumer is created as soon as the server is there."""
        for number in range(_SLOTS):
            pull = _Pull(number)
            self._pulls.append(pull)
            await self.connection.subscribe(self._inbox(number), self._handler(pull))
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
        self._paused = True

    def resume(self) -> None:
        """Send requests again."""
        self._paused = False

    async def close(self) -> None:
        """Stop pulling. What was delivered and not settled is delivered again after `ack_wait_s`, to anyone."""
        if self._watch_task is not None:
            await cancel(self._watch_task)

    def unfetched(self) -> list[Delivery]:
        """Return what arrived and was never taken, so that a stopping reader can hand it back with a nak."""
        taken, self._buffer = self._buffer, []
        return taken

    def _inbox(self, number: int) -> str:
        return f"{self.connection.inbox}.pull.{self.config.durable}.{number}"

    def _handler(self, pull: _Pull) -> Callable[[Message], None]:
        def handle(message: Message) -> None:
            pull.heard_at = time.monotonic()
            if message.reply.startswith("$JS.ACK."):
                pull.remaining -= 1
                self._buffer.append(Delivery(message, self.connection))
                self._arrived.set()
            else:
                self._on_status(pull, message.headers or {})

        return handle

    def _on_status(self, pull: _Pull, headers: Mapping[str, str]) -> None:
        """End or keep a request by the status that the server sent for it."""
        status, text = headers.get("Status", ""), headers.get("Description", "").lower()
        if status == "100":
            return
        pull.remaining = 0
        if status == "503" or any(sign in text for sign in _DELETED):
            self._missing = True
        if status in {"503", "409"} and "maxbytes" not in text and "batch completed" not in text:
            pull.again_at = time.monotonic() + _RETRY_S
            self.report(f"pull from {self.config.stream}/{self.config.durable}: {status} {text}".rstrip())

    def _begin_anew(self) -> None:
        """Forget the requests of the old session."""
        for pull in self._pulls:
            pull.remaining = 0
            pull.again_at = 0.0
        self._missing = True

    async def _watch(self) -> None:
        """Keep requests out while the reader takes what they bring; notice those that were lost."""
        while True:
            await asyncio.sleep(_RETRY_S / 4)
            silent_since = time.monotonic() - 2 * _HEARTBEAT_S
            for pull in self._pulls:
                if pull.remaining > 0 and pull.heard_at < silent_since:
                    pull.remaining = 0
                    self.report(f"pull from {self.config.stream}/{self.config.durable}: no heartbeat, asking again")
            if not self._buffer:
                await self._refill()

    async def _refill(self) -> None:
        if self._paused or not self.connection.is_connected:
            return
        try:
            if self._missing:
                await create_consumer(self.connection, self.config)
                self._missing = False
            for pull in self._pulls:
                if pull.remaining <= 0 and pull.again_at <= time.monotonic():
                    await self._request(pull)
        except Transient as error:
            self._postpone()
            self.report(f"consumer {self.config.stream}/{self.config.durable}: {error}")

    def _postpone(self) -> None:
        for pull in self._pulls:
            pull.again_at = time.monotonic() + _RETRY_S

    async def _request(self, pull: _Pull) -> None:
        body = {
            "batch": self.max_messages,
            "max_bytes": self.max_bytes,
            "expires": int(_EXPIRES_S * _NS),
            "idle_heartbeat": int(_HEARTBEAT_S * _NS),
        }
        pull.remaining = self.max_messages
        pull.heard_at = time.monotonic()
        await self.connection.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self.config.stream}.{self.config.durable}",
            msgspec.json.encode(body),
            reply=self._inbox(pull.number),
        )


async def create_consumer(connection: Connection, config: ConsumerConfig) -> None:
    """Create or update a durable consumer; one with the same configuration is left as it is.

    Raises:
        Transient: no answer, or the stream is not there (yet).
    """
    subject = f"$JS.API.CONSUMER.CREATE.{config.stream}.{config.durable}"
    answer = msgspec.json.decode(await connection.request(subject, msgspec.json.encode(config.as_api())))
    if error := answer.get("error"):
        raise Transient(f"cannot create the consumer: {error.get('description')} ({error.get('err_code')})")
