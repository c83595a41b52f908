"""Elasticsearch's answers as a test wants them, over HTTP: no healthy server gives the rare ones."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Script = Callable[[list[bytes]], tuple[int, Any]]
_HEADERS = {
    "X-Elastic-Product": "Elasticsearch",
    "Content-Type": "application/vnd.elasticsearch+json;compatible-with=8",
}


class Raw(NamedTuple):
    """An answer as it goes over the wire."""

    body: bytes
    headers: Mapping[str, str] = _HEADERS


@dataclass
class Scripted:
    """An HTTP endpoint that answers bulk requests as a test says, and else like an Elasticsearch that has all it needs.

    `bulks` are functions (bodies' lines) → (status, answer), used up one after the other; then every action is created.
    `tasks` are begins of bulk requests that run, one answer after the other; then none runs. `indices` are a data
    stream's, each a second older than the next one.
    `told` are (part of a path, status, answer) for questions, used up one after the other by those that they fit.
    `look_ups` are answers to single look-ups, used up likewise; then `documents` are what is there.
    """

    bulks: list[Script] = field(default_factory=list)
    documents: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    look_ups: list[dict[str, Any]] = field(default_factory=list)
    indices: list[str] = field(default_factory=lambda: [".ds-1"])
    tasks: list[list[float]] = field(default_factory=list)
    deleted: list[tuple[str, str]] = field(default_factory=list)
    created: dict[str, str] = field(default_factory=dict)
    told: list[tuple[str, int, Any]] = field(default_factory=list)
    forbidden: tuple[str, ...] = ()
    forbidden_actions: tuple[str, ...] = ()
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    keeps: bool = False
    on_look_up: Callable[[dict[str, Any]], None] = lambda _document: None
    url: str = ""

    def answer(self, path: str, body: bytes, authorization: str) -> tuple[int, Any]:
        """Return (status, JSON) for a request."""
        if any(part in path for part in self.forbidden):
            return 403, {"error": {"type": "security_exception", "reason": "no right"}, "status": 403}
        if self.told and self.told[0][0] in path:
            return self.told.pop(0)[1:]
        if not path.startswith("/_bulk"):
            return 200, self._told(path, body)
        if body.startswith(b'{"delete"'):
            return self._delete(body)
        self.bodies.append(body)
        self.paths.append(path)
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


@contextmanager
def served(script: Scripted) -> Iterator[Scripted]:
    """Let a script answer on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = script.answer(self.path, body, self.headers.get("Authorization", ""))
            if not isinstance(answer, Raw):
                answer = Raw(json.dumps(answer, separators=(",", ":")).encode(), _HEADERS)
            self.send_response(status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

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
