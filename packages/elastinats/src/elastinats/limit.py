"""How many bulk requests may be on their way at once: fewer when the server is short of room, more again later.

Flows in: what the requests met. Flows out: permission to send. Invariant: never more than the maximum, never none.
Source: additive increase, multiplicative decrease (RFC 5681).
"""

import asyncio
from types import TracebackType


class Limit:
    """An adaptive semaphore: `async with` it around each request."""

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.in_use = 0
        self._allowed = float(maximum)
        self._changed = asyncio.Condition()

    @property
    def allowed(self) -> int:
        """How many requests may be out now."""
        return max(1, int(self._allowed))

    def slow_down(self) -> None:
        """Halve what is allowed: the server said that it is too much."""
        self._allowed = max(1.0, self._allowed / 2)

    def speed_up(self) -> None:
        """Allow a little more: after as many good answers as are allowed, one more request."""
        self._allowed = min(float(self.maximum), self._allowed + 1 / max(1.0, self._allowed))

    async def __aenter__(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.in_use < self.allowed)
            self.in_use += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._changed:
            self.in_use -= 1
            self._changed.notify_all()
