"""A proxy before Elasticsearch that does to bulk requests what networks and busy servers do.

Flows in: HTTP requests, and a plan that names a fault for each bulk request. Flows out: the server's answers, or the
fault. Invariant: only `/_bulk` is troubled; what a fault says of an event (applied or not) is true of the server.
"""

import itertools
import json
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

#: What `Fault.ITEMS_429` refuses: each item whose number divides by this.
REFUSED_EVERY = 3
_UPSTREAM_TIMEOUT_S = 60.0
_HEADERS = [("Content-Type", "application/json"), ("X-elastic-product", "Elasticsearch")]
_HOP_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "accept-encoding", "host"})


class Fault(StrEnum):
    """What happens to one bulk request."""

    NONE = "none"
    RESET_BEFORE = "reset_before"  # nothing is applied, the connection is reset
    RESET_AFTER = "reset_after"  # all is applied, the connection is reset
    CUT = "cut"  # all is applied, half of the answer arrives
    SILENT = "silent"  # all is applied, no answer arrives until the client goes away
    SLOW = "slow"  # all is applied, the answer is late
    LATE = "late"  # the request arrives after the client has given up, or when the test lets it go
    BUSY = "busy"  # 429 for the whole request
    DOWN = "down"  # 503 for the whole request
    ITEMS_429 = "items_429"  # some items are refused, the rest is applied
    ONE_SHORT = "one_short"  # all is applied, the answer lacks an item


