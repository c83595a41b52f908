"""One delivered message and its one final answer.

Flows in: a message of a JetStream consumer. Flows out: exactly one of ack, nak with delay, term.
Source: NATS ADR-15 (v1 ack subject, 9 tokens) and the v2 form with domain and account (11 tokens or more).
"""

from collections.abc import Mapping, Sequence

import msgspec

from dataplane_common.bus.connection import Connection
from dataplane_common.bus.direct import Message
from dataplane_common.errors import Permanent

_V1_TOKENS = 9
_V2_TOKENS = 11
_NO_HEADERS: Mapping[str, str] = {}


class Metadata(msgspec.Struct, frozen=True, gc=False):
    """What the ack subject says: where the message is stored and how often it was delivered."""

    stream: str
    deliveries: int
    stream_sequence: int
    stored_at_ns: int


class Reader:
    """What a delivery needs to know of the consumer that brought it.

    `since_ns` is the server's time when it was last asked for the consumer: what was stored before may have been
    delivered before, whatever the count says, by a consumer that was deleted or by a server that forgot its
    acknowledgements. `is_current` ends when another consumer has taken the name: sequences mean other messages then.
    """

    __slots__ = ("is_current", "since_ns")

    def __init__(self, since_ns: int = 0) -> None:
        self.since_ns = since_ns
        self.is_current = True


class Delivery:
    """A message that waits for its answer. Settling twice is an error of the caller's and does nothing."""

    __slots__ = ("_connection", "_metadata", "_reader", "_reply", "arrived_s", "data", "headers", "settled", "subject")

    def __init__(
        self, message: Message, connection: Connection, reader: Reader | None = None, arrived_s: float = 0.0
    ) -> None:
        self.subject = message.subject
        self.data = message.data
        self.headers: Mapping[str, str] = message.headers or _NO_HEADERS
        self._reply = message.reply
        self._connection = connection
        self._reader = reader
        self.arrived_s = arrived_s
        self.settled = False
        self._metadata: Metadata | None = None

    @property
    def metadata(self) -> Metadata:
        """The delivery's place in the stream, read from the ack subject."""
        if self._metadata is None:
            self._metadata = parse_ack_subject(self._reply)
        return self._metadata

    @property
    def may_be_repeated(self) -> bool:
        """Whether the message may have been delivered before: to this reader, to another one, or to a former one."""
        metadata = self.metadata
        since_ns = self._reader.since_ns if self._reader is not None else 0
        return metadata.deliveries > 1 or metadata.stored_at_ns <= since_ns

    async def ack(self) -> None:
        """Say that the message is done."""
        await self._answer(b"+ACK")

    async def nak(self, delay_s: float) -> None:
        """Ask for the message again after a delay."""
        await self._answer(b"-NAK " + msgspec.json.encode({"delay": int(delay_s * 1e9)}))

    async def term(self) -> None:
        """Say that the message is never to be delivered again: its dead letter is stored."""
        await self._answer(b"+TERM")

    async def in_progress(self) -> None:
        """Restart the server's `ack_wait` for this message."""
        if self._is_awaited():
            await self._connection.publish(self._reply, b"+WPI")

    async def _answer(self, verdict: bytes) -> None:
        if self._is_awaited():
            await self._connection.publish(self._reply, verdict)
        self.settled = True

    def _is_awaited(self) -> bool:
        return not self.settled and (self._reader is None or self._reader.is_current)


async def ack_all(deliveries: Sequence[Delivery]) -> None:
    """Say of messages that came over one connection that they are done.

    Raises:
        Transient: the bus is away; nothing was said.
    """
    if deliveries:
        awaited = [each._reply for each in deliveries if each._is_awaited()]  # noqa: SLF001 - our own
        await deliveries[0]._connection.publish_all(awaited, b"+ACK")  # noqa: SLF001
    for delivery in deliveries:
        delivery.settled = True


def parse_ack_subject(reply: str) -> Metadata:
    """Read a `$JS.ACK` subject of either form.

    Raises:
        Permanent: it is none.
    """
    tokens = reply.split(".")
    if len(tokens) >= _V2_TOKENS:
        return Metadata(tokens[4], int(tokens[6]), int(tokens[7]), int(tokens[9]))
    if len(tokens) == _V1_TOKENS:
        return Metadata(tokens[2], int(tokens[4]), int(tokens[5]), int(tokens[7]))
    raise Permanent(f"{reply!r} is no acknowledgement subject")
