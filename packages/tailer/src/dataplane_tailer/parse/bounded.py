"""Regular expressions of the user's, none of which can hold up the tailer.

Flows in: a text. Flows out: a match, or `Overrun` after a bounded time. Invariant: one line takes about `LIMIT_S` of
CPU time at most, and all lines a small share of it: a pattern that overruns again and again rests for a while.
"""

import re
import time
from collections import Counter
from dataclasses import dataclass, field

from dataplane_common.errors import ConfigError, Overrun
from dataplane_common.lifecycle import CPU_WATCH
from dataplane_common.telemetry import get_logger

#: What one search may take: a hundred times what a good pattern takes for a line of 128 KiB.
LIMIT_S = 0.25
#: After so many overruns within the rest a pattern rests for the file, and after so many of all files for all of them.
_STRIKES, _STRIKES_OF_ALL = 4, 20
_REST_S = 60.0

#: How often a pattern was given up, in this process.
OVERRUNS: Counter[str] = Counter()


@dataclass(slots=True, eq=False)
class Breaker:
    """Breaks after `most` overruns that are no further apart than a rest, for the time of a rest."""

    most: int
    rests_until: float = 0.0
    _strikes: int = 0
    _struck_at: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it rests now."""
        return time.monotonic() < self.rests_until

    def strike(self) -> None:
        """Take in an overrun."""
        now_s = time.monotonic()
        self._strikes = self._strikes + 1 if now_s < self._struck_at + _REST_S else 1
        self._struck_at, self.rests_until = now_s, 0.0
        if self._strikes >= self.most:
            self._strikes, self.rests_until = 0, now_s + _REST_S


#: By pattern: those of all files.
_SHARED: dict[str, Breaker] = {}


@dataclass(slots=True, eq=False)
class Bounded:
    """A pattern whose every search ends soon."""

    pattern: re.Pattern[str]
    _ticks: int = field(init=False)
    _shared: Breaker = field(init=False)
    _own: Breaker = field(default_factory=lambda: Breaker(_STRIKES))

    def __post_init__(self) -> None:
        self._ticks = CPU_WATCH.ticks(LIMIT_S)
        self._shared = _SHARED.setdefault(self.pattern.pattern, Breaker(_STRIKES_OF_ALL))

    def search(self, text: str) -> re.Match[str] | None:
        """Search anywhere in a text.

        Raises:
            Overrun: it takes too long, or did so for lines before it.
        """
        if (self._own.rests_until or self._shared.rests_until) and (self._own.is_open or self._shared.is_open):
            raise Overrun("the pattern rests, for it took too long for other lines")
        CPU_WATCH.ticks_left = self._ticks
        try:
            return self.pattern.search(text)
        except Overrun:
            self._strike()
            raise Overrun(f"the pattern takes longer than {LIMIT_S} s") from None
        finally:
            CPU_WATCH.ticks_left = 0

    def _strike(self) -> None:
        self._own.strike()
        self._shared.strike()
        shown, advice = self.pattern.pattern, "have its repeats give nothing back (dataplane-tailer check)"
        OVERRUNS[shown] += 1
        get_logger("parse").warning("pattern.overrun", pattern=shown, rests=self._own.is_open, remedy=advice)


def compile_pattern(key: str, pattern: str) -> Bounded:
    """Compile a pattern of the configuration.

    Raises:
        ConfigError: it is empty or does not compile; the text begins with the key.
    """
    if not pattern:
        raise ConfigError(f"{key}: empty; write a regular expression of Python's re")
    try:
        return Bounded(re.compile(pattern))
    except re.error as error:
        raise ConfigError(f"{key}: '{pattern}' is no regular expression: {error}") from None
