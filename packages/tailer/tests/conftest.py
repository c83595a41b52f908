"""A real NATS server for the session, and a laboratory per test: a folder, a dataset, tailers in and out of process."""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dataplane_common.bus import Connection, ConsumerConfig, PullConsumer, ensure_streams
from dataplane_common.config import NatsConfig
from dataplane_common.frame import decode_payload
from dataplane_common.local.nats_server import NatsServer
from dataplane_tailer import config as configuration
from dataplane_tailer.config import TailerConfig
from dataplane_tailer.file import TailedFile
from dataplane_tailer.pipeline import Tailer, create

DEADLINE_S = 60.0


@pytest.fixture(scope="session", autouse=True)
def _no_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep a running local stack out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATAPLANE_STACK_DIR", str(tmp_path_factory.mktemp("no-stack")))
        yield


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server that all tests share; nobody stops it."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    asyncio.run(_make_streams(server.url))
    yield server
    server.clear()


async def _make_streams(url: str) -> None:
    connection = Connection(NatsConfig(servers=(url,)), name="tests")
    connection.start()
    await connection.wait_ready(10)
    await ensure_streams(connection)
    await connection.close()


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that one test may stop, freeze and start again."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    asyncio.run(_make_streams(server.url))
    yield server
    server.clear()


def _content(event: dict[str, Any]) -> tuple[Any, ...]:
    """What must be the same wherever an id comes again; times of arrival may differ."""
    stamped = {**event, "event": {**event["event"], "created": ""}}
    return tuple(stamped.get(key) for key in ("message", "tags", "log", "event", "dp"))


