r"""The quickest way of documents that look like one before: matched by one expression, never parsed.

Pure, but for what is remembered. Flows in: JSON text. Flows out: the same document with its envelope.
Invariant: what comes out says what `usual.fill_in_place` would make of it; a text that its expression does not match
as a whole, from the first brace to the last, goes the other ways. Source: RFC 8259, sections 6 and 7.
"""

import re
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from dataplane_common.event import ECS_VERSION
from elastinats.routes import Place
from elastinats.usual import RESERVED_IN_EVENT, is_canonical

#: Texts without `\u`, which can be half of a pair; numbers that 64 bits or a double hold. Nothing is tried twice.
_TEXT = rb'"[^"\\\x00-\x1f]*+(?:\\["\\/bfnrt][^"\\\x00-\x1f]*+)*+"'
_WHOLE = rb"(?:0|-?[1-9][0-9]{0,17}+)"
_SCALAR = rb"(?:-?(?:0|[1-9][0-9]{0,14}+)(?:\.[0-9]{1,15}+)?+|true|false|null|" + _TEXT + rb")"
_LIST = rb"\[(?:" + _SCALAR + rb"(?:, ?" + _SCALAR + rb")*+)?+\]"
#: As ours are written; whether there is such a day is looked up.
_TIME = rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z)"
_DATE_LENGTH = len("2026-11-22")
#: Between the parts of a document: nothing, or a blank as Python writes it.
_GAPS = (b"", b" ")
#: Making an expression takes as long as a hundred documents do otherwise.
_LEARN_EVERY = 1_000
#: Expressions kept, of some 20 kB each.
_MOST_DATASETS = 50
_MOST_OF_A_DATASET = 2
_MOST_COUNTED = 10_000
_LONGEST_PATTERN = 4_000


class _Odd(Exception):
    """A document that no expression is made of."""


class Mould(NamedTuple):
    """`form` puts what `expression` captures, in the order of `groups`, between what the envelope says."""

    expression: re.Pattern[bytes]
    time: int
    groups: tuple[int, ...]
    form: bytes
    takes_host: bool

    def fill(self, piece: bytes, place: Place) -> bytes | None:
        """Return the finished document, or None if this one has to go another way."""
        found = self.expression.fullmatch(piece)
        if found is None or not (piece.isascii() or _is_utf8(piece)):
            return None
        if not _is_date(found[self.time][:_DATE_LENGTH]):
            return None
        dataset, host = _said_by(place)
        return self.form % (dataset, *found.group(*self.groups), host if self.takes_host else b"}")


class Moulds:
    """Expressions for the shapes that were met, by dataset, the newest first."""

    def __init__(self, learn_every: int = _LEARN_EVERY) -> None:
        self._learn_every = learn_every
        self._known: dict[str, list[Mould]] = {}
        self._missed: dict[str, int] = {}

    def fill(self, piece: bytes, place: Place) -> bytes | None:
        """Return the finished document if its shape is known."""
        for mould in self._known.get(place.dataset, ()):
            filled = mould.fill(piece, place)
            if filled is not None:
                return filled
        return None

    def miss(self, fields: dict[str, Any], piece: bytes, dataset: str) -> None:
        """Take note of a usual document with plain names that no expression matched, and learn from some of them."""
        if dataset not in self._missed and len(self._missed) >= _MOST_COUNTED:
            self._missed.clear()
        missed = self._missed[dataset] = self._missed.get(dataset, 0) + 1
        if missed % self._learn_every == 0:
            made = (mould(fields, gap) for gap in _GAPS)
            fitting = [each for each in made if each is not None and each.expression.fullmatch(piece)]
            if fitting:
                self._keep(dataset, fitting[0])

    def _keep(self, dataset: str, made: Mould) -> None:
        known = self._known.pop(dataset, [])
        if len(self._known) >= _MOST_DATASETS:
            del self._known[next(iter(self._known))]
        self._known[dataset] = [made, *known][:_MOST_OF_A_DATASET]


def mould(fields: dict[str, Any], gap: bytes) -> Mould | None:
    """Return the expression for documents with the names of this one, which is usual and has plain names."""
    try:
        return _Parts(gap).made(fields)
    except _Odd:
        return None


