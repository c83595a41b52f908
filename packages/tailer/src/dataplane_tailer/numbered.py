"""Renders lines of what is no file: they have no place but their number. Pure.

Flows in: lines and their numbers. Flows out: their events. Invariant: the same line under the same number gives the
same event, times of arrival aside.
"""

from typing import Any

from dataplane_common.event import ECS_VERSION, encode, event_id, merge
from dataplane_tailer.bulk import decimals, filled
from dataplane_tailer.config import InputConfig
from dataplane_tailer.encoding import as_json, decode
from dataplane_tailer.filters import decider
from dataplane_tailer.parse import Parse, Parsed
from dataplane_tailer.parse.parsed import as_message
from dataplane_tailer.plain import MARKS, line_format, texts_of
from dataplane_tailer.render import SPLIT_LINE, TOTALS, Tally
from dataplane_tailer.splice import INVALID_ENCODING, joined, tags_of


class NumberedRenderer:
    """A renderer for one source; lines without parser and filter have a byte format that takes many at once."""

    def __init__(self, source: str, entry: InputConfig, host: str, parse: Parse) -> None:
        self._source, self._parse, self._decide = source, parse, decider(entry.filters)
        self._service = {"name": entry.dataset}
        self._tally = TOTALS.setdefault(entry.dataset, Tally())
        fixed: dict[str, Any] = {
            "host": {"name": host},
            "event": {"dataset": entry.dataset},
            "dp": {"source": source},
            "ecs": {"version": ECS_VERSION},
        }
        self._shared = merge(entry.fields, fixed)
        self._format = None
        if parse is as_message and self._decide is None and "message" not in self._shared:
            event = {**self._shared["event"], "sequence": -1}
            document = {"message": "@MESSAGE@", "service": self._service, **self._shared, "event": event}
            self._format = line_format(source, document, MARKS)

    def all(self, lines: list[bytes], sequence: int, at: str) -> list[bytes]:
        """Return the event of each line, or nothing if they have to be taken one by one."""
        if self._format is None:
            return []
        numbers = range(sequence, sequence + len(lines))
        try:
            messages = as_json(texts_of(lines, sequence))
        except UnicodeDecodeError:
            return []
        shaped = self._format.replace(b"@AT@", at.encode())
        return filled(shaped * len(lines), (numbers, messages, decimals(numbers))).splitlines(keepends=True)

    def one(self, line: bytes, sequence: int, at: str) -> bytes | None:
        """Return the event of a line, None if a filter drops it."""
        text, is_valid = decode(line, "utf-8")
        if self._decide is not None and (rule := self._decide(text)) is not None:
            self._tally.count(dropped=rule)
            return None
        parsed = self._parse(text, at)
        self._tally.count(unparsed=bool(parsed.problem), invalid=not is_valid)
        tags = [] if is_valid else [INVALID_ENCODING]
        return self._event(parsed, at, sequence, event_id(self._source, sequence), tags)

    def piece(self, data: bytes, at: str, sequence: int, place: tuple[int, int]) -> bytes:
        """Return the event of a piece; `place` is (number of the line, number of the piece)."""
        text, is_valid = decode(data, "utf-8", ended=False)
        tags = [SPLIT_LINE] if is_valid else [SPLIT_LINE, INVALID_ENCODING]
        return self._event(as_message(text, at), at, sequence, event_id(self._source, *place), tags)

    def _event(self, parsed: Parsed, at: str, sequence: int, identity: str, tags: list[str]) -> bytes:
        event: dict[str, Any] = {"sequence": sequence}
        if parsed.timestamp is not None:
            event["created"] = at
        envelope = {**self._shared, "event": {**self._shared["event"], **event}}
        if parsed.problem:
            envelope["error"] = {"message": parsed.problem}
        if tags:
            envelope["tags"] = [*tags_of(envelope), *tags]
        document = joined(parsed, envelope)
        document.setdefault("service", self._service)
        return encode(identity, parsed.timestamp or at, document)
