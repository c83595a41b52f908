"""How long to wait before the next try: exponential with full jitter, capped.

Pure: callers sleep, schedule or ask the server to redeliver after the delay that this returns.
Source: "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), the "full jitter" variant,
with a floor so that a retry is never immediate.
"""

import random
from dataclasses import dataclass

#: Not Python's shared generator: within an application that has seeded that one, it stays the application's.
_chance = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Backoff:
    """A rule for delays in seconds: grows by a factor of two per attempt from `initial_s` up to `max_s`."""

    initial_s: float = 0.1
    max_s: float = 10.0

    def delay_s(self, attempt: int) -> float:
        """Return the delay before try number `attempt + 1`, between a quarter and all of the step, jittered."""
        step_s = min(self.max_s, self.initial_s * 2.0 ** min(attempt, 32))
        return step_s * _chance.uniform(0.25, 1.0)
