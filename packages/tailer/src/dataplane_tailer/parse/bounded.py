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
#: After so many overruns within the rest, a pattern rests.
_STRIKES = 4
_REST_S = 60.0

#: How often a pattern was given up, in this process.
OVERRUNS: Counter[str] = Counter()


@dataclass(slots=True, eq=False)
class Bounded:
    """A pattern whose every search ends soon."""

    pattern: re.Pattern[str]
    _ticks: int = field(init=False)
    _strikes: int = 0
    _struck_at: float = 0.0
    _rests_until: float = 0.0

    def __post_init__(self) -> None:
        self._ticks = CPU_WATCH.ticks(LIMIT_S)

    def search(self, text: str) -> re.Match[str] | None:
        """Search anywhere in a text.

        Raises:
            Overrun: it takes too long, or did so for lines before it.
        """
        if self._rests_until and time.monotonic() < self._rests_until:
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
        now_s, shown = time.monotonic(), self.pattern.pattern
        OVERRUNS[shown] += 1
        self._strikes = self._strikes + 1 if now_s < self._struck_at + _REST_S else 1
        self._struck_at, self._rests_until = now_s, 0.0
        if self._strikes >= _STRIKES:
            self._strikes, self._rests_until = 0, now_s + _REST_S
        advice = "have its repeats give nothing back (dataplane-tailer check)"
        get_logger("parse").warning("pattern.overrun", pattern=shown, rests=bool(self._rests_until), remedy=advice)


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
