"""One delivered message and its one final answer.

Flows in: a message of a JetStream consumer. Flows out: exactly one of ack, nak with delay, term.
Source: NATS ADR-15 (v1 ack subject, 9 tokens) and the v2 form with domain and account (11 tokens or more).
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from dataplane_common.bus.connection import Connection, Message
from dataplane_common.errors import Permanent

_V1_TOKENS = 9
_V2_TOKENS = 11
_NO_HEADERS: Mapping[str, str] = {}


class Metadata(NamedTuple):
    """What the ack subject says: where the message is stored and how often it was delivered."""

    stream: str
    consumer: str
    deliveries: int
    stream_sequence: int
    stored_at_ns: int
    pending: int


class Delivery:
    """A message that waits for its answer. Settling twice is an error of the caller's and does nothing."""

    __slots__ = ("_connection", "_reply", "data", "headers", "settled", "subject")

    def __init__(self, message: Message, connection: Connection) -> None:
        self.subject = message.subject
        self.data = message.data
        self.headers: Mapping[str, str] = message.headers or _NO_HEADERS
        self._reply = message.reply
        self._connection = connection
        self.settled = False

    @property
    def metadata(self) -> Metadata:
        """The delivery's place in the stream, read from the ack subject."""
        return parse_ack_subject(self._reply)

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
        if not self.settled:
            await self._connection.publish(self._reply, b"+WPI")

    async def _answer(self, verdict: bytes) -> None:
        if not self.settled:
            await self._connection.publish(self._reply, verdict)
            self.settled = True


def parse_ack_subject(reply: str) -> Metadata:
    """Read a `$JS.ACK` subject of either form.

    Raises:
        Permanent: it is none.
    """
    tokens = reply.split(".")
    if len(tokens) >= _V2_TOKENS:
        tokens = tokens[4:]
    elif len(tokens) == _V1_TOKENS:
        tokens = tokens[2:]
    else:
        raise Permanent(f"{reply!r} is no acknowledgement subject")
    stream, consumer, deliveries, sequence, _, stored_at, pending = tokens[:7]
    return Metadata(stream, consumer, int(deliveries), int(sequence), int(stored_at), int(pending))
