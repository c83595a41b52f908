"""Fields from the paths of files: `/var/log/{service}/*.log`. Pure.

Flows in: a pattern with placeholders. Flows out: the glob to search with, and for a path its fields. Invariant: a path
has fields exactly if the glob matches it; `{a,b}` and `{1..3}` stay what they are in globs.
"""

import re
from collections.abc import Callable, Iterable

from wcmatch import glob

from dataplane_common.errors import ConfigError

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*(?:\.\w+)*)\}", re.ASCII)
#: A placeholder beside another, or beside a `*`.
_ADJACENT = re.compile(rf"\*{_PLACEHOLDER.pattern}|{_PLACEHOLDER.pattern}(?:\*|{_PLACEHOLDER.pattern})", re.ASCII)
#: The same rules as in the search for files.
_FLAGS = glob.GLOBSTAR | glob.BRACE | glob.DOTGLOB
#: Characters for private use (Unicode, 23.5) that stand for placeholders while the glob becomes an expression.
_FIRST_MARK = 0xF0000
#: Placeholders that ECS has a name for; others without a dot are labels.
_ECS_NAMES = {
    "service": "service.name",
    "container": "container.name",
    "container_id": "container.id",
    "pod": "orchestrator.resource.name",
    "namespace": "orchestrator.namespace",
    "user": "user.name",
}
#: What a placeholder may not be: fields of the event itself.
_OWN = frozenset({"host.name", "log.offset", "log.file.path", "event.dataset", "event.sequence"})

#: path → fields.
FieldsOf = Callable[[str], dict[str, str]]


def glob_of(pattern: str) -> str:
    """Return the glob of a pattern: each placeholder is `?*`, at least one character, none of them a `/`."""
    return _PLACEHOLDER.sub("?*", pattern)


def field_of(placeholder: str) -> str:
    """Return the field that a placeholder fills: ECS's, the dotted name as it stands, or a label."""
    return _ECS_NAMES.get(placeholder, placeholder if "." in placeholder else f"labels.{placeholder}")


def fields_reader(patterns: Iterable[str]) -> FieldsOf:
    """Return what gives the fields of a path: those of the first pattern with placeholders that matches it."""
    readers = [_reader(pattern) for pattern in patterns if _PLACEHOLDER.search(pattern)]

    def fields_of(path: str) -> dict[str, str]:
        return next((fields for read in readers if (fields := read(path)) is not None), {})

    return fields_of


def check_paths(patterns: Iterable[str]) -> None:
    """Check the placeholders of an input's paths.

    Raises:
        ConfigError: one would be a field of the event itself, or two cannot be told apart; it begins with the key.
    """
    for pattern in patterns:
        if found := _ADJACENT.search(pattern):
            raise ConfigError(
                f'paths: "{found[0]}" in "{pattern}" has nothing between, so nobody can tell where a field ends'
            )
        for name in _PLACEHOLDER.findall(pattern):
            if field_of(name) in _OWN or name.startswith("dp."):
                raise ConfigError(f'paths: {{{name}}} in "{pattern}" belongs to the event itself; choose another name')


def _reader(pattern: str) -> Callable[[str], dict[str, str] | None]:
    names: list[str] = []

    def mark(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return chr(_FIRST_MARK + names.index(found[1]))

    marked = _PLACEHOLDER.sub(mark, pattern)
    found, _ = glob.translate(marked, flags=_FLAGS)
    expressions = [re.compile(_with_groups(expression, len(names))) for expression in found]
    fields = [field_of(name) for name in names]

    def read(path: str) -> dict[str, str] | None:
        for expression in expressions:
            if matched := expression.fullmatch(path):
                return {
                    field: value
                    for number, field in enumerate(fields)
                    if f"p{number}" in expression.groupindex and (value := matched[f"p{number}"]) is not None
                }
        return None

    return read


def _with_groups(expression: str, count: int) -> str:
    """Put a group for each placeholder; one that comes again has to be the same text again."""
    for number in range(count):
        mark = chr(_FIRST_MARK + number)
        expression = expression.replace(mark, f"(?P<p{number}>[^/]+)", 1).replace(mark, f"(?P=p{number})")
    return expression
