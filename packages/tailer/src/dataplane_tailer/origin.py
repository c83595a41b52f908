"""What all events of one file share, and the count of what was made of its lines.

Flows in: a source, its path and its input's fields. Flows out: envelopes. Invariant: an envelope depends on nothing but
the file and the place in it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dataplane_common.event import ECS_VERSION, merge


@dataclass(frozen=True, slots=True)
class Origin:
    """What all events of one file share."""

    source: str
    path: str
    dataset: str
    host: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def envelope(self, offset: int, sequence: int) -> dict[str, Any]:
        """Return the envelope of the event at `offset`."""
        fixed = {
            "log": {"offset": offset, "file": {"path": self.path}},
            "host": {"name": self.host},
            "event": {"dataset": self.dataset, "sequence": sequence},
            "dp": {"source": self.source},
            "ecs": {"version": ECS_VERSION},
        }
        return merge({**self.fields, **_default_service(self)}, fixed)


def _default_service(origin: Origin) -> dict[str, Any]:
    named = "service.name" in origin.fields or "service" in origin.fields
    return {} if named else {"service.name": origin.dataset}


@dataclass(slots=True)
class Tally:
    """What was rendered, and how: lines that no parser understood, invalid in their encoding, dropped by rule.

    `whole` counts the same for all files of a dataset, those that are closed by now, too.
    """

    unparsed: int = 0
    invalid: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    whole: "Tally | None" = None

    def count(self, *, unparsed: int = 0, invalid: int = 0, dropped: str = "") -> None:
        """Count lines of one kind."""
        self.unparsed += unparsed
        self.invalid += invalid
        if dropped:
            self.dropped[dropped] += 1
        if self.whole is not None:
            self.whole.count(unparsed=unparsed, invalid=invalid, dropped=dropped)


#: What this process has rendered, by dataset: files come and go, these counts only grow.
TOTALS: dict[str, Tally] = {}
