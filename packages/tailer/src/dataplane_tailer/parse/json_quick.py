"""The short way of JSON lines: what a program's records look like is learnt, and then only checked while decoding.

Flows in: lines as they are in the file. Flows out: columns of bytes of JSON. Invariant: what it gives is what
`json_parser` gives; a record with a name or a kind of value that is not known yet is left to the long way.
"""

import re
from collections.abc import Callable
from datetime import tzinfo
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from dataplane_tailer.parse import times
from dataplane_tailer.parse.names import are_plain, have_plain_names
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Columns, Quick
from dataplane_tailer.parse.record import LEVELS, OBJECTS, TIMES
from dataplane_tailer.parse.time_field import zone_of

#: Names in one layout: it is searched from the front for each member that does not come in its usual order.
_NAMES_KEPT = 64
#: How often a file's layout is made anew: records without any order to them are not worth it.
_LAYOUTS_KEPT = 64
#: Distinct seconds that are remembered per file before they are forgotten.
_SECONDS_KEPT = 4096
#: Distinct levels that are remembered per file.
_LEVELS_KEPT = 256
_SCALAR = str | int | float | bool | UnsetType | None
_TEXT = str | UnsetType
#: What the name of a struct's member cannot have.
_UNFIT = re.compile(r'[\x00-\x1f"\\]')
_encoder = msgspec.json.Encoder()
_NO_RECORD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
#: `2026-05-01T10:00:00.` and `123456Z`: what a timestamp has of seconds, and behind them.
_SECOND, _BEHIND = 20, 7


class _Layout:
    """What the records of one file look like: their members as fields of a struct, each of which may be missing.

    The fields `time`, `level`, `message` and `msg` are those of these meanings, whatever their members are called.
    """

    def __init__(self, taken: frozenset[str]) -> None:
        self._taken = taken
        self._known: dict[str, Any] = {"message": _TEXT}
        self._made = 0
        self.make()

    def make(self) -> None:
        """Make a decoder for what is known now."""
        self._made += 1
        # Other names that mean time or level count where the first is missing: that is left to the long way.
        times_known = [name for name in TIMES if name in self._known]
        levels_known = [name for name in LEVELS if name in self._known]
        self.needs_time, self.needs_level = len(times_known) > 1, len(levels_known) > 1
        meanings = {"message": "message", "msg": "msg"}
        meanings |= dict.fromkeys(times_known[:1], "time") | dict.fromkeys(levels_known[:1], "level")
        names = {name: meanings.get(name, f"member_{number}") for number, name in enumerate(self._known)}
        unused = dict.fromkeys({"time", "level", "msg"} - {*names.values()}, UNSET)
        self.moved = {"time", "level"} - unused.keys()
        self.deep = tuple(names[name] for name, kind in self._known.items() if kind not in (_SCALAR, _TEXT))
        kind = msgspec.defstruct(
            "Record",
            [(names[name], kind, UNSET) for name, kind in self._known.items()],
            rename={field: name for name, field in names.items()},
            namespace=unused,
            forbid_unknown_fields=True,
            gc=False,
        )
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode

    def read(self, lines: list[bytes]) -> list[Any]:
        """Return the record of each line, None for a line that the layout does not fit, whatever is learnt of it."""
        try:
            return [*map(self.decode, lines)]
        except _NO_RECORD:
            made = 0
            while made != self._made:
                made = self._made
                records = [self._read(line) for line in lines]
            return records

    def _read(self, line: bytes) -> Any:
        try:
            return self.decode(line)
        except _NO_RECORD:
            self._learn(line)
            return None

    def usual(self, records: list[Any]) -> list[Any]:
        """Return the records with None in the place of those that only the long way takes."""
        if self.deep or self.needs_time or self.needs_level:
            records = [record if record is not None and self._is_clear(record) else None for record in records]
        return [
            None if record is None or (record.message is UNSET and record.msg is UNSET) else record
            for record in records
        ]

    def _is_clear(self, record: Any) -> bool:
        if (self.needs_time and record.time is UNSET) or (self.needs_level and record.level is UNSET):
            return False
        return _are_plain_inside(record, self.deep)

    def strip(self, records: list[Any]) -> None:
        """Have records hold what stays at the top of their events: no time, no level, and `msg` as the message."""
        for name in self.moved:
            for record in records:
                setattr(record, name, UNSET)
        for record in records:
            if record.message is UNSET:
                record.message, record.msg = record.msg, UNSET

    def _learn(self, line: bytes) -> None:
        """Take in what a record looks like; if the layout has changed, it now may fit."""
        try:
            record = msgspec.json.decode(line)
        except _NO_RECORD:
            return
        if record.__class__ is not dict or self._made >= _LAYOUTS_KEPT:
            return
        if not are_plain(record) or not self._taken.isdisjoint(record) or _UNFIT.search("".join(record)):
            return
        known = self._known | {name: self._kind(name, value) for name, value in record.items()}
        if known != self._known and len(known) <= _NAMES_KEPT:
            self._known = known
            self.make()

    def _kind(self, name: str, value: Any) -> Any:
        if name in ("message", "msg", *TIMES, *LEVELS):
            return _TEXT
        if name in OBJECTS:
            return dict[str, Any] | UnsetType
        is_scalar = value.__class__ is not dict and value.__class__ is not list
        return _SCALAR if is_scalar and self._known.get(name, _SCALAR) == _SCALAR else Any


