"""Which lines form one event: multi-line messages and the partial lines of containers. Pure.

Flows in: the complete lines of a chunk, from the beginning of an event. Flows out: how many lines each complete event
has; the rest is open. Invariant: a cut depends on the lines since the event's first one and on the line behind it
alone, so the events are the same however the file is read. Time is the caller's: it calls with `flush`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import msgspec

from dataplane_common.errors import ConfigError, Overrun
from dataplane_tailer.encoding import decode
from dataplane_tailer.parse.bounded import Bounded, compile_pattern
from dataplane_tailer.parse.container import READERS, ReadPart
from dataplane_tailer.parse.options import ParserConfig


class MultilineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[inputs.multiline]`: one of `start` (a line that begins an event), `continuation` (that goes on), `preset`.

    An event has at most `max_lines` lines and `max_bytes` bytes, its newlines counted; a line above that is an event of
    its own. `timeout_ms` is how long an event's last lines may rest before it counts as complete.
    """

    start: str = ""
    continuation: str = ""
    preset: Literal["", "java", "python", "go"] = ""
    max_lines: int = 500
    max_bytes: int = 128 * 1024
    timeout_ms: int = 1_000


@dataclass(frozen=True, slots=True)
class Grammar:
    """How lines hang together.

    A line that matches `begins` starts an event, one that matches `goes_on` does not. After a line that matches
    `enters`, `inside` holds as well, until `leaves` has matched a line, which still belongs to the event.
    """

    begins: Bounded | None = None
    goes_on: Bounded | re.Pattern[str] | None = None
    enters: re.Pattern[str] | None = None
    inside: re.Pattern[str] | None = None
    leaves: re.Pattern[str] | None = None


#: (lines, flush) → numbers of lines of the complete events at the start; with `flush` nothing stays open.
Cut = Callable[[Sequence[bytes], bool], list[int]]


class _Follower(Protocol):
    """What is known of the event that is being put together."""

    @property
    def is_closed(self) -> bool:
        """Whether no line can go on with it any more, whatever comes."""

    def follows(self, text: str) -> bool:
        """Tell whether a line goes on with the event, and take it in."""


#: Each takes time in proportion to the line, so that no line can stop the tailer: of two neighbouring parts that could
#: share a text, the first gives nothing back.
_PRESETS = {
    # Frames, causes, and the exception's own line behind the line that logged it (java.lang.Throwable).
    "java": Grammar(
        goes_on=re.compile(
            r"^(?:\s|$|Caused by:|Suppressed:|\.\.\. \d+ (?:more|common frames)"
            r"|(?:[a-z_][\w$]*+\.)++(?=[\w$]+?(?:Exception|Error|Throwable|Failure|Interrupt))[A-Z][\w$]*+(?::|\s*+$))"
        )
    ),
    # A traceback ends with the first line that is not indented: the exception (traceback module).
    "python": Grammar(
        goes_on=re.compile(
            r"^(?:\s|$|Traceback \(most recent call last\):|During handling of the above exception|"
            r"The above exception was the direct cause)"
        ),
        enters=re.compile(r"\s*(?:\+ Exception Group )?Traceback \(most recent call last\):"),
        inside=re.compile(r""),
        leaves=re.compile(r"[^\s]"),
    ),
    # A panic and the goroutines it prints (runtime/debug).
    "go": Grammar(
        goes_on=re.compile(r"^(?:\s|$|goroutine \d+ \[|created by |\[signal |exit status \d)"),
        enters=re.compile(r"panic: |fatal error: |goroutine \d+ \[|runtime stack:"),
        inside=re.compile(
            r"[\w./$~%\[\]-]++(?:\(\*?[\w.\[\]]++\)\.[\w./$~%\[\]-]++)?+\(.*\)$|runtime stack:|r\w+\s+0x|panic: |\.\.\."
        ),
    ),
}
#: A block of container lines is cut here even if a stream stays open all the time; a runtime cuts lines at 16 KiB.
_BLOCK_LINES = 500
_BLOCK_BYTES = 128 * 1024


