"""The dead letters that are stored: listed, shown, replayed, dropped.

Flows in: the stream DLQ. Flows out: `Entry`s; and, for a replay, the original message on its original subject.
Invariant: a letter is removed only after its replay is acknowledged, so that a replay that breaks off repeats; events
keep their ids, so that a repeated one is found to be a duplicate.
Source: JetStream API (`STREAM.MSG.GET`, `STREAM.MSG.DELETE`), NATS ADR-4 for the header block.
"""

import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

import msgspec

from dataplane_common.bus import Connection, Publisher
from dataplane_common.errors import Permanent, Transient
from dataplane_common.frame import MSG_ID, REPLAY
from elastinats.dead_letter import CAUSE, DEAD_AT, EVENT_ID, PART, REASON, REPLAY_ID, original_headers

_STREAM = "DLQ"
_PREFIX = "dlq."
_NO_MESSAGE = 10037


class _Stored(msgspec.Struct):
    subject: str
    seq: int
    data: bytes = b""
    hdrs: bytes = b""


class _Error(msgspec.Struct):
    description: str = ""
    err_code: int = 0


class _Answer(msgspec.Struct):
    message: _Stored | None = None
    error: _Error | None = None


@dataclass(slots=True)
class Entry:
    """One dead letter, put together again from its parts; `sequences` are theirs in the stream."""

    sequences: list[int]
    subject: str
    headers: dict[str, str]
    payload: bytes
    is_complete: bool = True

    @property
    def reason(self) -> str:
        """Why it is dead, as one word."""
        return self.headers.get(REASON, "unknown")

    @property
    def cause(self) -> str:
        """What Elasticsearch or the decoder said."""
        told = self.headers.get(CAUSE, "")
        return told if self.is_complete else f"incomplete: {told}"

    def as_row(self) -> dict[str, str | int]:
        """Return what a list shows."""
        return {
            "sequence": self.sequences[0],
            "dead_at": self.headers.get(DEAD_AT, ""),
            "subject": self.subject,
            "reason": self.reason,
            "event_id": self.headers.get(EVENT_ID, ""),
            "bytes": len(self.payload),
            "cause": self.cause,
        }


class Joined:
    """Puts letters together whose parts lie among those of others, or were begun twice."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Entry, dict[int, bytes]]] = {}

    def add(self, entry: Entry) -> Entry | None:
        """Take the next message of the stream; return the letter that is whole with it."""
        number, _, total = entry.headers.get(PART, "").partition("/")
        if not (number.isdigit() and total.isdigit()):
            return entry
        letter = entry.headers.get(MSG_ID, "").rpartition("-")[0]
        whole, pieces = self._open.setdefault(letter, (replace(entry, sequences=[], is_complete=False), {}))
        whole.sequences += entry.sequences
        pieces[int(number)] = entry.payload
        if len(pieces) < int(total):
            return None
        del self._open[letter]
        return replace(whole, payload=_in_order(pieces), is_complete=True)

    def incomplete(self) -> list[Entry]:
        """Return the letters that lack a part."""
        return [replace(whole, payload=_in_order(pieces)) for whole, pieces in self._open.values()]


async def entries(
    connection: Connection, *, subject: str = ">", reason: str | None = None, first: int = 1
) -> AsyncIterator[Entry]:
    """Yield dead letters in the order in which the stream has the whole of each; then those that lack a part.

    `subject` is a pattern of original subjects.

    Raises:
        Transient: the server does not answer.
    """
    joined = Joined()
    async for stored in _stored(connection, _PREFIX + subject, first):
        entry = joined.add(_entry(stored))
        if entry is not None and reason in (None, entry.reason):
            yield entry
    for entry in joined.incomplete():
        if reason in (None, entry.reason):
            yield entry


async def find(connection: Connection, sequence: int) -> Entry:
    """Return the dead letter that begins at a sequence.

    Raises:
        Permanent: there is none.
        Transient: the server does not answer.
    """
    joined, is_there = Joined(), False
    async for stored in _stored(connection, f"{_PREFIX}>", sequence):
        is_there = is_there or stored.seq == sequence
        entry = joined.add(_entry(stored)) if is_there else None
        if entry is not None and entry.sequences[0] == sequence:
            return entry
        if not is_there:
            break
    for entry in joined.incomplete():
        if entry.sequences[0] == sequence:
            return entry
    raise Permanent(f"there is no dead letter {sequence}; `elastinats dlq list` shows which there are")


async def replay(connection: Connection, publisher: Publisher, entry: Entry) -> None:
    """Publish the original again on its subject, wait for the acknowledgement, then remove the letter.

    Raises:
        TooLarge: the message is above what the server takes now.
        Permanent: a part of the letter is missing.
        Transient: the server does not answer.
    """
    if not entry.is_complete:
        raise Permanent(f"dead letter {entry.sequences[0]} is incomplete: a part of it is missing; it can be dropped")
    headers = {**original_headers(entry.headers), REPLAY: "1", MSG_ID: f"{REPLAY_ID}{entry.sequences[0]}"}
    await (await publisher.publish(entry.subject, entry.payload, headers))
    await drop(connection, entry)


async def drop(connection: Connection, entry: Entry) -> None:
    """Remove a letter for good.

    Raises:
        Transient: the server does not answer.
    """
    for sequence in entry.sequences:
        body = msgspec.json.encode({"seq": sequence, "no_erase": True})
        answer = msgspec.json.decode(await connection.request(f"$JS.API.STREAM.MSG.DELETE.{_STREAM}", body))
        error = answer.get("error")
        if error is not None and error.get("err_code") != _NO_MESSAGE:
            raise Transient(f"cannot remove dead letter {sequence}: {error.get('description')}")


async def _stored(connection: Connection, pattern: str, first: int) -> AsyncIterator[_Stored]:
    sequence = first
    while True:
        body = msgspec.json.encode({"seq": sequence, "next_by_subj": pattern})
        answer = msgspec.json.decode(
            await connection.request(f"$JS.API.STREAM.MSG.GET.{_STREAM}", body), type=_Answer, strict=False
        )
        if answer.message is None:
            if answer.error is not None and answer.error.err_code != _NO_MESSAGE:
                raise Transient(f"stream {_STREAM}: {answer.error.description}")
            return
        yield answer.message
        sequence = answer.message.seq + 1


def _in_order(pieces: Mapping[int, bytes]) -> bytes:
    return b"".join(pieces[number] for number in sorted(pieces))


def _entry(stored: _Stored) -> Entry:
    return Entry([stored.seq], stored.subject.removeprefix(_PREFIX), parse_headers(stored.hdrs), stored.data)


def parse_headers(block: bytes) -> dict[str, str]:
    """Read a NATS header block (`NATS/1.0`, then `Name: value` lines)."""
    headers: dict[str, str] = {}
    for line in block.decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name] = value.strip()
    return headers


def shown_payload(entry: Entry) -> str:
    """Return the payload for a person: text, or base64 where it is none."""
    try:
        return entry.payload.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(entry.payload).decode()


def as_json(entry: Entry) -> Mapping[str, object]:
    """Return everything about a letter."""
    return {**entry.as_row(), "headers": entry.headers, "payload": shown_payload(entry)}
