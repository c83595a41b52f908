"""`check`: what will happen to the files when they are rotated, by logrotate or under a writer's hands.

Flows in: the files that the inputs match now. Flows out: findings. Invariant: a warning is about bytes that can be
lost, and says which and how not to lose them.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dataplane_tailer.config import InputConfig
from dataplane_tailer.discover import Found, entry_for
from dataplane_tailer.finding import Finding
from dataplane_tailer.identity import FileKey, key_of
from dataplane_tailer.logrotate import Rule, old_folder, read_rules
from dataplane_tailer.sight import open_links

_PROC = Path("/proc")
#: Findings name so many examples at the most.
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Writer:
    """A process that has a file open for writing; `appends` if each write goes to the file's end (O_APPEND)."""

    pid: int
    name: str
    path: str
    appends: bool


def check_rotation(
    found: Mapping[FileKey, Found], inputs: Iterable[InputConfig], root: Path = Path("/"), proc: Path = _PROC
) -> list[Finding]:
    """Look at logrotate's configuration below `root`, and at who writes the files."""
    paths = sorted(file.path for file in found.values())
    writers = find_writers(found, proc)
    return [
        *judge_rules(read_rules(root), paths, list(inputs)),
        *judge_writers(writers),
        *(_unseen(proc) if found else []),
    ]


def judge_rules(rules: Iterable[Rule], paths: Iterable[str], inputs: list[InputConfig]) -> list[Finding]:
    """Return what is wrong with the rules that rotate these files. Pure."""
    paths = list(paths)
    findings = []
    for rule in rules:
        concerned = [path for path in paths if rule.concerns(path)]
        if concerned:
            findings += _judge_rule(rule, concerned, inputs)
    return findings


def _judge_rule(rule: Rule, paths: list[str], inputs: list[InputConfig]) -> list[Finding]:
    about, options, findings = _examples(paths), rule.options, []
    if options.copytruncate:
        kept = "" if options.rotate else ", and with rotate 0 no copy is kept from which the rest could be read"
        findings.append(
            Finding(
                "warning",
                about,
                f"logrotate copies and truncates it ({rule.place}): what is written between the two is lost for "
                f"everybody{kept}; use `create` and a postrotate script that has the service open its log again",
            )
        )
    elif not options.rotate:
        findings.append(
            Finding(
                "warning",
                about,
                f"logrotate removes it and keeps no rotated one ({rule.place}, rotate 0): what was not read by then is "
                "lost unless the tailer runs and has it open; use rotate 1 or more",
            )
        )
    if outside := [path for path in paths if not _is_matched(rule, path, inputs)]:
        lost = (
            "the rest that was not read when it is truncated"
            if options.copytruncate
            else ("what is rotated while the tailer is stopped")
        )
        folder = old_folder(rule, outside[0])
        findings.append(
            Finding(
                "warning",
                _examples(outside),
                f"logrotate moves its old files to {folder} ({rule.place}), which no input matches: {lost} is not "
                f"found there; remove olddir, or add {folder}/* to paths",
            )
        )
    return findings


def _is_matched(rule: Rule, path: str, inputs: list[InputConfig]) -> bool:
    """Tell whether a rotated file will be found: beside the file always, elsewhere if an input matches it."""
    folder = old_folder(rule, path)
    if folder == os.path.dirname(path):  # noqa: PTH120 - strings stay strings on this path
        return True
    rotated = f"{folder}/{os.path.basename(path)}.1"  # noqa: PTH119
    return entry_for(rotated, inputs) is not None


def find_writers(found: Mapping[FileKey, Found], proc: Path = _PROC) -> list[Writer]:
    """Return who has these files open for writing, as far as it can be seen (proc_pid_fdinfo(5))."""
    writers: list[Writer] = []
    for process in sorted(proc.glob("[0-9]*"), key=lambda folder: int(folder.name)):
        if process.name != str(os.getpid()):
            writers += _writes_of(process, found)
    return writers


def _writes_of(process: Path, found: Mapping[FileKey, Found]) -> Iterator[Writer]:
    for path, target in open_links(process):
        if not target.startswith("/"):
            continue
        with suppress(OSError):  # closed since, or its process has ended
            file = found.get(key_of(os.stat(path)))  # noqa: PTH116
            if file is None:
                continue
            flags = _flags((process / "fdinfo" / os.path.basename(path)).read_text())  # noqa: PTH119
            if flags & os.O_ACCMODE != os.O_RDONLY:
                name = (process / "comm").read_text().strip()
                yield Writer(int(process.name), name, file.path, bool(flags & os.O_APPEND))


def _flags(fdinfo: str) -> int:
    """Return the flags that a file was opened with; they are octal. Pure."""
    for line in fdinfo.splitlines():
        name, _, value = line.partition(":")
        if name == "flags":
            return int(value.strip(), 8)
    return os.O_RDONLY


def judge_writers(writers: Iterable[Writer]) -> list[Finding]:
    """Return who writes without O_APPEND. Pure."""
    return [
        Finding(
            "warning",
            writer.path,
            f"{writer.name} (pid {writer.pid}) writes it without O_APPEND: after a truncation it goes on at its old "
            "place, behind a hole of NULs, and a second writer would overwrite it; have it append",
        )
        for writer in writers
        if not writer.appends
    ]


def _unseen(proc: Path) -> list[Finding]:
    """Say so if not all processes could be looked at."""
    hidden = [folder for folder in proc.glob("[0-9]*") if not os.access(folder / "fd", os.R_OK | os.X_OK)]
    if not hidden:
        return []
    text = f"{len(hidden)} processes of other users could not be looked at for how they write; run `check` as root"
    return [Finding("ok", "writers", text)]


def _examples(paths: list[str]) -> str:
    more = f" and {len(paths) - _EXAMPLES:,} more" if len(paths) > _EXAMPLES else ""
    return ", ".join(paths[:_EXAMPLES]) + more
