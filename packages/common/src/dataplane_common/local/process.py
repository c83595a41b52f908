"""A child process that outlives its starter: own session, no terminal, output in a file, remembered on disk.

Flows in: a command line. Flows out: a running process, found again by a later process of ours.
Invariant: a signal goes to the process's whole group, and only while the group is ours; every wait has a deadline.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dataplane_common import lifecycle
from dataplane_common.config import environment
from dataplane_common.errors import Fatal
from dataplane_common.local import process_table, record
from dataplane_common.local.account import Account

#: How long a group may take to be gone after SIGKILL: only a process in uninterruptible sleep takes any time.
_KILL_TIMEOUT_S = 10.0
_POLL_S = 0.02
_TAIL_LINES = 8
_TAIL_BYTES = 8 * 1024
#: What a child keeps of our environment; our own settings would override the configuration written for it.
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
#: Children of this process, so that they are reaped as soon as they end.
_children: dict[int, "subprocess.Popen[bytes]"] = {}


def plain_environment(**more: str) -> dict[str, str]:
    """Return the environment for a child: path, language, home, and `more`; none of our own settings."""
    kept = {name: value for name in _KEPT if (value := environment(name))}
    return {"PATH": os.defpath, **kept, **more}


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What is started: the command, its whole environment, its account (ours if None), and the ports it was given."""

    arguments: list[str]
    environment: Mapping[str, str] = field(default_factory=plain_environment)
    account: Account | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    directory: Path | None = None


class ManagedProcess:
    """One named process in a folder: `<name>.out` has its output, `<name>.process.json` remembers it.

    `log_file` is where the program itself writes to, if it does: its last words may be there.
    Two objects of the same name and folder, also in two processes, mean the same process.
    """

    def __init__(self, name: str, directory: Path, log_file: Path | None = None) -> None:
        self.name = name
        self.log_file = log_file
        self.output = directory / f"{name}.out"
        self._record_file = directory / f"{name}.process.json"

    @property
    def pid(self) -> int | None:
        """The number of the running process, or None."""
        known = self._reaped()
        return known.pid if known is not None and known.is_alive else None

    @property
    def ports(self) -> dict[str, int]:
        """The ports that the process was given when it was last started."""
        known = record.load(self._record_file)
        return dict(known.ports) if known else {}

    @property
    def is_running(self) -> bool:
        """Whether the process lives; a zombie, or another process with its number, does not count."""
        return self.pid is not None

    def start(self, launch: Launch) -> None:
        """Start the process and remember it.

        Raises:
            Fatal: the command cannot be executed, or the folder cannot be written.
        """
        try:
            self._record_file.parent.mkdir(parents=True, exist_ok=True)
            self._keep_previous_output()
            child = self._spawn(launch)
        except OSError as error:
            raise Fatal(f"{self.name} cannot be started: {error}") from error
        _children[child.pid] = child
        entry = process_table.find(child.pid)
        started = entry.start if entry else "ended at once"
        ports = dict(launch.ports)
        known = record.ProcessRecord(pid=child.pid, start=started, command=launch.arguments, ports=ports)
        record.save(self._record_file, known)

    def wait_for(self, is_ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait until the process is ready.

        Raises:
            Fatal: it ended, or was not ready in time; the text has the last lines of its output.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if not self.is_running:
                raise Fatal(f"{self.name} ended while it started; {self.last_lines()}")
            if is_ready():
                return
            if time.monotonic() > deadline:
                raise Fatal(f"{self.name} was not ready within {timeout_s:g} s; {self.last_lines()}")
            time.sleep(_POLL_S)

    def stop(self, timeout_s: float) -> bool:
        """End the process and its children: SIGTERM, then SIGKILL after `timeout_s`; return whether any lived.

        Raises:
            Fatal: it lives on after SIGKILL.
        """
        known = self._reaped()
        if known is None or not known.survivors():
            return False
        lifecycle.signal_group(known.pid)
        lifecycle.resume_group(known.pid)  # one that is paused would never hear of it
        if not self._is_gone_within(timeout_s):
            self.kill()
        return True

    def kill(self) -> None:
        """End the process and its children at once (SIGKILL), and wait until they are gone.

        Raises:
            Fatal: one of them lives on.
        """
        known = self._reaped()
        if known is None or not known.survivors():
            return
        lifecycle.signal_group(known.pid, force=True)
        if not self._is_gone_within(_KILL_TIMEOUT_S):
            raise Fatal(f"{self.name} (pid {known.pid}) lives on after SIGKILL: {known.survivors()}")

    def pause(self) -> None:
        """Stop the process and its children from running (SIGSTOP) until `resume`; their connections stay open.

        Raises:
            Fatal: it still runs after some seconds.
        """
        if (pid := self.pid) is None:
            return
        lifecycle.pause_group(pid)
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        while not process_table.is_stopped(pid):  # a thread on another core runs on for a moment
            if time.monotonic() > deadline:
                raise Fatal(f"{self.name} (pid {pid}) runs on after SIGSTOP")
            time.sleep(_POLL_S)

    def resume(self) -> None:
        """Let a paused process run again (SIGCONT)."""
        if (pid := self.pid) is not None:
            lifecycle.resume_group(pid)

    def last_lines(self) -> str:
        """Return its last lines and which file they are of, for a message."""
        for file in (self.output, self.log_file):
            if file is not None and (lines := _tail(file)):
                return "\n  ".join([f"the end of {file}:", *lines])
        return f"no output in {self.output}"

    def _spawn(self, launch: Launch) -> "subprocess.Popen[bytes]":
        account = launch.account
        as_other = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
        with self.output.open("wb") as output:
            return subprocess.Popen(  # type: ignore[call-overload,no-any-return]  # noqa: S603 - what we are for
                launch.arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=launch.directory,
                env=dict(launch.environment),
                **as_other,
            )

    def _keep_previous_output(self) -> None:
        with suppress(FileNotFoundError):
            self.output.replace(self.output.with_suffix(".out.1"))

    def _reaped(self) -> record.ProcessRecord | None:
        """Return what is remembered, after children of ours that have ended were taken off the kernel's list."""
        for pid in [pid for pid, child in _children.items() if child.poll() is not None]:
            _children.pop(pid, None)
        return record.load(self._record_file)

    def _is_gone_within(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while (known := self._reaped()) is not None and known.survivors():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        self._reaped()
        return True


def _tail(file: Path) -> list[str]:
    with suppress(OSError), file.open("rb") as handle:
        handle.seek(max(0, file.stat().st_size - _TAIL_BYTES))
        lines = handle.read().decode(errors="replace").splitlines()
        return [line for line in lines if line.strip()][-_TAIL_LINES:]
    return []
