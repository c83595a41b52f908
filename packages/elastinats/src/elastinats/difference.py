"""What putting a template would change, for a person.

Pure. Flows in: a template as the server has it and as it shall be. Flows out: lines, `-` for what goes and `+` for
what comes. Invariant: two spellings of one setting (nested or dotted, number or text) are no difference.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

#: Ours alone, and different each time.
_MARK = "_meta"


def difference(present: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> list[str]:
    """Return the lines that differ, by path."""
    old = dict(_leaves(present)) if present else {}
    new = dict(_leaves(wanted))
    lines = []
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            lines += [f"- {path}: {old[path]}"] if path in old else []
            lines += [f"+ {path}: {new[path]}"] if path in new else []
    return lines


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            if key != _MARK:
                yield from _leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{number}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)
