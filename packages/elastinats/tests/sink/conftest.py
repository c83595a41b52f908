"""The whole sink on a real NATS server; Elasticsearch's answers are scripted, because no healthy server gives them."""

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dataplane_common import event
from dataplane_common.config import NatsConfig
from dataplane_common.lifecycle import cancel
from elastinats import dlq
from elastinats.config import BatchConfig, ElasticsearchConfig, RouteConfig, SinkConfig, StopConfig
from elastinats.service import Sink, flow

AT = "2026-11-22T10:15:30.123456Z"
DEADLINE_S = 20.0

Script = Callable[[list[bytes]], tuple[int, Any]]


@dataclass
class Scripted:
    """An HTTP endpoint that answers bulk requests as a test says, and else like an Elasticsearch that has all it needs.

    `bulks` are functions (bodies' lines) → (status, answer), used up one after the other; then every action is created.
    `tasks` are begins of bulk requests that run, one answer after the other; then none runs. `indices` are a data
    stream's, each a second older than the next one.
    `look_ups` are answers to single look-ups, used up likewise; then `documents` are what is there.
    """

    bulks: list[Script] = field(default_factory=list)
    documents: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    look_ups: list[dict[str, Any]] = field(default_factory=list)
    indices: list[str] = field(default_factory=lambda: [".ds-1"])
    tasks: list[list[float]] = field(default_factory=list)
    deleted: list[tuple[str, str]] = field(default_factory=list)
    created: dict[str, str] = field(default_factory=dict)
    forbidden: tuple[str, ...] = ()
    forbidden_actions: tuple[str, ...] = ()
    bodies: list[bytes] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    keeps: bool = False
    on_look_up: Callable[[dict[str, Any]], None] = lambda _document: None
    url: str = ""

    def answer(self, path: str, body: bytes, authorization: str) -> tuple[int, Any]:
        """Return (status, JSON) for a request."""
        if any(part in path for part in self.forbidden):
            return 403, {"error": {"type": "security_exception", "reason": "no right"}, "status": 403}
        if not path.startswith("/_bulk"):
            return 200, self._told(path, body)
        if body.startswith(b'{"delete"'):
            return self._delete(body)
        self.bodies.append(body)
        self.authorizations.append(authorization)
        lines = body.splitlines()
        if self.bulks:
            return self.bulks.pop(0)(lines)
        return keeping(self, lines) if self.keeps else created(lines)

    def _told(self, path: str, body: bytes) -> Any:
        """Return the answer to a question."""
        if path.startswith("/_mget"):
            wanted = json.loads(body)["docs"]
            for document in wanted:
                self.on_look_up(document)
            return {"docs": [self._found(doc["_index"], doc["_id"]) for doc in wanted]}
        if path.startswith("/_tasks"):
            begun = self.tasks.pop(0) if self.tasks else []
            tasks = {str(number): {"start_time_in_millis": at} for number, at in enumerate(begun)}
            return {"nodes": {"n": {"tasks": tasks}}}
        if "creation_date" in path:
            times = {name: str(int(time.time() + number) * 1000) for number, name in enumerate(self.indices, -10)}
            return {name: {"settings": {"index.creation_date": at}} for name, at in self._created(times).items()}
        return {}

    def _created(self, times: dict[str, str]) -> dict[str, str]:
        """Let an index keep the time at which it was first seen."""
        self.created = {**times, **self.created}
        return {name: self.created[name] for name in times}

    def _delete(self, body: bytes) -> tuple[int, Any]:
        wanted = [json.loads(line)["delete"] for line in body.splitlines()]
        if "delete" in self.forbidden_actions:
            refusal = {"type": "security_exception", "reason": "no right"}
            return 200, {"errors": True, "items": [{"delete": {"status": 403, "error": refusal}}] * len(wanted)}
        self.deleted += [(each["_index"], each["_id"]) for each in wanted]
        return 200, {"errors": False, "items": [{"delete": {"status": 200}}] * len(wanted)}

    def _found(self, index: str, identity: str) -> dict[str, Any]:
        if self.look_ups:
            return self.look_ups.pop(0)
        source = self.documents.get((index, identity))
        return {"_id": identity, "found": source is not None, "_source": source}


def keeping(scripted: Scripted, lines: list[bytes]) -> tuple[int, Any]:
    """Answer as a data stream does: keep what is new, refuse a known id."""
    items = []
    for action, document in zip(lines[0::2], lines[1::2], strict=True):
        place = (scripted.indices[-1], json.loads(action)["create"]["_id"])
        known = place in scripted.documents
        scripted.documents.setdefault(place, json.loads(document))
        refusal = {"status": 409, "error": {"type": "version_conflict_engine_exception", "index": place[0]}}
        items.append({"create": refusal if known else {"status": 201, "_index": place[0]}})
    return 200, {"errors": any(item["create"]["status"] == 409 for item in items), "items": items}


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


