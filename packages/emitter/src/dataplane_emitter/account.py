"""The emitter's running account of its one source: what was accepted, what became of it.

Flows in: the queue's counts, acknowledgements, losses. Flows out: ledger accounts. Invariant: accepted = acknowledged +
in flight + spooled + dropped; sequences are given out when events are framed, so what the queue drops leaves no gap.
"""

from dataplane_common import event
from dataplane_common.ledger import SourceAccount
from dataplane_emitter import moment
from dataplane_emitter.queue import BoundedQueue
from dataplane_emitter.settings import EmitterConfig


class Account:
    """Counts for one source. Sequences and acknowledgements belong to the emitter's own thread."""

    def __init__(self, config: EmitterConfig, queue: BoundedQueue) -> None:
        self.source = event.new_source()
        self.acknowledged = 0
        self.last_sequence = 0
        self.spooled = 0
        self._config = config
        self._queue = queue
        self._started_at = moment.now()
        self._last_at = self._started_at
        self._told: tuple[int, ...] = (0, 0, 0, 0)

    @property
    def in_flight(self) -> int:
        """Events accepted and neither acknowledged, dropped nor on disk: in the queue, or on their way."""
        counts = self._queue.counts()
        return counts.accepted - self.acknowledged - self.spooled - sum(counts.dropped.values())

    def next_sequences(self, count: int) -> int:
        """Give out `count` sequence numbers and return the first."""
        first = self.last_sequence + 1
        self.last_sequence += count
        return first

    def acknowledge(self, count: int) -> None:
        """Count events that the server has confirmed."""
        self.acknowledged += count
        self._last_at = moment.now()

    def drop(self, reason: str, count: int) -> None:
        """Count events that were taken from the queue and will never arrive."""
        self._queue.drop(reason, count)

    def acknowledge_spooled(self, count: int) -> None:
        """Count events of the spool that the server has confirmed."""
        self.spooled -= count
        self.acknowledge(count)

    def drop_spooled(self, reason: str, count: int) -> None:
        """Count events of the spool that will never arrive."""
        self.spooled -= count
        self.drop(reason, count)

    def abandon(self, reason: str) -> int:
        """Count everything that is on its way, outside the queue, as dropped; return how much that was."""
        lost = max(0, self.in_flight - len(self._queue))
        if lost:
            self.drop(reason, lost)
        return lost

    def has_news(self) -> bool:
        """Tell whether anything changed since the last ledger."""
        return self._figures() != self._told

    def ledger(self, *, final: bool = False) -> SourceAccount:
        """Return the account for a ledger message, and remember that it was told."""
        self._told = self._figures()
        return self.figures(final=final)

    def figures(self, *, final: bool = False) -> SourceAccount:
        """Return the account as it is now."""
        counts = self._queue.counts()
        return SourceAccount(
            source=self.source,
            dataset=self._config.dataset,
            namespace=self._config.namespace,
            host=self._config.host,
            service=self._config.service,
            accepted=counts.accepted,
            acknowledged=self.acknowledged,
            in_flight=counts.accepted - self.acknowledged - self.spooled - sum(counts.dropped.values()),
            spooled=self.spooled,
            dropped=counts.dropped,
            last_sequence=self.last_sequence,
            first_at=self._started_at,
            last_at=self._last_at,
            final=final,
        )

    def _figures(self) -> tuple[int, ...]:
        counts = self._queue.counts()
        return counts.accepted, self.acknowledged, self.spooled, sum(counts.dropped.values())
