"""Puts parsed fields and a file's envelope together as one line of JSON, mostly without merging them. Pure.

Flows in: what a parser found and the place of the line. Flows out: an event. Invariant: the event is the very one that
`event.merge` would give; where names may collide or be refused, `event.merge` does give it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from dataplane_common.event import METADATA_NAMES, encode, event_id, merge
from dataplane_tailer.parse.names import are_plain, have_plain_names
from dataplane_tailer.parse.parsed import Parsed

#: What marks an event whose line was not valid in its encoding.
INVALID_ENCODING = "invalid_encoding"

_to_json = msgspec.json.Encoder().encode

#: (parsed, offset, sequence, time of arrival, whether the line was valid in its encoding) → event.
Splice = Callable[[Parsed, int, int, str, bool], bytes]


class Envelope:
    """The envelope of one file's events: `at(offset, sequence)` gives it as an object, `template` as a byte format."""

    def __init__(self, source: str, at: Callable[[int, int], dict[str, Any]]) -> None:
        self.source = source
        self._sample = at(-1, -1)
        sample = self._sample
        #: Names at the top that are not free for a record's own members.
        self.taken = METADATA_NAMES | (sample.keys() - {"log", "event"}) | {"tags", "dp", "@timestamp"}
        self.log_taken = frozenset(sample["log"])
        self.event_taken = frozenset(sample["event"]) | {"created", "ingested"}
        self.is_marked = not {"error", "tags"}.isdisjoint(sample) or "created" in sample["event"]
        self._body = _to_json(sample).replace(b"%", b"%%")

    def at(self, offset: int, sequence: int) -> dict[str, Any]:
        """Return the envelope of one event; what it holds may be replaced, not changed."""
        sample = self._sample
        log, event = {**sample["log"], "offset": offset}, {**sample["event"], "sequence": sequence}
        return {**sample, "log": log, "event": event}

    def template(
        self,
        fields: bytes = b"%b",
        *,
        log: bytes = b"%b",
        event: bytes = b"%b",
        number: bytes = b"%b",
        created: bytes = b"%b",
    ) -> bytes:
        """Return the event as a byte format.

        Its holes are offset (hex), timestamp, fields, more of `log`, offset, more of `event`, sequence,
        `event.created`; `number` is what offset and sequence have, the others may be given as formats of their own.
        """
        body = self._body
        holes = (
            (b'"log":{"offset":-1', b'"log":{' + log + b'"offset":' + number),
            (b'"event":{"dataset"', b'"event":{' + event + b'"dataset"'),
            (b'"sequence":-1', b'"sequence":' + number + created),
        )
        for mark, hole in holes:
            body = body.replace(mark, hole, 1)
        return b'{"_id":"' + self.source.encode() + b'-%x","@timestamp":"%b",' + fields + b"," + body[1:] + b"\n"


def splicer(envelope: Envelope) -> Splice:
    """Return what makes events of a file's parsed lines."""
    template, taken = envelope.template(number=b"%d"), envelope.taken
    log_taken, event_taken = envelope.log_taken, envelope.event_taken
    empty = b""

    def splice(parsed: Parsed, offset: int, sequence: int, at: str, is_valid: bool) -> bytes:  # noqa: FBT001
        fields = parsed.fields
        if envelope.is_marked or not is_valid or (parsed.problem and "error" in fields):
            return merged(envelope, parsed, offset, sequence, at, is_valid=is_valid)
        if not (taken.isdisjoint(fields) if parsed.is_vetted else _is_harmless(fields, taken)):
            nested = None if parsed.is_vetted else _nested(fields, taken)
            if nested is None:
                return merged(envelope, parsed, offset, sequence, at, is_valid=is_valid)
            fields = nested
        log = event = empty
        if "log" in fields or "event" in fields:
            if not _are_free(fields, "log", log_taken) or not _are_free(fields, "event", event_taken):
                return merged(envelope, parsed, offset, sequence, at, is_valid=is_valid)
            log, event = _members(fields.pop("log", None)), _members(fields.pop("event", None))
        if parsed.problem:
            fields["error"] = {"message": parsed.problem}
        own = parsed.timestamp
        if own is None:
            when, created = at.encode(), empty
        else:
            when, created = own.encode(), b',"created":"%b"' % at.encode()
        return template % (offset, when, _to_json(fields)[1:-1], log, offset, event, sequence, created)

    return splice


def _is_harmless(fields: Mapping[str, Any], taken: frozenset[str]) -> bool:
    """Tell whether all members can stay where they are, whatever their values."""
    return taken.isdisjoint(fields) and are_plain(fields) and have_plain_names(fields)


def _are_free(fields: Mapping[str, Any], name: str, taken: frozenset[str]) -> bool:
    value = fields.get(name, {})
    return value.__class__ is dict and taken.isdisjoint(value)


def _members(value: dict[str, Any] | None) -> bytes:
    return _to_json(value)[1:-1] + b"," if value else b""


def _nested(fields: Mapping[str, Any], taken: frozenset[str]) -> dict[str, Any] | None:
    """Return members with dotted names as objects, or None where two of them may want the same place."""
    nested: dict[str, Any] = {name: value for name, value in fields.items() if "." not in name}
    made: set[str] = set()
    for name, value in fields.items():
        if "." not in name:
            continue
        top, *rest = name.split(".")
        if value.__class__ is dict or not are_plain(rest) or (top in nested and top not in made):
            return None
        made.add(top)
        if not _put(nested.setdefault(top, {}), rest, value):
            return None
    return nested if _is_harmless(nested, taken) else None


def _put(target: dict[str, Any], path: list[str], value: Any) -> bool:
    *steps, last = path
    for step in steps:
        target = target.setdefault(step, {})
        if target.__class__ is not dict:
            return False
    if last in target:
        return False
    target[last] = value
    return True


def joined(parsed: Parsed, envelope: dict[str, Any]) -> dict[str, Any]:
    """Return what `event.merge` gives of a line's fields and an envelope, at once where no name can collide."""
    fields, taken = parsed.fields, METADATA_NAMES | envelope.keys() | {"@timestamp"}
    if taken.isdisjoint(fields) if parsed.is_vetted else _is_harmless(fields, taken):
        return {**fields, **envelope}
    return merge(fields, envelope)


def merged(envelope: Envelope, parsed: Parsed, offset: int, sequence: int, at: str, *, is_valid: bool) -> bytes:
    """Return the event by merging; what has no JSON form, or is nested too deeply to be merged, is left as the line."""
    own = envelope.at(offset, sequence)
    if parsed.timestamp is not None:
        own["event"]["created"] = at
    if parsed.problem:
        own["error"] = {"message": parsed.problem}
    if not is_valid:
        own["tags"] = [*tags_of(own), INVALID_ENCODING]
    return encode(event_id(envelope.source, offset), parsed.timestamp or at, merge(parsed.fields, own))


def tags_of(envelope: Mapping[str, Any]) -> list[Any]:
    """Return the tags that an input gives all its events."""
    tags = envelope.get("tags", [])
    return tags if isinstance(tags, list) else [tags]
