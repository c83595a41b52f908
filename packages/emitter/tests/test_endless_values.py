"""Values that have no end, or are so large that copying them would hold up a log call for seconds."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from dataplane_emitter import encode
from dataplane_emitter.redact import Redactor
from dataplane_emitter.testing import Captured

#: What one call may read of a value: more would take tens of milliseconds.
_MOST_READ = 50_000


class _Endless(Mapping[str, Any]):
    """Ten members, each of which has ten members, each of which..."""

    def __init__(self, read: list[int]) -> None:
        self._read = read

    def __getitem__(self, key: str) -> "_Endless":
        self._read[0] += 1
        return _Endless(self._read)

    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Iterator[str]:
        return iter("abcdefghij")

    def __repr__(self) -> str:
        return "endless"


_WAYS: dict[str, Callable[[Captured, Any], None]] = {
    "extra": lambda captured, value: _logger(captured).info("x", extra={"value": value}),
    "argument": lambda captured, value: _logger(captured).info("%s %d", value, 7),
    "named argument": lambda captured, value: _logger(captured).info("%(value)s", {"value": value}),
    "message": lambda captured, value: _logger(captured).info(value),
    "field": lambda captured, value: captured.emitter.processor()(None, "info", {"event": "x", "value": value}),
    "event": lambda captured, value: captured.emitter.processor()(None, "info", {"event": value}),
}


def _logger(captured: Captured) -> logging.Logger:
    log = logging.Logger("x")  # noqa: LOG001 - nobody else's
    log.addHandler(captured.emitter.handler())
    return log


@pytest.mark.parametrize("way", _WAYS)
def test_of_an_endless_value_the_beginning_is_read(captured: Captured, way: str) -> None:
    """Ten members in each of ten, a hundred levels deep, are an event like any other."""
    read = [0]
    _WAYS[way](captured, _Endless(read))
    assert read[0] < _MOST_READ
    assert len(captured.events) == 1
    assert captured.emitter.stats().dropped == {}


@pytest.mark.parametrize("way", _WAYS)
def test_of_a_wide_value_the_beginning_is_read(captured: Captured, way: str) -> None:
    """A list of lists with a million items altogether is copied as far as an event could hold it."""
    read = [0]

    class Counted(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            for item in super().__iter__():
                read[0] += 1
                yield item

    _WAYS[way](captured, Counted([Counted(range(1_000)) for _ in range(1_000)]))
    assert read[0] < _MOST_READ
    assert len(captured.events) == 1


def test_a_large_argument_leaves_its_neighbours_alone(captured: Captured) -> None:
    """What is cut of one argument costs the others nothing, and secrets before the cut are masked."""
    _logger(captured).info("%s %d", {"password": "hunter2", **dict.fromkeys(map(str, range(100_000)), 0)}, 7)
    (event,) = captured.events
    assert event["message"].startswith("{'password': ***, '0': 0, ")
    assert "hunter2" not in event["message"]
    assert event["message"].endswith("} 7")


@pytest.mark.parametrize("way", ["argument", "message"])
def test_of_a_huge_message_the_beginning_is_looked_at(
    captured: Captured, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A message of many megabytes is cut before it is searched for secrets, which takes longer than all else."""
    searched: list[int] = []
    body = Redactor.body

    def search(redactor: Redactor, document: bytes) -> bytes:
        searched.append(len(document))
        return body(redactor, document)

    monkeypatch.setattr(Redactor, "body", search)
    _WAYS[way](captured, "begin" + "x" * 20_000_000)
    assert max(searched, default=0) < 1_100_000
    assert captured.events[0]["message"].startswith("begin")


def test_many_texts_together_are_bounded() -> None:
    """A list that names one long text a thousand times does not become a gigabyte."""
    copied = encode.plain({"texts": ["x" * 900_000] * 1_000, "number": 7, "last": "short"})
    assert len(encode.encode(copied)) < 3_000_000
    assert copied["number"] == 7
    digits = encode.plain([10**20_000] * 1_000)
    assert len(encode.encode(digits)) < 3_000_000