def cutter(
    config: ParserConfig,
    multiline: MultilineConfig | None,
    encoding: str = "utf-8",
    *,
    newline_length: int = 1,
    max_bytes: int = _BLOCK_BYTES,
) -> Cut | None:
    """Return what cuts the lines of an input into events, None where each line is one.

    A chunk of at least `max_bytes` (or the input's own limit, if that is lower) and a line always has a complete event.

    Raises:
        ConfigError: as `check_multiline`.
    """
    if config.parser in READERS:
        read = READERS[config.parser]
        limits = _Limits(_BLOCK_LINES, max_bytes, newline_length)
        return _cutter(lambda: _Streams(read), limits, encoding)
    if multiline is None:
        return None
    grammar = grammar_of(multiline)
    limits = _Limits(multiline.max_lines, min(multiline.max_bytes, max_bytes), newline_length)
    return _cutter(lambda: _Message(grammar), limits, encoding)


def check_multiline(config: ParserConfig, multiline: MultilineConfig | None) -> None:
    """Check `[inputs.multiline]`.

    Raises:
        ConfigError: not exactly one way to tell events apart, a pattern that does not compile, a limit below one line;
            the text begins with the key.
    """
    if multiline is None:
        return
    if config.parser in READERS:
        raise ConfigError(f'multiline: parser "{config.parser}" joins partial lines by itself; remove the table')
    for key in ("max_lines", "max_bytes", "timeout_ms"):
        if getattr(multiline, key) < 1:
            raise ConfigError(f"multiline.{key}: {getattr(multiline, key)} is too small; at least 1")
    grammar_of(multiline)


def grammar_of(multiline: MultilineConfig) -> Grammar:
    """Return the grammar that an input asks for.

    Raises:
        ConfigError: see `check_multiline`.
    """
    if sum(map(bool, (multiline.start, multiline.continuation, multiline.preset))) != 1:
        raise ConfigError("multiline: needs one of start, continuation and preset")
    if multiline.preset:
        return _PRESETS[multiline.preset]
    if multiline.start:
        return Grammar(begins=compile_pattern("multiline.start", multiline.start))
    return Grammar(goes_on=compile_pattern("multiline.continuation", multiline.continuation))


class _Limits(NamedTuple):
    """What an event may hold, and how many bytes a newline counts."""

    lines: int
    bytes: int
    newline_length: int


def _cutter(begin: Callable[[], _Follower], limits: _Limits, encoding: str) -> Cut:
    def cut(lines: Sequence[bytes], flush: bool) -> list[int]:  # noqa: FBT001 - the one switch of the interface
        counts: list[int] = []
        count, size = 0, 0
        event = begin()
        for line in lines:
            text, _ = decode(line, encoding)
            length = len(line) + limits.newline_length
            is_full = size + length > limits.bytes or count >= limits.lines
            if count and (event.is_closed or is_full or not event.follows(text)):
                counts.append(count)
                count, size = 0, 0
            if count == 0:
                event = begin()
                event.follows(text)
            count += 1
            size += length
        if count and (flush or event.is_closed or count >= limits.lines or size >= limits.bytes):
            counts.append(count)
        return counts

    return cut


class _Message:
    """A message of several lines."""

    is_closed = False

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._is_inside = False

    def follows(self, text: str) -> bool:
        grammar = self._grammar
        goes_on = self._goes_on(text)
        if grammar.enters is not None and grammar.enters.match(text):
            self._is_inside = True
        elif self._is_inside and grammar.leaves is not None and grammar.leaves.match(text):
            self._is_inside = False
        return goes_on

    def _goes_on(self, text: str) -> bool:
        grammar = self._grammar
        try:
            if grammar.begins is not None:
                return grammar.begins.search(text) is None
            if grammar.goes_on is not None and grammar.goes_on.search(text):
                return True
        except Overrun:  # as if it did not match
            return grammar.begins is not None
        return self._is_inside and grammar.inside is not None and grammar.inside.match(text) is not None


class _Streams:
    """Lines of a container: they hang together as long as the line of any stream is partial."""

    def __init__(self, read: ReadPart) -> None:
        self._read = read
        self._open: set[str] = set()

    @property
    def is_closed(self) -> bool:
        return not self._open

    def follows(self, text: str) -> bool:
        part = self._read(text)
        if not part.problem:
            (self._open.add if part.goes_on else self._open.discard)(part.stream)
        return True
