"""Collects parts until a bulk request is worth sending.

Pure: time is an argument. Flows in: parts. Flows out: lists of parts.
Invariant: the first part always fits; the size is checked before adding, so that a batch passes a limit only if a
single part does.
"""

from dataclasses import dataclass, field

from elastinats.config import BatchConfig
from elastinats.part import Part


@dataclass(slots=True)
class Batch:
    """Parts for one bulk request; `size` in bytes, `count` in events, times in seconds of one monotonic clock."""

    limits: BatchConfig
    parts: list[Part] = field(default_factory=list)
    size: int = 0
    count: int = 0
    first_at: float = 0.0

    def fits(self, part: Part) -> bool:
        """Tell whether the part can be added without passing a limit."""
        if not self.parts:
            return True
        return self.size + len(part.body) <= self.limits.max_bytes and self.count + part.count <= self.limits.max_count

    def add(self, part: Part, now_s: float) -> None:
        """Add a part; the linger counts from the first one."""
        if not self.parts:
            self.first_at = now_s
        self.parts.append(part)
        self.size += len(part.body)
        self.count += part.count

    def due_in_s(self, now_s: float) -> float | None:
        """Return how long the batch may still wait: 0 if it is to be sent now, None if it is empty."""
        if not self.parts:
            return None
        if self.size >= self.limits.max_bytes or self.count >= self.limits.max_count:
            return 0.0
        return max(0.0, self.first_at + self.limits.linger_ms / 1000 - now_s)

    def take(self) -> list[Part]:
        """Return the parts and begin anew."""
        parts, self.parts, self.size, self.count = self.parts, [], 0, 0
        return parts
