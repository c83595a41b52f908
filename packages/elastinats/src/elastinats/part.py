"""What flows through the sink: parts of deliveries, ready to be sent, and the claims that they are part of.

A part is the text of some bulk actions, two lines each, all of one delivery and for one data stream. Pure.
Invariant: a part's lines can be told apart again, and an event's own bytes be had back, whenever an answer of
Elasticsearch asks for it; until then nothing is kept per event.
Source: Elasticsearch documentation, "Bulk API".
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

import orjson
from msgspec import Struct
from msgspec.structs import replace

from dataplane_common.bus import Delivery
from elastinats.lenient import dump
from elastinats.rules import Rules

_BEFORE_ID = b',"_id":"'
_ACTION_END = b'"}}'
_INGESTED = b'{"event.ingested":"%b",'
#: `2026-11-22T10:15:30.123456Z`: the one form in which times of arrival are written.
_TIMESTAMP_LENGTH = 27
_INGESTED_LENGTH = len(_INGESTED) - 2 + _TIMESTAMP_LENGTH


class Claim(Struct, eq=False):
    """A delivery that is being worked on: how many events it has, how many still wait, how many became dead letters.

    `events` is 0 until the delivery is decoded. Until `held_until_s` (monotonic) no other sink is given the message.
    """

    delivery: Delivery
    events: int = 0
    waiting: int = 0
    dead: int = 0
    held_until_s: float = math.inf

    def is_held(self, now_s: float) -> bool:
        """Tell whether the message is ours alone at this moment."""
        return now_s < self.held_until_s


class Style(NamedTuple):
    """How a route's events are sent. `ruled` documents are not what their message brought."""

    op: str = "create"
    pipeline: str = ""
    id: str = "event"
    ruled: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether an event that is sent twice can be there only once, as far as it is looked up."""
        return self.op == "create" and self.id == "event"


PLAIN = Style()


class Event(NamedTuple):
    """One event of a part: its id as JSON text without quotes, and its document with the time of arrival."""

    identity: bytes
    document: bytes

    @property
    def key(self) -> str:
        """The id as Elasticsearch knows it."""
        text: str = orjson.loads(b'"' + self.identity + b'"') if b"\\" in self.identity else self.identity.decode()
        return text

    @property
    def content(self) -> bytes:
        """The document as it came, without the time of arrival."""
        return b"{" + self.document[_INGESTED_LENGTH:]

    @property
    def line(self) -> bytes:
        """The event's line as a frame carries it."""
        return b'{"_id":"%b",%b\n' % (self.identity, self.document[_INGESTED_LENGTH:])


class Part(Struct, eq=False):
    """Bulk-ready actions, never changed: `body` has `count` pairs of lines.

    `framed` tells a well-formed frame of this project from any other message;
    `resent` means that the events may have been indexed before, so that they are looked up first.
    """

    claim: Claim
    target: str
    body: bytes
    count: int
    framed: bool
    resent: bool
    style: Style = PLAIN

    @property
    def wire(self) -> bytes:
        """The body as it is sent: without ids where Elasticsearch makes them."""
        if self.style.id == "event":
            return self.body
        lines = self.body.split(b"\n")
        anonymous = seams(self.target, "", self.style).action.removesuffix(_BEFORE_ID) + b"}}"
        lines[0:-1:2] = [anonymous] * self.count
        return b"\n".join(lines)


class Seams(NamedTuple):
    """What stands before each event's id and between its id and the rest of its document."""

    action: bytes
    middle: bytes


@lru_cache(maxsize=256)
def seams(target: str, ingested: str, style: Style = PLAIN) -> Seams:
    """Return the texts that turn a frame's lines into bulk actions; `ingested` is the time of arrival."""
    pipeline = b',"pipeline":' + orjson.dumps(style.pipeline) if style.pipeline else b""
    head = b'{"%b":{"_index":"%b"%b' % (style.op.encode(), target.encode(), pipeline)
    return Seams(head + _BEFORE_ID, _ACTION_END + b"\n" + _INGESTED % ingested.encode())


def action(identity: bytes, content: bytes, joint: Seams) -> bytes:
    """Return the two lines of one event; `content` is a JSON object with at least one member."""
    return joint.action + identity + joint.middle + content[1:] + b"\n"


def events(part: Part) -> list[Event]:
    """Take a part apart."""
    lines = part.body.split(b"\n")
    start = len(seams(part.target, "", part.style).action)
    return [
        Event(head[start : -len(_ACTION_END)], document)
        for head, document in zip(lines[0:-1:2], lines[1::2], strict=True)
    ]


def pick(part: Part, positions: Sequence[int]) -> Part:
    """Return a part of some of a part's events."""
    lines = part.body.split(b"\n")
    chosen = [line for position in positions for line in lines[2 * position : 2 * position + 2]]
    body = b"\n".join(chosen) + b"\n" if chosen else b""
    return replace(part, body=body, count=len(positions))


def as_resent(part: Part) -> Part:
    """Return the part marked as one whose events may have been indexed before, where that makes a difference."""
    return part if part.resent or not part.style.is_exact else replace(part, resent=True)


def ruled(part: Part, rules: Rules) -> Part:
    """Return the part with its documents changed by rules; a line that is no JSON object stays, and is refused."""
    lines = part.body.split(b"\n")
    for number in range(1, len(lines), 2):
        arrival, content = lines[number][:_INGESTED_LENGTH], lines[number][_INGESTED_LENGTH:]
        with suppress(ValueError, RecursionError):
            fields = orjson.loads(b"{" + content)
            rules.apply(fields)
            if fields:
                lines[number] = arrival + dump(fields)[1:]
    return replace(part, body=b"\n".join(lines))


def halve(parts: Sequence[Part]) -> tuple[list[Part], list[Part]]:
    """Cut parts with more than one event in all into two halves of nearly equal count, in order."""
    wanted = sum(part.count for part in parts) // 2
    first: list[Part] = []
    for number, part in enumerate(parts):
        if part.count > wanted:
            left, right = _cut(part, wanted)
            rest = [right, *parts[number + 1 :]]
            return ([*first, left] if left.count else first), rest
        first.append(part)
        wanted -= part.count
    return first, []


def limited(part: Part, max_bytes: int) -> list[Part]:
    """Cut a part so that no piece with more than one event is above `max_bytes`."""
    if len(part.body) <= max_bytes or part.count <= 1:
        return [part]
    left, right = _cut(part, part.count // 2)
    return [*limited(left, max_bytes), *limited(right, max_bytes)]


def _cut(part: Part, position: int) -> tuple[Part, Part]:
    return pick(part, range(position)), pick(part, range(position, part.count))