class Answer(NamedTuple):
    """What the client gets."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


Plan = Callable[[], Fault]


def no_faults() -> Fault:
    """Trouble nothing."""
    return Fault.NONE


def sequence(*faults: Fault) -> Plan:
    """Return a plan with these faults, one for each bulk request, and none after them."""
    planned = itertools.chain(faults, itertools.repeat(Fault.NONE))
    return _locked(planned)


def storm(seed: int, *, every: int) -> Plan:
    """Return a plan without an end: of `every` bulk requests each fault troubles one, in random order."""
    draw = random.Random(seed)  # noqa: S311 - the same storm each time
    deck = [*Fault, *[Fault.NONE] * (every - len(Fault))]
    return _locked(fault for _ in itertools.count() for fault in draw.sample(deck, every))


def _locked(planned: Iterator[Fault]) -> Plan:
    lock = threading.Lock()

    def plan() -> Fault:
        with lock:
            return next(planned)

    return plan


class FaultProxy:
    """Listens on a free port of the loopback interface; `plan` may be changed at any time."""

    def __init__(
        self, upstream: str, plan: Plan = no_faults, *, slow_s: float = 0.5, late_s: float = 3.0, port: int = 0
    ) -> None:
        self.upstream = urlsplit(upstream)
        self.plan = plan
        self.slow_s = slow_s
        self.late_s = late_s
        self.late: list[threading.Event] = []
        self.connections: set[socket.socket] = set()
        self.met: Counter[Fault] = Counter()
        self.look_ups = 0
        self.running = 0
        self.most_running = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] - clients go away, that is the test
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.socket.close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def begin(self, fault: Fault) -> None:
        """Count a bulk request that arrives."""
        with self._lock:
            self.met[fault] += 1
            self.running += 1
            self.most_running = max(self.most_running, self.running)

    def end(self) -> None:
        """Count a bulk request that is over."""
        with self._lock:
            self.running -= 1

    def hold(self) -> None:
        """Keep a late request back; `late[n].set()` lets number n go on."""
        go_on = threading.Event()
        self.late.append(go_on)
        go_on.wait(self.late_s)

    def wait(self, seconds: float) -> None:
        """Let time pass, up to the end of the proxy."""
        self._closed.wait(seconds)


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client, with one of its own to the server."""

    protocol_version = "HTTP/1.1"
    owner: FaultProxy

    def setup(self) -> None:
        """Remember the connection, which ends with the proxy."""
        super().setup()
        self.owner.connections.add(self.connection)

    def do_ANY(self) -> None:
        """Pass a request on, or do to it what the plan says."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.path.startswith("/_bulk"):
            self._pass_on(body)
            self.owner.look_ups += "creation_date" in self.path
            return
        fault = self.owner.plan()
        self.owner.begin(fault)
        try:
            self._trouble(fault, body)
        finally:
            self.owner.end()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_ANY  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing."""

    def _trouble(self, fault: Fault, body: bytes) -> None:
        match fault:
            case Fault.BUSY:
                self._answer(_refusal(429, "es_rejected_execution_exception"))
            case Fault.DOWN:
                self._answer(_refusal(503, "cluster_block_exception"))
            case Fault.RESET_BEFORE:
                self._reset()
            case Fault.ITEMS_429:
                self._refuse_some(body)
            case Fault.LATE:
                self.owner.hold()
                self._spoil(fault, self._ask(body))
            case _:
                self._spoil(fault, self._ask(body))

    def _spoil(self, fault: Fault, answer: Answer | None) -> None:
        if answer is None or fault is Fault.RESET_AFTER:
            self._reset()
        elif fault is Fault.CUT:
            self._answer(answer, cut=True)
        elif fault is Fault.SILENT:
            self._wait_for_the_client()
        elif fault is Fault.ONE_SHORT:
            self._answer(_without_last_item(answer))
        else:
            self.owner.wait(self.owner.slow_s if fault is Fault.SLOW else 0)
            self._answer(answer)

    def _refuse_some(self, body: bytes) -> None:
        """Send the server only what is not refused, and put the refusals into its answer."""
        lines = body.split(b"\n")[:-1]
        pairs = [b"\n".join(lines[at : at + 2]) + b"\n" for at in range(0, len(lines), 2)]
        kept = [pair for number, pair in enumerate(pairs) if number % REFUSED_EVERY]
        answer = self._ask(b"".join(kept)) if kept else Answer(200, [], b'{"errors":true,"items":[]}')
        if answer is None:
            self._reset()
            return
        if answer.status != 200:
            self._answer(answer)
            return
        items = iter(json.loads(answer.body)["items"])
        refusal = {"create": {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "full"}}}
        merged = [next(items) if number % REFUSED_EVERY else refusal for number in range(len(pairs))]
        self._answer(Answer(200, answer.headers, json.dumps({"errors": True, "items": merged}).encode()))

    def _pass_on(self, body: bytes) -> None:
        answer = self._ask(body)
        if answer is None:
            self._reset()
        else:
            self._answer(answer)

    def _ask(self, body: bytes) -> Answer | None:
        """Return the server's answer; None where there is none."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_HEADERS}
        connection = self._upstream()
        try:
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()
        kept = [(name, value) for name, value in response.getheaders() if name.lower() not in _HOP_HEADERS]
        return Answer(response.status, kept, content)

    def _upstream(self) -> HTTPConnection:
        """Return a connection for one request: one that is kept could be dead after a restart, and not say so."""
        where = self.owner.upstream
        assert where.hostname is not None
        return HTTPConnection(where.hostname, where.port or 80, timeout=_UPSTREAM_TIMEOUT_S)

    def _answer(self, answer: Answer, *, cut: bool = False) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers or _HEADERS:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if cut else answer.body)
        if cut:
            self.wfile.flush()
            self._end()

    def _reset(self) -> None:
        """Close so that the client gets RST instead of FIN (SO_LINGER with a time of zero)."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._end()

    def _end(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.rfile.close()
            self.wfile.close()
            self.connection.close()

    def _wait_for_the_client(self) -> None:
        self.connection.settimeout(_UPSTREAM_TIMEOUT_S)
        with suppress(OSError):
            self.connection.recv(1)
        self._end()

    def finish(self) -> None:
        """Flush what a fault has not closed already."""
        self.owner.connections.discard(self.connection)
        with suppress(OSError, ValueError):
            super().finish()


def _refusal(status: int, kind: str) -> Answer:
    error = {"error": {"type": kind, "reason": "put in by a test"}, "status": status}
    return Answer(status, [], json.dumps(error).encode())


def _without_last_item(answer: Answer) -> Answer:
    content = json.loads(answer.body)
    content.get("items", [None]).pop()
    return Answer(answer.status, answer.headers, json.dumps(content).encode())
