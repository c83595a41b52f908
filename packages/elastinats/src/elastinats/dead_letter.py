"""Dead letters: what can never be indexed, kept with its reason on `dlq.<subject>`, from where it can be replayed.

Flows in: an event's or a message's own bytes and headers, and why. Flows out: messages in the stream DLQ.
Invariant: `store` returns only when the server has acknowledged every part, so a message is settled after its letter.
"""

import asyncio
import zlib
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from dataplane_common.bus import Connection, Publisher
from dataplane_common.errors import TooLarge
from dataplane_common.frame import MSG_ID, size_on_wire
from dataplane_common.retry import Backoff

REASON = "Dp-Reason"
CAUSE = "Dp-Cause"
EVENT_ID = "Dp-Event-Id"
EVENTS = "Dp-Events"
DEAD_AT = "Dp-Dead-At"
PART = "Dp-Part"
#: How the `Nats-Msg-Id` of a replay begins; the letter's sequence follows.
REPLAY_ID = "replay-DLQ-"
#: `Nats-` headers belong to the server: the original's are kept under this prefix.
KEPT = "Dp-Original-"
_RESERVED = "nats-"
#: What a letter adds; a replay takes it off again.
ADDED = frozenset({REASON, CAUSE, EVENT_ID, EVENTS, DEAD_AT, PART, MSG_ID})
#: A cause may quote whole documents; this much says enough, in characters.
_MAX_CAUSE = 1_000
#: JetStream stores 64 KiB of headers; a letter adds its own to the original's.
_MAX_KEPT_BYTES = 48 * 1024
#: Nothing smaller is worth cutting to; a stream that refuses this refuses everything.
_SMALLEST_PART_BYTES = 1024
_BACKOFF = Backoff(initial_s=0.5, max_s=30.0)


class Reason(StrEnum):
    """Why an event is dead."""

    REJECTED = "rejected"
    ID_CONFLICT = "id_conflict"
    TOO_LARGE = "too_large"
    UNDECODABLE = "undecodable"


class Letter(NamedTuple):
    """A dead letter before it is cut.

    `payload` and `headers` are the original's, `events` how many events it stands for. `carrier` names the
    replay that brought the event, if one did: any other second letter about the same bytes of an event is a repeat.
    """

    subject: str
    carrier: str
    payload: bytes
    headers: Mapping[str, str]
    reason: Reason
    cause: str
    event_id: str
    events: int = 1


class DeadLetters:
    """Stores dead letters; whatever the stream's answer, it goes on until they are stored."""

    def __init__(self, connection: Connection, publisher: Publisher) -> None:
        self._connection = connection
        self._publisher = publisher

    async def store(self, letter: Letter, at: str) -> None:
        """Publish a letter, in numbered parts where it is too large for one message, and wait for the acknowledgements.

        It never gives up: while the stream is full or away, the caller waits, and its message stays unacknowledged.
        """
        limit, attempt = self._connection.max_message_bytes, 0
        while True:
            messages = cut(letter, at, limit)
            futures = [await self._publisher.publish(f"dlq.{letter.subject}", *message) for message in messages]
            answers = await asyncio.gather(*futures, return_exceptions=True)
            wrong = [answer for answer in answers if isinstance(answer, BaseException)]
            if not wrong:
                return
            if not isinstance(wrong[0], TooLarge):
                raise wrong[0]
            limit = min(self._connection.max_message_bytes, limit // 2)
            if limit < _SMALLEST_PART_BYTES:
                limit = self._connection.max_message_bytes
                await asyncio.sleep(_BACKOFF.delay_s(attempt))
                attempt += 1


def cut(letter: Letter, at: str, max_bytes: int) -> list[tuple[bytes, dict[str, str]]]:
    """Return the letter's messages as (payload, headers), none above `max_bytes` with its headers if that can be."""
    kept = {keep(name): value for name, value in letter.headers.items() if name not in ADDED or name == MSG_ID}
    headers = {
        **fitting(kept, min(max_bytes // 2, _MAX_KEPT_BYTES)),
        REASON: letter.reason.value,
        CAUSE: header_text(letter.cause),
        EVENT_ID: header_text(letter.event_id),
        EVENTS: str(letter.events),
        DEAD_AT: at,
    }
    identity = f"dlq-{letter.carrier}-{headers[EVENT_ID]}-{zlib.crc32(letter.payload):08x}"
    overhead = size_on_wire(b"", {**headers, MSG_ID: f"{identity}-000000-000000", PART: "000000/000000"})
    room = max(_SMALLEST_PART_BYTES, max_bytes - overhead)
    pieces = [letter.payload[start : start + room] for start in range(0, len(letter.payload), room)] or [b""]
    if len(pieces) == 1:
        return [(letter.payload, {**headers, MSG_ID: identity})]
    return [
        (piece, {**headers, MSG_ID: f"{identity}-{len(pieces)}-{number}", PART: f"{number}/{len(pieces)}"})
        for number, piece in enumerate(pieces, 1)
    ]


def carrier(headers: Mapping[str, str]) -> str:
    """Name the replay of a letter that a message is; every other message that brings an event brings the same one."""
    told = headers.get(MSG_ID, "")
    return told if told.startswith(REPLAY_ID) else ""


def fitting(headers: Mapping[str, str], max_bytes: int) -> dict[str, str]:
    """Return headers that weigh no more than that: the longest are shortened, or left out, one after the other."""
    kept = dict(headers)
    while size_on_wire(b"", kept) > max_bytes:
        longest = max(kept, key=lambda name: len(name) + len(kept[name]))
        if len(kept[longest]) > _MAX_CAUSE:
            kept[longest] = header_text(kept[longest])
        else:
            del kept[longest]
    return kept


def keep(name: str) -> str:
    """Return the name under which a letter keeps an original header."""
    return KEPT + name if name.lower().startswith(_RESERVED) else name


def original_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the original's headers out of a letter's, the server's own (`Nats-`) aside."""
    return {name: value for name, value in headers.items() if name not in ADDED and not name.startswith(KEPT)}


def header_text(text: str) -> str:
    """Return text as a header's value: one line, printable, not too long."""
    line = " ".join(text.split())
    printable = "".join(letter if letter.isprintable() else "?" for letter in line)
    return printable if len(printable) <= _MAX_CAUSE else printable[: _MAX_CAUSE - 1] + "…"
