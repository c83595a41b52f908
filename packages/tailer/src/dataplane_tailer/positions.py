"""Out-of-order acknowledgements, in-order checkpoints. Pure.

Flows in: positions in the order in which they were sent, acknowledgements in any order. Flows out: the highest position
whose predecessors are all acknowledged. Source: the algorithm of Jeffail/checkpoint.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


class Position(NamedTuple):
    """A place in a source: the offset behind the last event, that event's sequence, and how many lines were dropped."""

    offset: int
    sequence: int
    dropped: int = 0


def _not_on_its_way() -> None:
    """Stand in for the withdrawal of what is not sent by anybody."""


@dataclass(slots=True, eq=False)
class Sent:
    """One frame on its way; `guard` is what was read just before its end, `withdraw` has it sent no more."""

    upto: Position
    guard: bytes = b""
    withdraw: Callable[[], object] = _not_on_its_way
    is_acknowledged: bool = False


@dataclass(slots=True, eq=False)
class Positions:
    """What is on its way for one source. `resolved` is the checkpoint, `guard` what was read just before it."""

    resolved: Position
    guard: bytes = b""
    _sent: deque[Sent] = field(default_factory=deque)

    def track(self, upto: Position, guard: bytes = b"", withdraw: Callable[[], object] = _not_on_its_way) -> Sent:
        """Remember a frame that is about to be sent; frames are tracked in the order of their positions."""
        sent = Sent(upto, guard, withdraw)
        self._sent.append(sent)
        return sent

    def withdraw(self) -> "Positions":
        """Have nothing of this sent any more; return the checkpoint to begin again from."""
        for sent in self._sent:
            sent.withdraw()
        return Positions(self.resolved, self.guard)

    def resolve(self, sent: Sent) -> Position:
        """Mark a frame as acknowledged and return the checkpoint that this allows."""
        sent.is_acknowledged = True
        while self._sent and self._sent[0].is_acknowledged:
            first = self._sent.popleft()
            self.resolved, self.guard = first.upto, first.guard
        return self.resolved

    @property
    def last(self) -> Position:
        """The end of what was sent."""
        return self._sent[-1].upto if self._sent else self.resolved

    @property
    def waiting(self) -> int:
        """Frames sent and not yet covered by the checkpoint."""
        return len(self._sent)
