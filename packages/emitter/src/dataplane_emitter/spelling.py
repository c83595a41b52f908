"""Names in the environment that look like misspelt settings.

Flows in: the names of variables with our prefix. Flows out: what may have been meant, and a line about it. Invariant:
the prefix is shared with other programs, so a likeness is said and never refused, and values are not looked at.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import get_origin

import msgspec

from dataplane_common import config
from dataplane_emitter.settings import EmitterConfig

_PREFIX = "DATAPLANE_"
#: How alike two names must be, as `difflib` measures it: `TEST_SERVERS` and `NATS__SERVERS`, which have nothing to do
#: with each other, are at 0.8, and one wrong letter in eight at 0.88.
_LIKENESS = 0.85
#: The same for a section, where two underscores already say that a setting of the product is meant.
_SECTION_LIKENESS = 0.8
#: Names of the product's other programs that are as near as that to one of ours.
_OTHERS = frozenset({"NATS_USER"})
_said: set[str] = set()


def doubts() -> Iterator[str]:
    """Yield one line for each doubtful name in the environment, once per process."""
    for name, meant in doubtful(config.environment_names()).items():
        if name not in _said:
            _said.add(name)
            yield f"the environment: {name}: unknown setting, ignored; did you mean {meant}?"


def doubtful(names: Iterable[str]) -> dict[str, str]:
    """Return those of the names that are no setting's but nearly so, each with the setting that may be meant.

    What is wrong below a section that we know (`DATAPLANE_NATS__SERVRS`) is refused where settings are read.
    """
    settings, sections = _known(EmitterConfig)
    found = {}
    for name in names:
        key = name.removeprefix(_PREFIX)
        section, dots, rest = key.partition("__")
        if section in settings or section in sections or key in _OTHERS or not name.isidentifier():
            continue
        if close := difflib.get_close_matches(key, settings, n=1, cutoff=_LIKENESS):
            found[name] = f"{_PREFIX}{close[0]}"
        elif dots and (close := difflib.get_close_matches(section, sections, n=1, cutoff=_SECTION_LIKENESS)):
            found[name] = f"{_PREFIX}{close[0]}__{rest}"
    return found


def _known(kind: type[msgspec.Struct]) -> tuple[list[str], list[str]]:
    """Return the names of all settings that a text can give, those in sections included, and the names of sections."""
    settings: list[str] = []
    sections: list[str] = []
    for field in msgspec.structs.fields(kind):
        name = field.encode_name.upper()
        inner = None if get_origin(field.type) is tuple else config.struct_in(field.type)
        if inner is not None:
            settings += [f"{name}__{key}" for key in _known(inner)[0]]
        is_section = inner is not None or get_origin(field.type) is dict
        (sections if is_section else settings).append(name)
    return settings, sections
