"""What the sink's tests share: deliveries without a bus, a recorder of answers, real NATS servers, a scripted endpoint."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
        if self.away:
            raise Transient("away")
        self.answers.append(payload)


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


@dataclass
class Scripted:
    """An HTTP endpoint that answers bulk requests as a test says, and else like an Elasticsearch that has all it needs.

    `bulks` are functions (bodies' lines) → (status, answer), used up one after the other; then every action is created.
    """

    bulks: list[Callable[[list[bytes]], tuple[int, Any]]] = field(default_factory=list)
    documents: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    indices: list[str] = field(default_factory=lambda: [".ds-1"])
    bodies: list[bytes] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, body: bytes, authorization: str) -> tuple[int, Any]:
        """Return (status, JSON) for a request."""
        if path.startswith("/_bulk"):
            self.bodies.append(body)
            self.authorizations.append(authorization)
            lines = body.splitlines()
            return self.bulks.pop(0)(lines) if self.bulks else created(lines)
        if path.startswith("/_mget"):
            return 200, {"docs": [self._found(doc["_index"], doc["_id"]) for doc in json.loads(body)["docs"]]}
        if path.startswith("/_resolve"):
            return 200, {"data_streams": [{"name": "x", "backing_indices": self.indices}]}
        return 200, {}

    def _found(self, index: str, identity: str) -> dict[str, Any]:
        source = self.documents.get((index, identity))
        return {"_id": identity, "found": source is not None, "_source": source}


def created(lines: list[bytes]) -> tuple[int, Any]:
    """Answer that each action created its document."""
    return 200, {"errors": False, "items": [{"create": {"status": 201}}] * (len(lines) // 2)}


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A scripted endpoint on a free port."""
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = script.answer(self.path, body, self.headers.get("Authorization", ""))
            text = json.dumps(answer, separators=(",", ":")).encode()
            self.send_response(status)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Type", "application/vnd.elasticsearch+json;compatible-with=8")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST  # noqa: N815 - the names are http.server's

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    yield script
    server.shutdown()
    thread.join()
    server.server_close()
