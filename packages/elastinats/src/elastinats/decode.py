"""Turns one delivery into bulk-ready parts.

Pure. Flows in: a message of anyone's. Flows out: parts, or `Permanent` for a message that nobody can read.
Invariant: a frame of this project is only cut and joined, never parsed; every other message becomes at least one
document, because anything is welcome.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import orjson

from dataplane_common.bus import Delivery
from dataplane_common.errors import Permanent
from dataplane_common.event import split_id
from dataplane_common.frame import COUNT, ENCODING, REPLAY, decode_payload
from elastinats import foreign
from elastinats.part import PLAIN, Claim, Event, Part, Seams, Style, action, events, limited, ruled, seams
from elastinats.routes import Place
from elastinats.rules import NO_RULES, Rules

#: On a dead letter of somebody else's message: where its first event was stored, so that a replay keeps the id.
ORIGIN = "Dp-Origin"
_BEFORE_ID = len(b'{"_id":"')
_OUR_ID = re.compile(rb"[0-9a-f]{16}-[0-9a-f]+(?:\.[0-9]+)?")
#: A line of ours begins with its id and goes on with another member.
_starts_as_ours = re.compile(rb'\{"_id":"' + _OUR_ID.pattern + rb'",').match
#: Servers count nanoseconds in 64 bits, which end in 2262.
_END_OF_TIME_NS = 1 << 63
_MAGIC = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b\x08": "gzip"}
#: First bytes of them.
_MAGIC_STARTS = {magic[:1] for magic in _MAGIC}


class Limits(NamedTuple):
    """`decoded_bytes` is the most that a payload may decompress to, `part_bytes` the most that a part should weigh."""

    decoded_bytes: int
    part_bytes: int


class Original(NamedTuple):
    """A message that brings one event again: the event's id, payload and headers."""

    event_id: str
    payload: bytes
    headers: dict[str, str]


class Origin(NamedTuple):
    """Where a message was first stored; ids of events that bring none are made of it."""

    stream: str
    sequence: int
    stored_at_ns: int
    first_index: int = 0

    def event_id(self, index: int) -> str:
        """Return the id of the message's event number `index`, from 0."""
        return f"{self.stream}-{self.sequence}-{self.stored_at_ns:x}-{self.first_index + index}"


def decode(
    claim: Claim, place: Place, ingested: str, limits: Limits, style: Style = PLAIN, rules: Rules = NO_RULES
) -> list[Part]:
    """Return the parts of a claim's delivery; `ingested` is the time of arrival.

    Raises:
        Permanent: an unknown frame version or encoding, or a payload that is not what its header says, or above
            the limit (`TooLarge`).
    """
    headers = claim.delivery.headers
    if not headers and rules is NO_RULES and (single := _single(claim, place, ingested, style)) is not None:
        return [single]
    payload = unpack(claim.delivery, limits.decoded_bytes)
    resent = style.is_exact and (REPLAY in headers or claim.delivery.may_be_repeated)
    joint = seams(place.target, ingested, style)
    framed = COUNT in headers
    found = frame_body(payload, joint) if framed else None
    body, count = found or _documents(claim.delivery, payload, place, joint)
    part = Part(claim, place.target, body, count, found is not None, resent, style)
    return limited(ruled(part, rules) if rules else part, limits.part_bytes)


def _single(claim: Claim, place: Place, ingested: str, style: Style) -> Part | None:
    """Take the quick way of one JSON object without headers; None where there is another one."""
    delivery = claim.delivery
    data = delivery.data
    content = foreign.finished(data, place)
    if content is None and (data[:1] != b"{" or b"\n" in data):
        return None
    metadata = delivery.metadata
    stored_at_ns = metadata.stored_at_ns
    if content is None:
        content = foreign.parsed(data, foreign.Context(delivery.subject, place, stored_at_ns))
    before, after = seams(place.target, ingested, style)
    numbers = (metadata.stream_sequence, stored_at_ns)
    body = b"%b%b-%d-%x-0%b%b\n" % (before, _quoted(metadata.stream), *numbers, after, content[1:])
    resent = delivery.may_be_repeated and style.is_exact
    return Part(claim, place.target, body, 1, False, resent, style)  # noqa: FBT003 - names take as long as the rest


def unpack(delivery: Delivery, max_bytes: int) -> bytes:
    """Return a delivery's payload, decompressed as its header, or else its first bytes, say.

    Raises:
        Permanent: see `dataplane_common.frame.decode_payload`.
    """
    headers = delivery.headers
    if not headers and delivery.data[:1] not in _MAGIC_STARTS:
        return delivery.data
    if ENCODING not in headers and (name := _compression(delivery.data)):
        try:
            return decode_payload(delivery.data, {**headers, ENCODING: name}, max_bytes)
        except Permanent:
            return delivery.data  # it only looked compressed: text then
    return decode_payload(delivery.data, headers, max_bytes)