def quick_json(config: ParserConfig, taken: frozenset[str]) -> Quick | None:
    """Return the short way for records whose names are plain and free; `taken` are the names that are not."""
    if config.rename or config.time_field:
        return None
    layout = _Layout(taken - {"@timestamp"})  # which becomes the event's own, or the line goes the long way
    whens_of, logs_of = _Times(zone_of(config.time_zone)).column, _Levels().column

    def quick(lines: list[bytes]) -> Columns | None:
        chosen = layout.usual(layout.read(lines))
        usual = [record for record in chosen if record is not None]
        whens = whens_of([record.time for record in usual])
        if None in whens:
            timed = iter(whens)
            chosen = [record if record is not None and next(timed) is not None else None for record in chosen]
            usual = [record for record in chosen if record is not None]
        if not usual:
            return None
        logs = logs_of([record.level for record in usual])
        layout.strip(usual)
        bodies = _encoder.encode_lines(usual)[1:-2].split(b"}\n{")
        return Columns(chosen, [when for when in whens if when is not None], b"%b", (bodies,), logs)

    return quick


def _are_plain_inside(record: Any, deep: tuple[str, ...]) -> bool:
    for name in deep:
        value = getattr(record, name)
        if value.__class__ is dict:
            if not are_plain(value) or not have_plain_names(value):
                return False
        elif value.__class__ is list and not have_plain_names({"": value}):
            return False
    return True


class _Times:
    """Times of records as bytes of timestamps; the seconds that were in that form already are remembered."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone, self._seconds = zone, set[str]()

    def column(self, texts: list[Any]) -> list[bytes | None]:
        """Return the timestamp of each time: nothing where there is none, None where it is no time."""
        if self._are_timestamps(texts):
            return [text.encode() for text in texts]
        return [b"" if text is UNSET else self._when(text) for text in texts]

    def _are_timestamps(self, texts: list[Any]) -> bool:
        if UNSET in texts or {*map(len, texts)} != {_SECOND + _BEHIND}:
            return False
        behind = "".join([text[_SECOND:] for text in texts])
        digits = behind.replace("Z", "")
        return (
            self._seconds.issuperset([text[:_SECOND] for text in texts])
            and behind[_BEHIND - 1 :: _BEHIND] == "Z" * len(texts)
            and len(digits) == (_BEHIND - 1) * len(texts)
            and digits.isdigit()
            and digits.isascii()
        )

    def _when(self, text: str) -> bytes | None:
        when = times.iso(text, self._zone)
        if when == text:
            if len(self._seconds) >= _SECONDS_KEPT:
                self._seconds.clear()
            self._seconds.add(text[:_SECOND])
        return when.encode() if when else None


class _Levels:
    """Levels of records as members of `log`; those that come often are remembered."""

    def __init__(self) -> None:
        self._known: dict[Any, bytes] = {UNSET: b""}

    def column(self, texts: list[Any]) -> list[bytes]:
        """Return the members of each level: none where there is none."""
        found = [*map(self._known.get, texts)]
        return [self._member(text) if known is None else known for known, text in zip(found, texts, strict=True)]

    def _member(self, text: str) -> bytes:
        encoded = b'"level":%b,' % _encoder.encode(text)
        if len(self._known) < _LEVELS_KEPT:
            self._known[text] = encoded
        return encoded
