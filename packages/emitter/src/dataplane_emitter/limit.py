"""How many log events pass: sampling and rate limits, with exact counts of what they hold back.

Flows in: one question per log call. Flows out: a reason to hold the event back, or none, and for the next one that
passes the count of those held back since. Invariant: each event held back is in exactly one such count, over any number
of threads; what no later event carries is handed out by `pending`.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dataplane_emitter import level
from dataplane_emitter.settings import LimitConfig

SAMPLED = "sampled"
RATE_LIMITED = "rate_limited"
#: Reasons that the configuration asked for: accounted, but no trouble.
INTENDED = frozenset({SAMPLED, RATE_LIMITED})
#: Loggers, levels and messages that are told apart; those beyond share one limit.
_MAX_WINDOWS = 4_096
Key = tuple[str, str, str]
_OTHERS: Key = ("", "", "")
#: Not Python's shared generator: an application that has seeded that one gets the numbers it counts on.
_chance = random.SystemRandom()


@dataclass(slots=True)
class _Window:
    """What one key may still send, and what was held back since its last event passed."""

    tokens: float
    filled_at: float
    suppressed: int = 0


class Limit:
    """One limit of the configuration."""

    def __init__(self, config: LimitConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._sample = config.sample
        self._per_second = config.per_second
        self._burst = float(config.burst or max(1.0, config.per_second))
        self._max_number = level.from_name(config.max_level).number
        self._by_message = config.by == "message"
        self._clock = clock
        self._lock = threading.RLock()
        self._windows: dict[Key, _Window] = {}

    def admit(self, logger: str, found: level.Level, message: str) -> str | int:
        """Return why an event is held back, or how many were since the last one of its kind that passed."""
        if found.number > self._max_number:
            return 0
        with self._lock:
            window = self._window((logger, found.name, message if self._by_message else ""))
            reason = self._refusal(window)
            if reason:
                window.suppressed += 1
                return reason
            carried, window.suppressed = window.suppressed, 0
        return carried

    def pending(self) -> Iterator[tuple[Key, int]]:
        """Yield (logger, level, message) and count of what was held back and not carried yet, and forget it."""
        with self._lock:
            waiting = [(key, window) for key, window in self._windows.items() if window.suppressed]
            counts = [(key, window.suppressed) for key, window in waiting]
            for _, window in waiting:
                window.suppressed = 0
            if len(self._windows) >= _MAX_WINDOWS:
                self._windows = {}
        yield from counts

    def _window(self, key: Key) -> _Window:
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= _MAX_WINDOWS and key != _OTHERS:
                return self._window(_OTHERS)
            window = self._windows[key] = _Window(self._burst, self._clock())
        return window

    def _refusal(self, window: _Window) -> str:
        if self._sample < 1 and _chance.random() >= self._sample:
            return SAMPLED
        if not self._per_second:
            return ""
        now = self._clock()
        window.tokens = min(self._burst, window.tokens + (now - window.filled_at) * self._per_second)
        window.filled_at = now
        if window.tokens < 1:
            return RATE_LIMITED
        window.tokens -= 1
        return ""
