"""What the sink has done, as numbers that add up.

Flows in: what each stage did. Flows out: Prometheus metrics. Invariant, at any moment:
received = indexed + duplicate + failure_store + dropped + dead_lettered + returned + in_flight.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from elastinats.backlog import Backlog
from elastinats.limit import Limit

#: Names of fields come from anyone; a metric must not have a label value for each of them.
_MOST_FIELDS = 200
_OTHER_FIELDS = "(others)"
_BULK_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(slots=True)
class Counts:
    """Events unless the name says otherwise; `returned` went back to the stream undone, when the sink stopped."""

    messages: int = 0
    payload_bytes: int = 0
    received: int = 0
    indexed: int = 0
    duplicate: int = 0
    failure_store: int = 0
    dropped: int = 0
    returned: int = 0
    retried: int = 0
    looked_up: int = 0
    taken_back: int = 0
    doubled: int = 0
    dead_lettered: Counter[str] = field(default_factory=Counter)
    type_conflicts: Counter[str] = field(default_factory=Counter)
    bulks: Counter[str] = field(default_factory=Counter)
    bulk_bytes: int = 0

    def conflict(self, field_name: str) -> None:
        """Count an event that was refused for the type of a field, by its name while there are not too many of them."""
        known = field_name in self.type_conflicts or len(self.type_conflicts) < _MOST_FIELDS
        self.type_conflicts[field_name if known else _OTHER_FIELDS] += 1

    @property
    def in_flight(self) -> int:
        """Events that were received and are not done."""
        done = self.indexed + self.duplicate + self.failure_store + self.dropped + self.returned
        return self.received - done - self.dead_lettered.total()


class Metrics(Collector):
    """The counts as Prometheus sees them, and how long bulk requests took."""

    def __init__(self, counts: Counts, limit: Limit) -> None:
        self._counts = counts
        self._limit = limit
        self.backlogs: dict[str, Backlog] = {}
        self.registry = CollectorRegistry()
        self.bulk_seconds = Histogram(
            "elastinats_bulk_seconds", "How long bulk requests took", buckets=_BULK_SECONDS, registry=self.registry
        )
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        counts = self._counts
        plain = {
            "received_messages": (counts.messages, "Messages taken from JetStream, repeats included"),
            "received_bytes": (counts.payload_bytes, "Their payloads, as they came"),
            "received_events": (counts.received, "Events in them"),
            "indexed_events": (counts.indexed, "Events that became documents"),
            "duplicate_events": (counts.duplicate, "Events that were there already, confirmed by their content"),
            "failure_store_events": (counts.failure_store, "Events that Elasticsearch put into its failure store"),
            "dropped_events": (counts.dropped, "Events of routes that drop them"),
            "returned_events": (counts.returned, "Events handed back undone when the sink stopped"),
            "retried_events": (counts.retried, "Events sent again after an answer that time can mend"),
            "looked_up_events": (counts.looked_up, "Re-sent events looked up in older backing indices"),
            "taken_back_events": (counts.taken_back, "Second copies deleted that a rollover had let in"),
            "doubled_events": (counts.doubled, "Second copies that could not be deleted for lack of rights"),
            "bulk_bytes": (counts.bulk_bytes, "Bodies of bulk requests before compression"),
        }
        for name, (value, text) in plain.items():
            yield CounterMetricFamily(f"elastinats_{name}", text, value=value)
        yield _labelled("dead_letter_events", "Events stored as dead letters", "reason", counts.dead_lettered)
        yield _labelled("type_conflict_events", "Events refused for a field's type", "field", counts.type_conflicts)
        yield _labelled("bulk_requests", "Bulk requests by the status of their answer", "status", counts.bulks)
        yield GaugeMetricFamily("elastinats_in_flight_events", "Events received and not done", value=counts.in_flight)
        yield GaugeMetricFamily("elastinats_allowed_bulks", "Bulk requests allowed at once", value=self._limit.allowed)
        yield GaugeMetricFamily("elastinats_running_bulks", "Bulk requests on their way", value=self._limit.in_use)
        yield from self._collect_backlogs()

    def _collect_backlogs(self) -> Iterator[Metric]:
        told: tuple[tuple[type[GaugeMetricFamily | CounterMetricFamily], str, str, Callable[[Backlog], float]], ...] = (
            (GaugeMetricFamily, "waiting_messages", "Messages that are not settled", lambda each: each.waiting),
            (GaugeMetricFamily, "lag_seconds", "Age of the oldest unsettled message", lambda each: each.lag_s),
            (GaugeMetricFamily, "retention_seconds", "Time until the first is deleted", lambda each: each.retention_s),
            (CounterMetricFamily, "expired_unread_messages", "Messages deleted unread", lambda each: each.expired),
        )
        for family, name, text, value in told:
            made = family(f"elastinats_{name}", text, labels=["consumer"])
            for consumer, backlog in sorted(self.backlogs.items()):
                made.add_metric([consumer], value(backlog))
            yield made


def _labelled(name: str, text: str, label: str, values: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"elastinats_{name}", text, labels=[label])
    for value, count in sorted(values.items()):
        family.add_metric([value], count)
    return family
