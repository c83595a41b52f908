"""A Java that is new enough, wherever this machine keeps it.

Flows in: environment, path, the usual folders. Flows out: a home folder, or None. Invariant: the answer is Java's own
word about itself, because a `java` on the path says nothing of its home or version.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dataplane_common.config import environment
from dataplane_common.local.account import Account, can_enter

#: What Elasticsearch 8 and 9 need at least.
MINIMUM_VERSION = 17
_VARIABLES = ("DATAPLANE_JAVA_HOME", "ES_JAVA_HOME", "JAVA_HOME")
_FOLDERS = {"/usr/lib/jvm": "*", "/Library/Java/JavaVirtualMachines": "*/Contents/Home", "/opt": "*jdk*"}
_HOME = re.compile(r"^\s*java\.home = (.+?)\s*$", re.MULTILINE)
_VERSION = re.compile(r"^\s*java\.specification\.version = (?:1\.)?(\d+)", re.MULTILINE)
_ASK_TIMEOUT_S = 20.0


class Java(NamedTuple):
    """An installed Java: `ES_JAVA_HOME` and its major version."""

    home: Path
    version: int


def find_java(account: Account | None = None) -> Java | None:
    """Return the first Java of at least `MINIMUM_VERSION` that the account can execute, or None.

    Asked in this order: `DATAPLANE_JAVA_HOME`, `ES_JAVA_HOME`, `JAVA_HOME`, `java` on the path, the usual folders.
    """
    seen: set[Path] = set()
    for program in _programs():
        real = program.resolve()
        if real in seen or not real.exists() or not can_enter(real, account):
            continue
        seen.add(real)
        java = _ask(real)
        if java is not None and java.version >= MINIMUM_VERSION:
            return java
    return None


def parse_properties(text: str) -> Java | None:
    """Read what `java -XshowSettings:properties -version` prints."""
    home, version = _HOME.search(text), _VERSION.search(text)
    return Java(Path(home.group(1)), int(version.group(1))) if home and version else None


def _programs() -> Iterator[Path]:
    for variable in _VARIABLES:
        if named := environment(variable):
            yield Path(named, "bin", "java")
    if found := shutil.which("java"):
        yield Path(found)
    for folder, pattern in _FOLDERS.items():
        for home in sorted(Path(folder).glob(pattern), reverse=True):
            yield home / "bin" / "java"


def _ask(program: Path) -> Java | None:
    try:
        answer = subprocess.run(  # noqa: S603 - a Java that this machine has installed
            [str(program), "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_ASK_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_properties(answer.stderr + answer.stdout)
