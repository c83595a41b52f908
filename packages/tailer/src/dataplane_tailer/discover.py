"""Finds the files that the inputs name.

Flows in: patterns with `*`, `**` and `{a,b}`. Flows out: regular files by device and inode, each once.
Invariant: a file that has several names (hard links, symbolic links) is found under one of them only.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wcmatch import fnmatch, glob

from dataplane_common.telemetry import get_logger
from dataplane_tailer.config import InputConfig
from dataplane_tailer.identity import FileKey, key_of
from dataplane_tailer.path_fields import glob_of

_GLOB_FLAGS = glob.GLOBSTAR | glob.BRACE | glob.DOTGLOB | glob.NOUNIQUE
_NAME_FLAGS = fnmatch.BRACE


@dataclass(frozen=True, slots=True)
class Found:
    """A file as the file system shows it now; `modified_at` in seconds since the epoch."""

    path: str
    key: FileKey
    size: int
    entry: InputConfig
    modified_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between the files that are open and those that were found."""

    new: list[Found]
    moved: list[tuple[FileKey, str]]
    gone: list[FileKey]


def find(inputs: Iterable[InputConfig]) -> dict[FileKey, Found]:
    """Return all files that the inputs match; the first input that matches a file has it."""
    found: dict[FileKey, Found] = {}
    for entry in inputs:
        for path in sorted(set(_matches(entry))):
            try:
                looked_at = os.stat(path)  # noqa: PTH116 - a string stays a string on this path
            except OSError:
                continue  # gone since the folder was listed, or a dangling link
            if stat.S_ISREG(looked_at.st_mode):
                key = key_of(looked_at)
                found.setdefault(key, Found(path, key, looked_at.st_size, entry, looked_at.st_mtime))
    return found


def _matches(entry: InputConfig) -> Iterator[str]:
    for pattern in map(glob_of, entry.paths):
        for path in glob.iglob(pattern, flags=_GLOB_FLAGS):
            if _is_excluded(path, entry.exclude):
                continue
            if _is_text(path):
                yield path
            else:
                shown = os.fsencode(path).decode(errors="backslashreplace")
                get_logger("discover").warning("file.unnamable", path=shown, remedy="rename it to UTF-8", key=shown)


def _is_text(path: str) -> bool:
    """Tell whether a name can be written down: events, accounts and the state are UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_excluded(path: str, excludes: tuple[str, ...]) -> bool:
    """An exclude with a slash is about the whole path, one without about the name."""
    return any(
        glob.globmatch(path, pattern, flags=_GLOB_FLAGS)
        if "/" in pattern
        else fnmatch.fnmatch(os.path.basename(path), pattern, flags=_NAME_FLAGS)  # noqa: PTH119
        for pattern in excludes
    )


def entry_for(path: str, inputs: Iterable[InputConfig]) -> InputConfig | None:
    """Return the first input that a path belongs to. Pure."""
    for entry in inputs:
        if glob.globmatch(path, [*map(glob_of, entry.paths)], flags=_GLOB_FLAGS) and not _is_excluded(
            path, entry.exclude
        ):
            return entry
    return None


def compare(known: Mapping[FileKey, str], found: Mapping[FileKey, Found]) -> Changes:
    """Say what is new, what has another path, and what no longer has one. Pure."""
    return Changes(
        new=[file for key, file in found.items() if key not in known],
        moved=[(key, found[key].path) for key, path in known.items() if key in found and found[key].path != path],
        gone=[key for key in known if key not in found],
    )


def folders(inputs: Iterable[InputConfig]) -> dict[str, bool]:
    """Return the folders to watch that are there, each with whether its sub-folders matter, too."""
    watched: dict[str, bool] = {}
    for entry in inputs:
        for pattern in map(glob_of, entry.paths):
            for plain in glob.glob(_fixed_part(pattern), flags=_GLOB_FLAGS) or []:
                if Path(plain).is_dir():
                    deep = _has_magic(os.path.dirname(pattern))  # noqa: PTH120
                    watched[plain] = watched.get(plain, False) or deep
    return watched


def _fixed_part(pattern: str) -> str:
    """Return the longest leading folder of a pattern that has no wildcard."""
    folder = os.path.dirname(pattern)  # noqa: PTH120 - a pattern, not a path
    while _has_magic(folder):
        folder = os.path.dirname(folder)  # noqa: PTH120
    return folder


def _has_magic(text: str) -> bool:
    return bool(glob.is_magic(text, flags=_GLOB_FLAGS))


def siblings(path: str) -> dict[FileKey, str]:
    """Return the regular files beside a path, and beside what it links to: where a rename puts what is rotated."""
    beside: dict[FileKey, str] = {}
    for folder in {os.path.dirname(name): None for name in (path, os.path.realpath(path))}:  # noqa: PTH120
        with suppress(OSError):
            for entry in list(os.scandir(folder)):
                with suppress(OSError):
                    if entry.is_file() and _is_text(entry.path):
                        beside.setdefault(key_of(entry.stat()), entry.path)
    return beside
