"""The folder of a local stack: what lies where, and one `up` or `down` at a time.

Flows in: `DATAPLANE_STACK_DIR` or its defaults. Flows out: paths, and `stack.toml`, in which every command finds the
servers. Invariant: nothing is removed but what the stack made, by name.
"""

import shutil
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from dataplane_common import config
from dataplane_common.errors import Fatal
from dataplane_common.local.locked import locked

#: A cold `up` by somebody else: a download, and Elasticsearch on a busy machine.
_LOCK_TIMEOUT_S = 300.0
_MADE_BY_US = ("nats", "elasticsearch", "elastinats", "tailer", "docker", "up.log", "stack.toml", "lock")

Kind = Literal["native", "docker"]


class StackFile(msgspec.Struct, frozen=True):
    """What `stack.toml` says, as far as this command reads it again."""

    kind: Kind = "native"
    nats_url: str = ""
    nats_monitor: str = ""
    elasticsearch_url: str = ""

    def as_toml(self) -> str:
        """Return the file's text; the first two sections are read as configuration by every command."""
        return f"""\
# Written by `dataplane up`: every command of the data plane finds the local stack here.
[nats]
servers = [{_quoted(self.nats_url)}]

[elasticsearch]
hosts = [{_quoted(self.elasticsearch_url)}]

[stack]
kind = {_quoted(self.kind)}
nats_url = {_quoted(self.nats_url)}
nats_monitor = {_quoted(self.nats_monitor)}
elasticsearch_url = {_quoted(self.elasticsearch_url)}
"""


@dataclass(frozen=True)
class StackFolder:
    """One stack's folder."""

    root: Path

    @property
    def file(self) -> Path:
        """Where the servers' addresses are."""
        return self.root / "stack.toml"

    @property
    def log(self) -> Path:
        """What `up` did, as JSON lines; it is shipped like the servers' own logs."""
        return self.root / "up.log"

    def part(self, name: str) -> Path:
        """Return the folder of one component."""
        return self.root / name

    def locked(self) -> AbstractContextManager[None]:
        """Hold the stack against other processes that start or stop it.

        Raises:
            Fatal: the folder cannot be written, or another process held it for too long.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Fatal(
                f"{self.root}: the stack's folder cannot be made: {error.strerror}; set DATAPLANE_STACK_DIR"
            ) from error
        return locked(self.root / "lock", timeout_s=_LOCK_TIMEOUT_S, what="another command starts or stops this stack")

    def read(self) -> StackFile | None:
        """Return what the last `up` wrote, or None before the first one."""
        try:
            decoded = msgspec.toml.decode(self.file.read_bytes())
            return msgspec.convert(decoded.get("stack", {}), StackFile)
        except (OSError, msgspec.MsgspecError, ValueError):
            return None

    def write(self, stack: StackFile) -> None:
        """Write `stack.toml`, whole or not at all."""
        draft = self.file.with_suffix(".draft")
        draft.write_text(stack.as_toml())
        draft.replace(self.file)

    def clear(self) -> None:
        """Remove what the stack made, and the folder itself if nothing else is in it."""
        for name in _MADE_BY_US:
            path = self.root / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        with suppress(OSError):
            self.root.rmdir()


def current() -> StackFolder:
    """Return the folder of the stack that this command is about."""
    return StackFolder(config.stack_dir())


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