def frame_body(payload: bytes, joint: Seams) -> tuple[bytes, int] | None:
    """Turn a frame's lines into bulk actions by cutting and joining; None if some line is not an event's."""
    lines = payload.removesuffix(b"\n").split(b"\n")
    if None in map(_starts_as_ours, lines):
        return None
    parts = [line[_BEFORE_ID:].replace(b'",', joint.middle, 1) for line in lines]
    return joint.action + (b"\n" + joint.action).join(parts) + b"\n", len(lines)


def origin(delivery: Delivery) -> Origin:
    """Return where a message was first stored, which for a replayed one its header tells."""
    if (told := delivery.headers.get(ORIGIN)) is not None:
        stream, *numbers = told.rsplit("-", 3)
        try:
            sequence, stored_at, first = int(numbers[0]), int(numbers[1], 16), int(numbers[2])
            if 0 <= stored_at < _END_OF_TIME_NS:
                return Origin(stream, sequence, stored_at, first)
        except (ValueError, IndexError):
            pass  # somebody else's header of that name
    metadata = delivery.metadata
    return Origin(metadata.stream, metadata.stream_sequence, metadata.stored_at_ns)


def pieces(headers: Mapping[str, str], payload: bytes) -> list[bytes]:
    """Return the bytes of each event of a message that is no well-formed frame, in the order of their ids."""
    if COUNT in headers:
        return [line for line in payload.split(b"\n") if line.strip()] or [payload]
    return foreign.split(payload)


def originals(part: Part, positions: Sequence[int], max_bytes: int) -> list[Original]:
    """Return the messages that would bring just these events of a part again, as they were first published.

    A message of one event is given back whole. One event of many gets a message of its own: its line, or the piece of
    the payload that it was made of with a header that keeps its id.
    """
    delivery, all_events = part.claim.delivery, events(part)
    found: list[bytes] | None = None
    result = []
    for event in (all_events[position] for position in positions):
        if part.framed or (COUNT in delivery.headers and _OUR_ID.fullmatch(event.identity)):
            line = _line_of(event, unpack(delivery, max_bytes)) if part.style.ruled else event.line
            result.append(Original(event.key, line, {**_without(delivery.headers, ENCODING), COUNT: "1"}))
            continue
        source = origin(delivery)
        found = found or pieces(delivery.headers, unpack(delivery, max_bytes))
        index = int(event.key.rpartition("-")[2])
        told = {ORIGIN: source.event_id(index - source.first_index)}
        if len(found) == 1:
            result.append(Original(event.key, delivery.data, {**delivery.headers, **told}))
        else:
            piece = found[index - source.first_index]
            result.append(Original(event.key, piece, {**_without(delivery.headers, ENCODING), **told}))
    return result


def _line_of(event: Event, payload: bytes) -> bytes:
    """Return an event's line as its frame brought it, before any rule."""
    start = payload.find(b'{"_id":"%b"' % event.identity)
    return event.line if start < 0 else payload[start:].partition(b"\n")[0] + b"\n"


def _without(headers: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


def _documents(delivery: Delivery, payload: bytes, place: Place, joint: Seams) -> tuple[bytes, int]:
    source = origin(delivery)
    context = foreign.Context(delivery.subject, place, source.stored_at_ns)
    framed = COUNT in delivery.headers
    found: list[bytes] = []
    for index, piece in enumerate(pieces(delivery.headers, payload)):
        own = _own_event(piece) if framed else None
        identity = _quoted(source.stream) + source.event_id(index)[len(source.stream) :].encode()
        identity, content = own or (identity, foreign.document(piece, context))
        found.append(action(identity, content, joint))
    return b"".join(found), len(found)


def _own_event(line: bytes) -> tuple[bytes, bytes] | None:
    """Cut one line of a damaged frame, if this line at least is an event."""
    try:
        identity, content = split_id(line)
        good = _OUR_ID.fullmatch(identity) is not None and isinstance(orjson.loads(content), dict)
    except ValueError:
        return None
    return (identity, content) if good and content != b"{}" else None


def _compression(data: bytes) -> str:
    return next((name for magic, name in _MAGIC.items() if data.startswith(magic)), "")


@lru_cache(maxsize=1000)
def _quoted(stream: str) -> bytes:
    """Return a stream's name, which may hold any printable character, as JSON text without its quotes."""
    return orjson.dumps(stream)[1:-1]
