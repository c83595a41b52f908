"""Real NATS servers for the emitter's tests, and eyes to see what arrived there."""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from dataplane_common.bus import Connection, ensure_streams
from dataplane_common.config import NatsConfig
from dataplane_common.errors import Transient
from dataplane_common.frame import decode_payload
from dataplane_common.ledger import SourceAccount, decode_message
from dataplane_common.local import NatsServer
from dataplane_emitter import Emitter, configure
from dataplane_emitter.testing import Captured, capture_events

#: Characters of a dataset's name.
_MAX_DATASET = 60
# How long one example takes says something about the machine, not about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


class Bus:
    """A server with the streams, and what it holds."""

    def __init__(self, server: NatsServer, user: str = "") -> None:
        self.server = server
        self._user = user

    @property
    def url(self) -> str:
        """Where clients connect, as the user who may everything."""
        return self.url_of(self._user)

    def url_of(self, user: str) -> str:
        """Where a user connects whose password is the name."""
        return self.server.url.replace("://", f"://{user}:{user}@") if user else self.server.url

    def events(self, dataset: str = "", stream: str = "LOGS") -> list[dict[str, Any]]:
        """Return the stored events of a dataset (all of them without one), in the order of the stream."""
        found = []
        for subject, headers, payload in self.messages(stream):
            if not dataset or subject.split(".")[2] == dataset:
                lines = decode_payload(payload, headers).splitlines()
                assert int(headers["Dp-Count"]) == len(lines)
                found.extend(json.loads(line) for line in lines)
        return found

    def accounts(self, service: str) -> list[SourceAccount]:
        """Return every account that a service told, in order."""
        told = [message for message in self.messages("LEDGER") if message[0].endswith(f".{service}")]
        return [account for _, _, payload in told for account in decode_message(payload).sources]

    def messages(self, stream: str) -> list[tuple[str, dict[str, str], bytes]]:
        """Return (subject, headers, payload) of every message of a stream."""
        return self.run(lambda connection: _messages(connection, stream))

    def run(self, work: Callable[[Connection], Coroutine[Any, Any, Any]]) -> Any:
        """Run something with a connection of its own."""
        return asyncio.run(self._with_connection(work))

    async def _with_connection(self, work: Callable[[Connection], Coroutine[Any, Any, Any]]) -> Any:
        connection = Connection(NatsConfig(servers=(self.url,)), name="test")
        connection.start()
        try:
            await connection.wait_ready(10)
            return await work(connection)
        finally:
            await connection.close()


async def _messages(connection: Connection, stream: str) -> list[tuple[str, dict[str, str], bytes]]:
    info = json.loads(await connection.request(f"$JS.API.STREAM.INFO.{stream}"))
    found = []
    for number in range(max(1, info["state"]["first_seq"]), info["state"]["last_seq"] + 1):
        request = json.dumps({"seq": number}).encode()
        answer = json.loads(await connection.request(f"$JS.API.STREAM.MSG.GET.{stream}", request))
        message = answer["message"]
        block = base64.b64decode(message.get("hdrs", "")).decode()
        headers = dict(line.split(": ", 1) for line in block.split("\r\n") if ": " in line)
        found.append((message["subject"], headers, base64.b64decode(message.get("data", ""))))
    return found


def _started(directory: Path, **options: Any) -> NatsServer:
    server = NatsServer(directory, **options)
    server.start()
    return server


@pytest.fixture(autouse=True)
def _no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a running local stack, and whatever the environment says, out of the tests."""
    for name in list(os.environ):  # noqa: TID251 - a test must know what it clears
        if name.startswith("DATAPLANE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATAPLANE_STACK_DIR", str(tmp_path / "no-stack"))


@pytest.fixture(scope="session")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    """A server that all tests share; each has a dataset of its own."""
    server = _started(tmp_path_factory.mktemp("nats"))
    shared = Bus(server)
    shared.run(ensure_streams)
    yield shared
    server.clear()


@pytest.fixture
def own_bus(tmp_path: Path) -> Iterator[Bus]:
    """A server for one test, that may stop and kill it."""
    server = _started(tmp_path / "nats")
    own = Bus(server)
    own.run(ensure_streams)
    yield own
    server.clear()


@pytest.fixture
def make_bus(tmp_path: Path) -> Iterator[Callable[..., Bus]]:
    """Make servers with special configurations."""
    made: list[NatsServer] = []

    def make(*, user: str = "", **options: Any) -> Bus:
        server = _started(tmp_path / f"nats{len(made)}", **options)
        made.append(server)
        return Bus(server, user)

    yield make
    for server in made:
        server.clear()


@pytest.fixture
def dataset(request: pytest.FixtureRequest) -> str:
    """A dataset (and service) of the test's own name; a long one ends in its checksum, so that no two share one."""
    name: str = re.sub(r"[^a-z0-9_]", "_", request.node.name.lower())
    return name if len(name) <= _MAX_DATASET else f"{name[: _MAX_DATASET - 9]}_{zlib.crc32(name.encode()):08x}"


@pytest.fixture
def make_emitter(dataset: str) -> Iterator[Callable[..., Emitter]]:
    """Make emitters that are closed at the test's end."""
    made: list[Emitter] = []

    def make(servers: str, **settings: Any) -> Emitter:
        emitter = configure(servers=servers, **{"service": dataset, "namespace": "test", **settings})
        made.append(emitter)
        return emitter

    yield make
    for emitter in made:
        emitter.close(0.5)
    for thread in threading.enumerate():
        if thread.name == "dataplane-emitter":
            thread.join(10)  # it would be in the next test's way


@pytest.fixture
def captured() -> Iterator[Captured]:
    """What emitters would send, without a bus."""
    with capture_events() as captured:
        yield captured


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Poll a condition up to a deadline."""

    def wait(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if condition():
                    return
            except Transient:
                pass
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s} s")
            time.sleep(0.02)

    return wait


@pytest.fixture
def run_program(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a Python program as a process of its own, with warnings as errors in it, too."""

    def run(
        text: str, *arguments: str, timeout_s: float = 30, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        program = tmp_path / "program.py"
        program.write_text(textwrap.dedent(text))
        command = [sys.executable, "-W", "error", str(program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def end_before() -> Iterator[Callable[..., tuple["subprocess.Popen[str]", str, str]]]:
    """Run two commands, of which one may take a long time: the other has ended, and seconds later that one has not.

    This is what a deadline means on a machine of any speed. What ended is returned with what it has printed.
    """
    started: list[subprocess.Popen[str]] = []

    def end_before(quick: Sequence[str], patient: Sequence[str]) -> tuple["subprocess.Popen[str]", str, str]:
        for command in (patient, quick):
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            started.append(subprocess.Popen(command, text=True, **pipes))  # type: ignore[call-overload]
        output, errors = started[1].communicate(timeout=60)
        with pytest.raises(subprocess.TimeoutExpired):
            started[0].wait(3)
        return started[1], output, errors

    yield end_before
    for process in started:
        process.kill()
        process.communicate()
