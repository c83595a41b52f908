"""What the kernel says about processes: when one started, and who lives in a process group.

Reads `/proc` where there is one, else asks `ps`. Invariant: a zombie has ended, whatever `kill(pid, 0)` says of it,
unless threads of it are still ending and hold its ports.
Source: proc(5), fields of `/proc/<pid>/stat`.
"""

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
#: States of a process that does no more: zombie, dead.
_ENDED = frozenset("ZXx")
_STOPPED = frozenset("Tt") | _ENDED
#: Fields of `stat` behind the command's name: state, process group, start time in clock ticks since boot.
_STATE, _GROUP, _THREADS, _START = 0, 2, 17, 19
_PS = "/bin/ps"
_PS_TIMEOUT_S = 5.0


class Stat(NamedTuple):
    """What matters of `/proc/<pid>/stat`; `start` is in clock ticks since boot."""

    state: str
    group: int
    threads: int
    start: str

    @property
    def has_ended(self) -> bool:
        """Whether nothing of the process runs any more."""
        return self.state in _ENDED and self.threads <= 1


class Entry(NamedTuple):
    """One living process; `start` names this very process, also after its number is given to another one."""

    pid: int
    group: int
    start: str


def find(pid: int) -> Entry | None:
    """Return the living process with this number, or None."""
    if _PROC.joinpath("self", "stat").exists():
        return _from_proc(pid)
    return next((entry for entry in _from_ps("-p", str(pid)) if entry.pid == pid), None)


def living_in_group(group: int) -> list[Entry]:
    """Return the living processes of a process group; it is empty once all of them have ended."""
    if not _PROC.joinpath("self", "stat").exists():
        return [entry for entry in _from_ps("-A") if entry.group == group]
    numbers = (int(name) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208 - names only, and many
    return [entry for entry in map(_from_proc, numbers) if entry is not None and entry.group == group]


def is_stopped(pid: int) -> bool:
    """Whether every thread of a process has stopped running (SIGSTOP); true where the kernel does not tell."""
    try:
        threads = list((_PROC / str(pid) / "task").iterdir())
        return all(parse_stat((thread / "stat").read_text(errors="replace")).state in _STOPPED for thread in threads)
    except (OSError, ValueError, IndexError):
        return True


def parse_stat(text: str) -> Stat:
    """Read a line of `stat`; the command's name in it may hold anything.

    Raises:
        ValueError, IndexError: it is no such line.
    """
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(fields[_STATE], int(fields[_GROUP]), int(fields[_THREADS]), fields[_START])


def _from_proc(pid: int) -> Entry | None:
    try:
        stat = parse_stat((_PROC / str(pid) / "stat").read_text(errors="replace"))
    except (OSError, ValueError, IndexError):
        return None  # it ended while we looked
    return None if stat.has_ended else Entry(pid, stat.group, f"{_boot()}/{stat.start}")


@cache
def _boot() -> str:
    """Return what tells this boot from the next, so that equal ticks after a reboot are not taken for equal."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "boot"


def _from_ps(*selection: str) -> Iterator[Entry]:
    listing = subprocess.run(  # noqa: S603 - a fixed command
        [_PS, *selection, "-o", "pid=,pgid=,stat=,lstart="],
        capture_output=True,
        text=True,
        check=False,
        timeout=_PS_TIMEOUT_S,
    )
    for line in listing.stdout.splitlines():
        pid, group, state, *start = line.split()
        if state[0] not in _ENDED:
            yield Entry(int(pid), int(group), " ".join(start))
