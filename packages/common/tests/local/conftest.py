"""Processes and servers for the tests of this folder; each ends with its test."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataplane_common.local import Launch, ManagedProcess, NatsServer

Started = Callable[[str], ManagedProcess]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Start a Python program as a managed process; what still lives at the end is killed."""
    processes: list[ManagedProcess] = []

    def start(program: str) -> ManagedProcess:
        process = ManagedProcess(f"program{len(processes)}", tmp_path)
        processes.append(process)
        process.start(Launch(arguments=[sys.executable, "-u", "-c", program]))
        return process

    yield start
    for process in processes:
        process.kill()


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """Give a NATS server that is not started yet."""
    server = NatsServer(tmp_path / "nats")
    yield server
    server.clear()
