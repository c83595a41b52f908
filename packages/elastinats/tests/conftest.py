"""What the sink's tests share: deliveries without a bus, a recorder of their answers, real NATS servers."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from dataplane_common.bus import Connection, Delivery, ensure_streams
from dataplane_common.config import NatsConfig
from dataplane_common.errors import Transient
from dataplane_common.local import NatsServer


@pytest.fixture(scope="session", autouse=True)
def _no_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep a running local stack out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATAPLANE_STACK_DIR", str(tmp_path_factory.mktemp("no-stack")))
        yield


class Recorder:
    """Stands where the connection is and remembers the answers of deliveries; `away` makes it refuse."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.away = False

    async def publish(self, _subject: str, payload: bytes) -> None:
        """Take an answer."""
        await self.publish_all([_subject], payload)

    async def publish_all(self, subjects: Sequence[str], payload: bytes) -> None:
        """Take several answers."""
        if self.away:
            raise Transient("away")
        self.answers += [payload] * len(subjects)


@pytest.fixture
def recorder() -> Recorder:
    """A recorder of the answers that deliveries give."""
    return Recorder()


@pytest.fixture
def make_delivery(recorder: Recorder) -> Callable[..., Delivery]:
    """Return a function that makes a delivery as the bus would bring it."""

    def make(
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        subject: str = "logs.prod.web.host-1",
        deliveries: int = 1,
        sequence: int = 7,
    ) -> Delivery:
        reply = f"$JS.ACK.LOGS.sink.{deliveries}.{sequence}.1.1767225600000000000.0"
        message: Any = SimpleNamespace(subject=subject, data=payload, headers=dict(headers or {}), reply=reply)
        connection: Any = recorder
        return Delivery(message, connection)

    return make


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A real server with the streams."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()

    async def streams() -> None:
        connection = Connection(NatsConfig(servers=(server.url,)), name="test")
        connection.start()
        await connection.wait_ready(10)
        await ensure_streams(connection)
        await connection.close()

    asyncio.run(streams())
    yield server
    server.clear()


@pytest.fixture
def nats_url(nats_server: NatsServer) -> str:
    """Where the server is."""
    return nats_server.url
