"""A stack folder of its own for each test, so that none meets a running stack; a NATS server; the command."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataplane_common.local import NatsServer

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def stack_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a folder for this test's stack; nothing is in it yet."""
    folder = tmp_path / "stack"
    monkeypatch.setenv("DATAPLANE_STACK_DIR", str(folder))
    monkeypatch.setenv("DATAPLANE_CACHE_DIR", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """Give a running NATS server."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.clear()


@pytest.fixture
def run() -> Run:
    """Run `dataplane` as a user does and return what it said."""

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = str(Path(sys.executable).with_name("dataplane"))
        return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)

    return command
