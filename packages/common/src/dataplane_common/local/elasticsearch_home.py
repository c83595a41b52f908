"""Where Elasticsearch itself lies: unpacked once from its zip into the cache, shared by all stacks and tests.

Flows in: a zip. Flows out: a home folder that every account can read. Invariant: a home is complete or not there,
and two processes never unpack at once.
"""

import hashlib
import shutil
import tempfile
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path

from dataplane_common.errors import Fatal
from dataplane_common.local.account import PASSABLE, make_passable
from dataplane_common.local.locked import locked

VERSION = "8.19.21"
#: SHA-256 of that version's zip as Maven Central has it.
SHA256 = "215d5f3dbf0609a149f6218a9e47b6ae2df34ebbff3c5754e35f15a5e5393c8a"
#: Unpacking takes a second, a download by another process before it some minutes.
_LOCK_TIMEOUT_S = 600.0
_READABLE = 0o644
_DRAFT = ".draft-"


def home_of(cache: Path, sha256: str = SHA256) -> Path:
    """Return the folder that the zip with this checksum is unpacked to."""
    return cache / f"elasticsearch-{sha256[:16]}"


def is_unpacked(home: Path) -> bool:
    """Whether the home is there; what is there is complete, because it gets its name last."""
    return home.is_dir()


def lock_cache(cache: Path) -> AbstractContextManager[None]:
    """Hold the cache against other processes."""
    cache.mkdir(parents=True, exist_ok=True)
    return locked(cache / "lock", timeout_s=_LOCK_TIMEOUT_S, what="another process prepares Elasticsearch")


def checksum(file: Path) -> str:
    """Return a file's SHA-256.

    Raises:
        Fatal: it cannot be read.
    """
    try:
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise Fatal(f"{file}: cannot read this zip: {error.strerror}; check the path and its mode") from error


def unpack(archive: Path, home: Path) -> None:
    """Unpack the zip of Elasticsearch to `home`; call it with the cache locked.

    Raises:
        Fatal: it is no zip of Elasticsearch, or it is cut off.
    """
    make_passable(home.parent)
    for left_over in home.parent.glob(f"{_DRAFT}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=home.parent))
    try:
        with zipfile.ZipFile(archive) as content:
            content.extractall(draft)
        (inner,) = [folder for folder in draft.iterdir() if (folder / "bin" / "elasticsearch").is_file()]
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise Fatal(f"{archive}: not a complete zip of Elasticsearch ({error}); get it again") from error
    _open_to_all(inner)
    inner.replace(home)
    draft.rmdir()


def _open_to_all(home: Path) -> None:
    """Give every account read access whatever the umask, and programs the bits that `zipfile` drops."""
    home.chmod(PASSABLE)
    programs = {home / "bin"}
    for path in home.rglob("*"):
        path.chmod(PASSABLE if path.is_dir() or path.parent in programs else _READABLE)