class Lab:
    """What one test works with."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder / "logs"
        self.folder.mkdir()
        self.state_dir = folder / "state"
        self.dataset = f"t_{secrets.token_hex(6)}"
        self.url = url

    @property
    def log(self) -> Path:
        """The file that most tests write."""
        return self.folder / "app.log"

    def append(self, text: str | bytes, to: Path | None = None) -> None:
        """Append to a file as a service would."""
        with (to or self.log).open("ab") as file:
            file.write(text.encode() if isinstance(text, str) else text)

    def config(self, *, delivery: dict[str, Any] | None = None, **entry: Any) -> TailerConfig:
        """A configuration with one input; quick timings unless `delivery` says otherwise."""
        quick = {"linger_ms": 5, "rescan_ms": 100, "idle_flush_ms": 60_000, "close_rotated_after_ms": 500}
        first = {"paths": [str(self.folder / "app.log*")], "dataset": self.dataset, **entry}
        return self.config_of(first, {**quick, **(delivery or {})})

    def config_of(self, entry: dict[str, Any], delivery: dict[str, Any] | None = None) -> TailerConfig:
        """A configuration with this one input."""
        return configuration.load(
            None,
            {
                "namespace": "test",
                "host": "host-1",
                "state_dir": str(self.state_dir),
                "inputs": [entry],
                "nats": {"servers": [self.url]},
                "delivery": delivery or {},
            },
        )

    @asynccontextmanager
    async def tailer(
        self, config: TailerConfig | None = None, *, without_checkpoints: bool = False
    ) -> AsyncIterator[Tailer]:
        """A running tailer; on the way out it drains as SIGTERM would have it.

        `without_checkpoints` leaves the state as a crash would before the first acknowledgement is written.
        """
        tailer = create(config or self.config())
        if without_checkpoints:
            tailer.shipper.on_acknowledged = lambda _file: None
        stop = asyncio.Event()
        await tailer.start()
        task = asyncio.ensure_future(tailer.run(stop))
        try:
            yield tailer
        finally:
            stop.set()
            await task
            await tailer.close()

    async def events(self, count: int) -> list[dict[str, Any]]:
        """Return the first `count` events of the dataset in the order of the stream, repeats by id left out."""
        deadline = time.monotonic() + DEADLINE_S
        found: list[dict[str, Any]] = []

        def is_enough(seen: dict[str, dict[str, Any]]) -> bool:
            assert time.monotonic() < deadline, f"{len(seen)} of {count} events: {list(seen.values())[-3:]}"
            found[:] = seen.values()
            return len(seen) >= count

        await self._read(f"logs.test.{self.dataset}.>", "LOGS", is_enough)
        return found

    async def _read(
        self, subject: str, stream: str, is_enough: Callable[[dict[str, dict[str, Any]]], bool] | None
    ) -> list[dict[str, Any]]:
        """Return events, distinct by id, until there are enough; without a measure, all that are there."""
        found: dict[str, dict[str, Any]] = {}
        async with self._consumer(subject, stream) as consumer:
            while is_enough is None or not is_enough(found):
                deliveries = await consumer.fetch(0.2)
                if not deliveries and is_enough is None:
                    break
                for delivery in deliveries:
                    for line in decode_payload(delivery.data, delivery.headers).splitlines():
                        event = msgspec.json.decode(line)
                        assert _content(found.setdefault(event["_id"], event)) == _content(event)
        return list(found.values())

    @asynccontextmanager
    async def _consumer(self, subject: str, stream: str) -> AsyncIterator[PullConsumer]:
        connection = Connection(NatsConfig(servers=(self.url,)), name="tests")
        connection.start()
        await connection.wait_ready(10)
        consumer = PullConsumer(connection, ConsumerConfig(stream, f"reader_{secrets.token_hex(6)}", (subject,)))
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.close()
            await connection.close()

    async def messages(self, count: int) -> list[str]:
        """Return the messages of exactly `count` events; one more would fail the test that counts on."""
        return [event["message"] for event in await self.events(count)]

    async def everything(self) -> list[dict[str, Any]]:
        """Return all events of the dataset that the stream holds, repeats by id left out."""
        return await self._read(f"logs.test.{self.dataset}.>", "LOGS", None)

    async def count(self) -> int:
        """Return how many events of the dataset the stream holds, repeats by id left out."""
        return len(await self.everything())

    async def replays(self) -> list[str | None]:
        """Return what each frame of the dataset says about being a re-send, in the order of the stream."""
        async with self._consumer(f"logs.test.{self.dataset}.>", "LOGS") as consumer:
            frames = [*await consumer.fetch(10)]
            while more := await consumer.fetch(0.2):
                frames += more
        return [frame.headers.get("Dp-Replay") for frame in frames]

    async def make_streams(self) -> None:
        """Make the streams on a server that has none."""
        await _make_streams(self.url)

    async def ledger(self, source: str) -> dict[str, Any]:
        """Return the final account of a source."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            async with self._consumer("ledger.>", "LEDGER") as consumer:
                while deliveries := await consumer.fetch(0.3):
                    for delivery in deliveries:
                        for account in msgspec.json.decode(delivery.data)["sources"]:
                            if account["source"] == source and account.get("final"):
                                return account
            assert time.monotonic() < deadline, f"no final account of {source}"

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            await asyncio.sleep(0.01)

    @staticmethod
    def one(tailer: Tailer) -> TailedFile:
        """Return the only file that a tailer has open, or the first of them."""
        return next(iter(tailer.tracker.files.values()))

    async def settled(self, tailer: Tailer) -> None:
        """Wait until all that was read is acknowledged."""
        await self.until(lambda: all(file.positions.waiting == 0 for file in tailer.tracker.files.values()))

    async def grow_beyond_copy(self, tailer: Tailer, copy: Path) -> None:
        """Have the first two lines of the log shipped, and a third one that its copy lacks."""
        self.append("one\ntwo\n")
        await self.messages(2)
        shutil.copy(self.log, copy)
        self.append("late\n")
        await self.messages(3)
        await self.settled(tailer)

    def spawn(self, *arguments: str, without_privileges: bool = False) -> "subprocess.Popen[str]":
        """Start the command itself; `without_privileges` takes from root what lets it pass over a file's mode."""
        prefix = (
            ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if without_privileges and os.geteuid() == 0 else []
        )
        return subprocess.Popen(
            [*prefix, str(Path(sys.executable).parent / "dataplane-tailer"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, *arguments: str, without_privileges: bool = False) -> "subprocess.CompletedProcess[str]":
        """Run the command to its end."""
        process = self.spawn(*arguments, without_privileges=without_privileges)
        out, err = process.communicate(timeout=DEADLINE_S * 2)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture
def lab(tmp_path: Path, nats: NatsServer) -> Lab:
    """A fresh laboratory on the shared server."""
    return Lab(tmp_path, nats.url)


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a program of this text on the path as journalctl."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")  # noqa: TID251 - a test's own

    def put(text: str) -> None:
        command = folder / "journalctl"
        command.write_text(f"#!{sys.executable}\n{text}")
        command.chmod(0o755)

    return put


@pytest.fixture
def run() -> Callable[[Awaitable[Any]], Any]:
    """Run a coroutine to its end."""

    async def bounded(work: Awaitable[Any]) -> Any:
        return await asyncio.wait_for(work, 110)

    return lambda work: asyncio.run(bounded(work))