class _Parts:
    """What an expression and its form are put together from; `gap` stands behind each colon and comma."""

    def __init__(self, gap: bytes) -> None:
        self._colon = b":" + gap
        self._comma = b"," + gap
        self._groups = 0
        self._patterns: list[bytes] = []
        self._run: list[bytes] = []
        self._kept: list[int] = []
        self._time = 0
        self._in_event: list[int] = []
        self._aside: list[tuple[int, bytes]] = []

    def made(self, fields: dict[str, Any]) -> Mould:
        """Return the whole."""
        takes_host = "host" not in fields
        for name, value in fields.items():
            self._add(name, value)
        self._end_run()
        if (not takes_host and "name" not in fields["host"]) or (self._aside and "labels" in fields):
            raise _Odd
        form = (
            b'{"event":{"dataset":%b' + b",%b" * len(self._in_event) + b'},"@timestamp":"%b"' + b",%b" * len(self._kept)
        )
        if self._aside:
            form += b',"labels":{' + b",".join(said for _, said in self._aside) + b"}"
        if "ecs" not in fields:
            form += b',"ecs":{"version":"%b"}' % ECS_VERSION.encode()
        pattern = rb"\{" + self._comma.join(self._patterns) + rb"\}()"
        if len(pattern) > _LONGEST_PATTERN:
            raise _Odd
        groups = (*self._in_event, self._time, *self._kept, *(number for number, _ in self._aside), self._groups + 1)
        return Mould(re.compile(pattern), self._time, groups, form + b"%b%b", takes_host)

    def _add(self, name: str, value: Any) -> None:
        if name in {"_id", "dp"}:
            raise _Odd
        if name in {"@timestamp", "event"}:
            self._end_run()
        if name == "@timestamp":
            self._time = self._group()
            self._patterns.append(self._member(name, b'"' + _TIME + b'"'))
        elif name == "event":
            self._patterns.append(self._member(name, rb"\{" + self._event(value) + rb"\}"))
        else:
            self._run.append(self._member(name, self._value(value)))

    def _end_run(self) -> None:
        """Make one group of the members that stay as they are."""
        if self._run:
            self._kept.append(self._group())
            self._patterns.append(b"(" + self._comma.join(self._run) + b")")
            self._run = []

    def _group(self) -> int:
        self._groups += 1
        return self._groups

    def _event(self, members: dict[str, Any]) -> bytes:
        """Return the pattern of an event's own members; what the envelope says is put aside into labels."""
        patterns = []
        for name, value in members.items():
            number = self._group()
            if name not in RESERVED_IN_EVENT:
                self._in_event.append(number)
                patterns.append(b"(" + self._member(name, self._value(value)) + b")")
                continue
            if type(value) not in {str, int}:
                raise _Odd
            is_text = type(value) is str
            said = orjson.dumps(RESERVED_IN_EVENT[name]) + (b":%b" if is_text else b':"%b"')
            self._aside.append((number, said))
            patterns.append(self._member(name, b"(" + (_TEXT if is_text else _WHOLE) + b")"))
        return self._comma.join(patterns)

    def _member(self, name: str, value: bytes) -> bytes:
        return re.escape(orjson.dumps(name)) + self._colon + value

    def _value(self, value: Any) -> bytes:
        """Return the pattern of values like this one."""
        if isinstance(value, dict):
            inner = [self._member(name, self._value(each)) for name, each in value.items()]
            return rb"\{" + self._comma.join(inner) + rb"\}"
        if isinstance(value, list):
            return _LIST
        return _TEXT if isinstance(value, str) else _SCALAR


@lru_cache(maxsize=1_000)
def _is_date(text: bytes) -> bool:
    return is_canonical(text.decode() + "T00:00:00.000000Z")


def _is_utf8(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(maxsize=10_000)
def _said_by(place: Place) -> tuple[bytes, bytes]:
    """Return the dataset as JSON, and the end of a document that has no host of its own."""
    return orjson.dumps(place.dataset), (b',"host":{"name":%b}}' % orjson.dumps(place.host) if place.host else b"}")
