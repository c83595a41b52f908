"""A real NATS server for the tests of the bus."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataplane_common.local.nats_server import NatsServer


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep a running local stack and the caller's settings out of the tests."""
    monkeypatch.setenv("DATAPLANE_STACK_DIR", str(tmp_path / "no-stack"))


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that the test may stop, freeze and kill."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.clear()


@pytest.fixture
def run() -> Callable[[Awaitable[Any]], Any]:
    """Run a coroutine to its end, within a deadline."""

    async def bounded(work: Awaitable[Any]) -> Any:
        return await asyncio.wait_for(work, 90)

    return lambda work: asyncio.run(bounded(work))
