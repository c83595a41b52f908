"""Names of members that can stay where they are: no dots, not blank. Pure.

Flows in: objects of a record. Flows out: whether `event.merge` would leave all their names alone. Invariant: when in
doubt it is "no", and the record takes the long way.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

#: Names that are remembered as plain; those of all programs on a host are few.
_NAMES_KEPT = 8192
#: Deeper objects are left to the long way.
_DEEP = 8
_PLAIN = re.compile(r"[^\s.][^.]*")
#: Names that were found plain.
KNOWN: set[str] = set()


def are_plain(names: Iterable[str]) -> bool:
    """Tell whether no name has a dot or begins with white space, or is empty."""
    return KNOWN.issuperset(names) or all(_is_plain(name) for name in names)


def _is_plain(name: str) -> bool:
    if _PLAIN.fullmatch(name) is None:
        return False
    if len(KNOWN) < _NAMES_KEPT:
        KNOWN.add(name)
    return True


def have_plain_names(values: Mapping[str, Any]) -> bool:
    """Tell whether the objects among an object's values have plain names only, all the way down."""
    for value in values.values():  # a loop, for all() costs three times as much here
        kind = value.__class__
        if (kind is dict or kind is list) and not _is_plain_value(value, _DEEP):
            return False
    return True


def _is_plain_value(value: Any, depth: int) -> bool:
    if value.__class__ is dict:
        if depth == 0 or not are_plain(value):
            return False
        value = value.values()
    elif value.__class__ is not list:
        return True
    for inner in value:
        kind = inner.__class__
        if (kind is dict or kind is list) and (depth == 0 or not _is_plain_value(inner, depth - 1)):
            return False
    return True
