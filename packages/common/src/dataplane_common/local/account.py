"""The account that a server runs under where we are root: Elasticsearch refuses to be root.

Flows in: users of this machine. Flows out: one of them, and whether it can enter a folder.
Invariant: whoever is not root runs everything as himself.
"""

import hashlib
import os
import pwd
import subprocess
from pathlib import Path
from typing import NamedTuple

from dataplane_common.errors import Fatal

#: Tried in this order: the account that a package of Elasticsearch makes, and the one that is everywhere.
_CANDIDATES = ("elasticsearch", "nobody")
#: Where root's servers keep data that must be reachable by another account.
_SHARED_STATE = Path("/var/lib/dataplane")
_PROBE_TIMEOUT_S = 5.0
#: Anyone may pass through: the data below it has its own, narrower mode.
PASSABLE = 0o755


class Account(NamedTuple):
    """A user of this machine."""

    name: str
    uid: int
    gid: int


def unprivileged() -> Account | None:
    """Return the account for servers that refuse to be root, or None where we are not root.

    Raises:
        Fatal: we are root and there is no such account.
    """
    if os.geteuid() != 0:
        return None
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise Fatal("Elasticsearch refuses to run as root: create a user `elasticsearch`, or run this as another user")


def can_enter(path: Path, account: Account | None) -> bool:
    """Tell whether the account may enter a folder, or execute a file; the kernel decides, with all its rules."""
    if account is None:
        return os.access(path, os.X_OK)
    probe = subprocess.run(  # noqa: S603 - a fixed command
        ["/usr/bin/env", "test", "-x", str(path)],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        check=False,
        timeout=_PROBE_TIMEOUT_S,
    )
    return probe.returncode == 0


def folder_for(account: Account | None, wished: Path) -> Path:
    """Return `wished` if the account can get there, else a folder of its own under `/var/lib/dataplane`."""
    above = next(folder for folder in wished.absolute().parents if folder.exists())
    if can_enter(above, account):
        return wished
    return _SHARED_STATE / hashlib.sha256(str(wished).encode()).hexdigest()[:16]


def make_passable(folder: Path) -> None:
    """Make a folder that every account can pass through, whatever the umask."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(PASSABLE)


def give(folder: Path, account: Account | None) -> None:
    """Make a folder that belongs to the account, readable by its group only beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    if account is not None:
        os.chown(folder, account.uid, account.gid)
        folder.chmod(0o750)
