"""Which lines are wanted: `[[inputs.filters]]`. Pure.

Flows in: the text of an event. Flows out: the rule that drops it, or None. Invariant: the decision depends on the
text alone, so a line that is read again is dropped again, and sequences count what is shipped.
"""

from collections.abc import Callable, Sequence

import msgspec

from dataplane_common.errors import ConfigError, Overrun
from dataplane_tailer.parse.bounded import compile_pattern


class FilterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule: `drop` what matches, or `keep` only what matches; searched for anywhere in the text."""

    drop: str = ""
    keep: str = ""


#: text → the rule that drops it, as users know it (`drop "healthz"`), or None if it is shipped.
Decide = Callable[[str], str | None]


def decider(filters: Sequence[FilterConfig]) -> Decide | None:
    """Return what decides by all rules in turn, None without rules.

    Raises:
        ConfigError: a rule has not exactly one pattern, or that does not compile; the text begins with the key.
    """
    rules = [_rule(f"filters.{number}", entry) for number, entry in enumerate(filters)]

    def decide(text: str) -> str | None:
        for search, drops_found, name in rules:
            try:
                if (search(text) is not None) is drops_found:
                    return name
            except Overrun:
                continue  # rather one line too many
        return None

    return decide if rules else None


def _rule(where: str, entry: FilterConfig) -> tuple[Callable[[str], object], bool, str]:
    if bool(entry.drop) is bool(entry.keep):
        raise ConfigError(f"{where}: needs either drop or keep; write one [[inputs.filters]] table for each")
    verb, pattern = ("drop", entry.drop) if entry.drop else ("keep", entry.keep)
    return compile_pattern(f"{where}.{verb}", pattern).search, verb == "drop", f'{verb} "{pattern}"'
