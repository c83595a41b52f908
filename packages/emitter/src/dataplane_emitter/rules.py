"""What a logger's name decides: its dataset, the least level that passes, and whether it may pass at all.

Flows in: the configuration and names. Flows out: one remembered rule per name. Invariant: the longest configured
prefix wins, and a prefix ends at a dot: `app` is about `app` and `app.db`, not about `apple`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from dataplane_common.taxonomy import Signal
from dataplane_emitter import level
from dataplane_emitter.envelope import Envelope, RoutePair
from dataplane_emitter.limit import Limit
from dataplane_emitter.settings import EmitterConfig

#: Names that are remembered; an application that makes up names for ever starts the memory anew.
_MAX_REMEMBERED = 4_096
#: Passes whatever the logger: an exception that nobody retrieved is worth more than silence.
_WARNING = 30
#: Above every level: nothing passes.
_NOTHING = 1_000_000
_ValueT = TypeVar("_ValueT")


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Where a logger's events go, the least level number that they need, and what limits them."""

    routes: RoutePair
    least: int
    limit: Limit | None


class Rules:
    """Rules by logger name."""

    def __init__(self, config: EmitterConfig, envelope: Envelope) -> None:
        self._config = config
        self._envelope = envelope
        self.limits = [(limit.logger, Limit(limit)) for limit in config.limits]
        self._known: dict[str | None, Rule] = {}

    def of(self, logger: str | None) -> Rule:
        """Return the rule of a logger; None is a logger without a name."""
        found = self._known.get(logger)
        if found is None:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known = {}
            found = self._known[logger] = self._decide(logger or "")
        return found

    def _decide(self, logger: str) -> Rule:
        dataset = _longest(self._config.datasets, logger, self._config.dataset)
        routes = self._envelope.routes(Signal.LOGS, dataset)
        wanted = _longest(self._config.levels, logger, "")
        least = level.from_name(wanted).number if wanted else 0
        if any(is_under(logger, prefix) for prefix in self._config.ignore_loggers):
            least = max(least, _WARNING) if is_under(logger, "asyncio") else _NOTHING
        limits = dict(reversed(self.limits))  # of two for one logger the first counts
        return Rule(routes, least, _longest(limits, logger, limits.get("")))


def is_under(logger: str, prefix: str) -> bool:
    """Tell whether a logger is the one of that name, or below it."""
    return logger == prefix or logger.startswith(f"{prefix}.")


def _longest(by_prefix: Mapping[str, _ValueT], logger: str, default: _ValueT) -> _ValueT:
    fitting: Iterable[str] = (prefix for prefix in by_prefix if is_under(logger, prefix))
    best = max(fitting, key=len, default=None)
    return default if best is None else by_prefix[best]
