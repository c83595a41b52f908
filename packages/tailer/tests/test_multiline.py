"""Rules of cutting lines into events of several lines."""

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_tailer.multiline import MultilineConfig, cutter
from dataplane_tailer.parse import ParserConfig

JAVA = """2026-05-01 ERROR could not pay
java.lang.IllegalStateException: no money
\tat com.example.Pay.pay(Pay.java:12)
\t... 3 more
Caused by: java.io.IOException: broken
\tat com.example.Net.send(Net.java:7)
2026-05-01 INFO next"""
PYTHON = """ERROR:root:failed
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    pay()
my.own.Failure: no money

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 2, in <module>
KeyError: 'x'
INFO:root:next"""
GO = """2026/05/01 starting
panic: runtime error: index out of range [5] with length 3

goroutine 1 [running]:
main.(*Shop).pay(0xc000012345)
\t/src/main.go:12 +0x1d
main.main()
\t/src/main.go:7 +0x20
created by main.init
exit status 2
2026/05/01 starting"""


def cut(
    lines: list[bytes], keys: dict[str, Any], *, flush: bool, parser: str = "plain", limit: int = 10_000
) -> list[int]:
    """The numbers of lines of the complete events."""
    multiline = msgspec.convert(keys, MultilineConfig) if keys else None
    found = cutter(ParserConfig(parser=parser), multiline, max_bytes=limit)
    assert found is not None
    return found(lines, flush)


@pytest.mark.parametrize(
    ("preset", "text", "counts"), [("java", JAVA, [6, 1]), ("python", PYTHON, [11, 1]), ("go", GO, [1, 9, 1])]
)
def test_a_preset_keeps_a_trace_together(preset: str, text: str, counts: list[int]) -> None:
    """The trace is one event with the line that it belongs to, and what follows is the next."""
    assert cut(text.encode().split(b"\n"), {"preset": preset}, flush=True) == counts


def test_the_last_event_is_open_until_it_is_flushed() -> None:
    """Only a line that does not go on, or a time-out, completes an event."""
    lines = [b"1 a", b" b", b"2 c", b" d"]
    assert cut(lines, {"continuation": r"^\s"}, flush=False) == [2]
    assert cut(lines, {"continuation": r"^\s"}, flush=True) == [2, 2]
    assert cut(lines, {"start": r"^\d"}, flush=False) == [2]


def test_limits_end_an_event_at_once() -> None:
    """At the limit no further line is waited for; a line above it is an event of its own."""
    assert cut([b"1", b" a", b" b", b" c"], {"start": r"^\d", "max_lines": 2}, flush=False) == [2, 2]
    assert cut([b"1", b" aaaa", b" b"], {"start": r"^\d", "max_bytes": 8}, flush=False) == [2]
    assert cut([b"1", b" aaaa"], {"start": r"^\d", "max_bytes": 8}, flush=False) == [2]
    assert cut([b"1", b" " * 50, b" b"], {"start": r"^\d", "max_bytes": 8}, flush=False) == [1, 1]
    assert cut([b"1", b" aaaa", b" b"], {"start": r"^\d"}, flush=False, limit=8) == [2]


LINES = st.lists(
    st.sampled_from([b"1 x", b"2", b" y", b"", b"  zzz", b"Traceback (most recent call last):"]), max_size=14
)
RULES = st.sampled_from(
    [
        {"start": r"^\d"}, {"continuation": r"^\s"}, {"preset": "python"}, {"preset": "go"}, {"preset": "java"},
        {"start": r"^\d", "max_lines": 3}, {"continuation": r"^\s", "max_bytes": 9},
    ]
)  # fmt: skip


@given(LINES, RULES, st.lists(st.integers(1, 5), min_size=1))
def test_events_are_the_same_however_the_file_is_read(
    lines: list[bytes], keys: dict[str, Any], steps: list[int]
) -> None:
    """Reading on from the first open line gives the same events in any chunks, and together they are all the lines."""
    whole = cut(lines, keys, flush=True)
    assert sum(whole) == len(lines)
    start, seen, found = 0, 0, list[int]()
    while seen < len(lines):
        seen = min(len(lines), seen + steps[len(found) % len(steps)])
        counts = cut(lines[start:seen], keys, flush=False)
        found += counts
        start += sum(counts)
    assert found + cut(lines[start:], keys, flush=True) == whole


CRI = st.lists(
    st.builds("t {} {} x".format, st.sampled_from(["stdout", "stderr"]), st.sampled_from(["P", "F"])), max_size=12
)


@given(CRI)
def test_a_block_of_container_lines_leaves_no_stream_open(lines: list[str]) -> None:
    """A block is the shortest run of lines in which every partial line is finished; it waits for no further line."""
    encoded = [line.replace("t ", "2026-05-01T10:00:00Z ", 1).encode() for line in lines]
    counts = cut(encoded, {}, flush=False, parser="cri")
    ends, open_streams = [], set[str]()
    for index, line in enumerate(lines, start=1):
        stream, mark = line.split()[1:3]
        (open_streams.add if mark == "P" else open_streams.discard)(stream)
        if not open_streams:
            ends.append(index)
    assert [sum(counts[: index + 1]) for index in range(len(counts))] == ends


def test_what_no_container_wrote_neither_opens_nor_ends_a_line() -> None:
    """A line that cannot be read is in the block that it stands in, and holds up none."""
    part, end = b"2026-05-01T10:00:00Z stdout P x", b"2026-05-01T10:00:00Z stdout F x"
    assert cut([b"no such line", part, b"no such line", end, end], {}, flush=False, parser="cri") == [1, 3, 1]


def test_a_stream_that_never_ends_its_line_is_cut_at_the_limit() -> None:
    """No container can make the tailer hold ever more."""
    lines = [b"2026-05-01T10:00:00Z stdout P " + b"x" * 70] * 10
    assert cut(lines, {}, flush=False, parser="cri", limit=303) == [3, 3, 3]


def test_each_line_is_an_event_where_nothing_else_is_said() -> None:
    """Inputs without multi-line messages are not looked through."""
    assert cutter(ParserConfig(), None) is None


@pytest.mark.parametrize("preset", ["java", "python", "go"])
def test_a_preset_takes_time_in_proportion_to_the_line(preset: str) -> None:
    """No line can stop the tailer: parts that repeat are tried in one way only."""
    cut = cutter(ParserConfig(), MultilineConfig(preset=preset))  # type: ignore[arg-type]
    assert cut is not None
    parts = ("a.", "a.A", "Error", "Exception", "(", ")", "()", "(*a).", "[.", "... ", "\t", " ", "x: ")
    started = time.process_time()
    for part in parts:
        lines = [b"panic: x", b"Traceback (most recent call last):", (part * 10_000 + "!").encode(), b"end"]
        assert sum(cut(lines, True)) == len(lines)
        lines[2] = b"a.A" + lines[2]
        assert sum(cut(lines, True)) == len(lines)
    assert time.process_time() - started < 10.0