class Bench:
    """One sink between the bus and the script, with a dataset of its own; and what its tests write and read."""

    source = "0123456789abcdef"

    def line(self, position: int, message: str = "hello") -> bytes:
        """Return an event's line."""
        return event.encode(event.event_id(self.source, position), AT, {"message": message})

    def identity(self, position: int) -> str:
        """Return an event's id."""
        return event.event_id(self.source, position)

    @staticmethod
    def answers(*items: dict[str, Any]) -> Script:
        """Answer a bulk with these items."""
        return lambda _lines: (200, {"errors": True, "items": [{"create": item} for item in items]})

    @staticmethod
    def keeping(scripted: Scripted, lines: list[bytes]) -> tuple[int, Any]:
    """Answer as a data stream does: keep what is new, refuse a known id."""
    items = []
    for action, document in zip(lines[0::2], lines[1::2], strict=True):
        place = (scripted.indices[-1], json.loads(action)["create"]["_id"])
        known = place in scripted.documents
        scripted.documents.setdefault(place, json.loads(document))
        refusal = {"status": 409, "error": {"type": "version_conflict_engine_exception", "index": place[0]}}
        items.append({"create": refusal if known else {"status": 201, "_index": place[0]}})
    return 200, {"errors": any(item["create"]["status"] == 409 for item in items), "items": items}


def created(lines: list[bytes]) -> tuple[int, Any]:
        """Answer that each action created its document."""
        return created(lines)

    @staticmethod
    def fails(status: int) -> Script:
        """Refuse a whole request."""
        return lambda _lines: (status, {"error": {"type": "some_exception", "reason": "no"}, "status": status})

    @staticmethod
    def ids(body: bytes) -> list[str]:
        """Return the ids of a bulk's actions."""
        return [json.loads(text)["create"]["_id"] for text in body.splitlines()[::2]]

    @staticmethod
    def run(scenario: Coroutine[Any, Any, None]) -> None:
        """Run a scenario to its end."""
        asyncio.run(asyncio.wait_for(scenario, 60))

    def __init__(self, nats_url: str, elasticsearch_url: str, **changes: Any) -> None:
        self.dataset = f"t_{secrets.token_hex(6)}"
        self.subject = f"logs.test.{self.dataset}.host"
        elasticsearch = ElasticsearchConfig(hosts=(elasticsearch_url,), setup=False, **changes.pop("elasticsearch", {}))
        batch = BatchConfig(linger_ms=20, **changes.pop("batch", {}))
        self.config = SinkConfig(
            name=self.dataset,
            nats=NatsConfig(servers=tuple(nats_url.split(","))),
            elasticsearch=elasticsearch,
            batch=batch,
            routes=(RouteConfig(name="r", subjects=(f"logs.test.{self.dataset}.>",)),),
            stop=StopConfig(grace_s=changes.pop("grace_s", 10.0)),
            **changes,
        )
        self.sink: Sink = None  # type: ignore[assignment]
        self.stop: asyncio.Event = None  # type: ignore[assignment]
        self.task: asyncio.Task[Any] = None  # type: ignore[assignment]
        self.exit_code: int | None = None

    @asynccontextmanager
    async def running(self):
        """Run the sink until the block ends, then stop it in order; the block begins when the sink is pulling."""
        self.sink, self.stop = Sink(self.config), asyncio.Event()
        await self.sink.prepare(self.stop)
        task = self.task = asyncio.create_task(flow(self.sink, self.stop))
        try:
            while not (await self.consumer()).get("num_waiting"):
                await asyncio.sleep(0.01)
            yield self
            self.stop.set()
            self.exit_code = int(await task)
        finally:
            await cancel(task)  # type: ignore[arg-type]
            await self.sink.close()

    async def publish(self, payload: bytes, headers: dict[str, str] | None = None) -> None:
        """Publish any message on the sink's subject."""
        await self.sink.connection.publish(self.subject, payload, headers=headers)

    async def publish_frame(self, *lines: bytes, **headers: str) -> None:
        """Publish lines as a frame of ours."""
        await self.publish(b"".join(lines), {"Dp-Count": str(len(lines)), **headers})

    async def publish_acknowledged(self, *lines: bytes) -> None:
        """Publish lines as a frame, and wait until the stream has it."""
        await (await self.sink.publisher.publish(self.subject, b"".join(lines), {"Dp-Count": str(len(lines))}))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition while the sink runs."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert not self.task.done(), self.task.exception()
            assert time.monotonic() < deadline, self.sink.counts
            self.assert_conserved()
            await asyncio.sleep(0.01)

    def assert_conserved(self) -> None:
        """Hold the counts to what is really being worked on: received = done + dead + in flight, at any moment."""
        waiting = sum(claim.waiting for claim in self.sink.settler._claims)
        assert self.sink.counts.in_flight == waiting, (self.sink.counts, waiting)

    async def until_done(self, events: int) -> None:
        """Wait until so many events were received and all of them are done."""
        counts = self.sink.counts
        await self.until(lambda: counts.received >= events and counts.in_flight == 0 and not self.task.done())

    async def letters(self) -> list[dlq.Entry]:
        """Return this sink's dead letters."""
        return [entry async for entry in dlq.entries(self.sink.connection, subject=f"logs.test.{self.dataset}.>")]

    async def ack_pending(self) -> int:
        """Return how many messages are delivered and not settled."""
        return int((await self.consumer())["num_ack_pending"])

    async def consumer(self) -> dict[str, Any]:
        """Return what the server says of the sink's consumer."""
        subject = f"$JS.API.CONSUMER.INFO.LOGS.{self.config.name}_r"
        answer: dict[str, Any] = json.loads(await self.sink.connection.request(subject))
        return answer


@pytest.fixture
def make_bench(nats_url, scripted) -> Callable[..., Bench]:
    """Return a function that makes a sink with other settings than the defaults."""
    return lambda **changes: Bench(changes.pop("nats_url", nats_url), scripted.url, **changes)


@pytest.fixture
def bench(make_bench) -> Bench:
    """A sink with the default settings."""
    return make_bench()
