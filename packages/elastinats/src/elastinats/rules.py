"""What a route changes in its documents: fields renamed, removed, added.

Pure. Flows in: a document. Flows out: the same, changed. Invariant: the envelope stays, nothing is overwritten, and a
document to which no rule applies comes out as it was.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

#: What makes an event an event: no rule may touch it.
ENVELOPE = frozenset({"_id", "@timestamp", "event.dataset", "event.sequence", "event.ingested", "dp", "dp.source"})


class Rules(NamedTuple):
    """Applied in this order; names are dotted paths, and a field may be written nested or with dots in its name."""

    rename: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    add: tuple[tuple[str, Any], ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return any(self)

    def apply(self, document: dict[str, Any]) -> None:
        """Change a document in place."""
        for old, new in self.rename:
            if (place := _find(document, old)) is not None and _find(document, new) is None:
                holder, key = place
                _set(document, new, holder.pop(key))
        for name in self.remove:
            while (place := _find(document, name)) is not None:
                holder, key = place
                del holder[key]
        for name, value in self.add:
            if _find(document, name) is None:
                _set(document, name, value)


NO_RULES = Rules()


def _find(fields: Any, path: str) -> tuple[dict[str, Any], str] | None:
    """Return the object that holds a field, and the field's name there."""
    if not isinstance(fields, dict):
        return None
    if path in fields:
        return fields, path
    parts = path.split(".")
    for cut in range(1, len(parts)):
        inner = _find(fields.get(".".join(parts[:cut])), ".".join(parts[cut:]))
        if inner is not None:
            return inner
    return None


def _set(document: dict[str, Any], path: str, value: Any) -> None:
    """Set a field that is not there: nested as far as objects lead, under its dotted name from where they end."""
    parts: Sequence[str] = path.split(".")
    holder = document
    while len(parts) > 1 and isinstance(holder.get(parts[0]), dict):
        holder, parts = holder[parts[0]], parts[1:]
    holder[".".join(parts)] = value


def rules_of(rename: Mapping[str, str], remove: Sequence[str], add: Mapping[str, Any]) -> Rules:
    """Return the rules that a route's tables give."""
    return Rules(tuple(rename.items()), tuple(remove), tuple(add.items()))


def touched(rules: Rules) -> set[str]:
    """Return the names that rules take away or set."""
    renamed = {name for pair in rules.rename for name in pair}
    return renamed | set(rules.remove) | {name for name, _ in rules.add}
