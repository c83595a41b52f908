"""How fast files grow and how fast they are acknowledged, from looking at them more than once. Pure.

Flows in: sizes and checkpoints with their times. Flows out: rates, and how old the oldest waiting byte is.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

#: Rates are over the last looks, a minute of them with one each second.
_LOOKS = 60


class Look(NamedTuple):
    """What one look at a source showed, at a time in seconds since the epoch."""

    at: float
    size: int
    offset: int


@dataclass(slots=True)
class Trend:
    """The last looks at one source."""

    looks: deque[Look] = field(default_factory=lambda: deque(maxlen=_LOOKS))

    def add(self, look: Look) -> None:
        """Take a look; one that shows less than before begins anew."""
        if self.looks and (look.size < self.looks[-1].size or look.offset < self.looks[-1].offset):
            self.looks.clear()
        self.looks.append(look)

    @property
    def grown_bytes_s(self) -> float:
        """Bytes a second that were written."""
        return _rate(self.looks, "size")

    @property
    def acknowledged_bytes_s(self) -> float:
        """Bytes a second that were acknowledged."""
        return _rate(self.looks, "offset")

    def lag_s(self, written_at: float) -> float:
        """Return how long the oldest byte that is not acknowledged has waited, in seconds.

        Known from the looks if one of them is older than that byte; else estimated by the rate of writing; at least the
        time since the last write (`written_at`, seconds since the epoch).
        """
        if not self.looks or self.looks[-1].size <= self.looks[-1].offset:
            return 0.0
        now = self.looks[-1]
        before = [look.at for look in self.looks if look.size <= now.offset]
        if before:
            return now.at - before[-1]
        quiet_s = max(0.0, now.at - written_at)
        rate = self.grown_bytes_s
        return quiet_s + (now.size - now.offset) / rate if rate > 0 else quiet_s


def _rate(looks: "deque[Look]", name: str) -> float:
    if len(looks) < 2 or looks[-1].at <= looks[0].at:  # noqa: PLR2004 - a rate needs two looks
        return 0.0
    grown: float = getattr(looks[-1], name) - getattr(looks[0], name)
    return grown / (looks[-1].at - looks[0].at)
