"""Elasticsearch, brought from Maven Central into the cache: once, checked, for all stacks of this machine.

Flows in: the cache folder, or a zip that `DATAPLANE_ELASTICSEARCH_ZIP` names. Flows out: an unpacked home.
Invariant: nothing is unpacked whose checksum was not seen to be right, unless the user named the file himself.
"""

import importlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType

from dataplane_common import config
from dataplane_common.errors import Fatal, Transient
from dataplane_common.local import elasticsearch_home as home_folder
from dataplane_common.retry import Backoff

#: `(what, bytes)` gives a context manager that takes each advance in bytes; the downloader asks for this shape.
Measured = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

_GROUP = "org.elasticsearch.distribution.integ-test-zip"
_TRIES = 3
_BACKOFF = Backoff(initial_s=0.2, max_s=5.0)
#: Between two bytes, not for the whole.
_TIMEOUT_S = 30
_ZIP_VARIABLE = "DATAPLANE_ELASTICSEARCH_ZIP"


@contextmanager
def unseen(_what: str, _total: int) -> Iterator[Callable[[int], None]]:
    """Stand in for a progress display that nobody looks at."""
    yield lambda _amount: None


def elasticsearch_home(measured: Measured = unseen) -> Path:
    """Return the folder of an unpacked Elasticsearch, downloading it first where that is needed.

    Raises:
        Fatal: it cannot be downloaded, unpacked, or does not have the known checksum; the text says what to do.
    """
    cache = config.cache_root()
    try:
        if named := config.environment(_ZIP_VARIABLE):
            archive = Path(named).expanduser().absolute()
            return _unpacked(cache, home_folder.checksum(archive), lambda _folder: archive)
        return _unpacked(cache, home_folder.SHA256, lambda folder: _download(folder, measured))
    except OSError as error:
        raise Fatal(f"{cache}: Elasticsearch cannot be kept here: {error.strerror}; set DATAPLANE_CACHE_DIR") from error


def _unpacked(cache: Path, sha256: str, get: Callable[[Path], Path]) -> Path:
    home = home_folder.home_of(cache, sha256)
    if home_folder.is_unpacked(home):
        return home
    with home_folder.lock_cache(cache):
        if not home_folder.is_unpacked(home):  # another process may have done it while we waited
            with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as folder:
                home_folder.unpack(get(Path(folder)), home)
    return home


def _download(folder: Path, measured: Measured) -> Path:
    """Bring the zip into a folder that is thrown away, because a cut-off file there would be taken for a good one."""
    for attempt in range(1, _TRIES + 1):
        try:
            return _download_once(folder / str(attempt), measured)
        except Transient as error:
            last = error
            time.sleep(_BACKOFF.delay_s(attempt))
    raise Fatal(
        f"Elasticsearch {home_folder.VERSION} cannot be downloaded from Maven Central: {last}; "
        f"check the network, or download the zip yourself and set {_ZIP_VARIABLE} to it"
    )


def _download_once(repository: Path, measured: Measured) -> Path:
    maven = _downloader()
    what = f"downloading {home_folder.VERSION}"
    resolver = maven.PythonResolver(progress_callback=lambda _file, total: measured(what, total))
    context = maven.MavenContext(repo_cache=repository, resolver=resolver, timeout=_TIMEOUT_S)
    try:
        component = context.project(_GROUP, "elasticsearch").at_version(home_folder.VERSION)
        archive = Path(component.artifact(packaging="zip").resolve())
    except (OSError, RuntimeError, ValueError) as error:  # what the downloader's HTTP library raises is an OSError
        raise Transient(str(error).partition("\n")[0]) from error
    if (found := home_folder.checksum(archive)) != home_folder.SHA256:
        raise Transient(f"its SHA-256 is {found}, expected {home_folder.SHA256}")
    return archive


def _downloader() -> ModuleType:
    try:
        return importlib.import_module("jgo.maven")
    except ImportError as error:
        raise Fatal('the downloader is not installed: pip install "dataplane-cli[stack]"') from error
