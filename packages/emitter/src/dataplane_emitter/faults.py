"""A bus for tests that can be broken on purpose: it stalls, denies, or goes away, and recovers.

Flows in: what an emitter publishes. Flows out: acknowledgements, refusals, or silence. Invariant: it speaks just enough
of the NATS client protocol for an emitter, on the loopback only, and ends with its block. It is no NATS server: what it
took is in `messages`, and nothing is stored.
Source: NATS client protocol (docs.nats.io), JetStream publish acknowledgement (NATS ADR-1).
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

_INFO = b'INFO {"server_id":"faults","version":"2.12.0","proto":1,"headers":true,"max_payload":1048576}\r\n'
_LOOK_S = 0.02
_JOIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Published:
    """A message that the bus took: subject, header block, payload."""

    subject: str
    headers: bytes
    payload: bytes


@dataclass(slots=True, eq=False)
class _Client:
    """One connection, and what it has subscribed to: (prefix of the subject, identifier)."""

    socket: socket.socket
    subscriptions: list[tuple[str, str]] = field(default_factory=list)


class FaultyBus:
    """Give its `url` to an emitter, then switch."""

    def __init__(self) -> None:
        self.messages: list[Published] = []
        self._state = "good"
        self._ended = False
        self._clients: list[_Client] = []
        self._lock = threading.Lock()  # of the clients: whoever is welcomed is hung up on, or is not welcomed
        self._threads: list[threading.Thread] = []
        self._listener = self._listen(0)
        self._port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Where an emitter connects."""
        return f"nats://127.0.0.1:{self._port}"

    def stall(self) -> None:
        """Read nothing and answer nothing from now on, while connections stay open."""
        self._state = "stalled"

    def deny(self) -> None:
        """Refuse every subject from now on."""
        self._state = "denied"

    def go_away(self) -> None:
        """End all connections and take no new ones."""
        self._hang_up()  # first: a stalled connection would answer, now that nothing holds it up
        self._state = "away"

    def recover(self) -> None:
        """Work again, under the same address."""
        was_away = self._state == "away"
        self._state = "good"
        if was_away:
            self._listener = self._listen(self._port)

    def close(self) -> None:
        """End for good."""
        self._ended = True
        self._hang_up()
        for thread in self._threads:
            thread.join(_JOIN_S)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        self._start(self._accept, listener)
        return listener

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="faulty-bus", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _hang_up(self) -> None:
        with self._lock:
            for ending in (self._listener, *(client.socket for client in self._clients)):
                with contextlib.suppress(OSError):
                    ending.shutdown(socket.SHUT_RDWR)
                ending.close()
            self._clients.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._welcome(_Client(listener.accept()[0]), listener)

    def _welcome(self, client: _Client, listener: socket.socket) -> None:
        with self._lock:
            if listener.fileno() < 0:  # hung up since it was taken
                client.socket.close()
                return
            self._clients.append(client)
            self._start(self._serve, client)

    def _serve(self, client: _Client) -> None:
        with contextlib.suppress(OSError, ValueError), client.socket.makefile("rb") as stream:
            self._wait()
            client.socket.sendall(_INFO)
            while (line := stream.readline()).endswith(b"\n"):  # the rest of a cut-off one is nobody's
                self._wait()
                self._answer(client, line, stream)

    def _wait(self) -> None:
        while self._state == "stalled" and not self._ended:
            threading.Event().wait(_LOOK_S)

    def _answer(self, client: _Client, line: bytes, stream: BinaryIO) -> None:
        verb, *words = line.decode().split()
        match verb.upper():
            case "PING":
                client.socket.sendall(b"PONG\r\n")
            case "SUB":
                client.subscriptions.append((words[0].rstrip("*>"), words[-1]))
            case "PUB" | "HPUB":
                size = int(words[-1])
                data = stream.read(size + 2)
                if len(data) < size + 2:
                    return
                header_size = int(words[-2]) if verb.upper() == "HPUB" else 0
                numbers = 2 if header_size else 1
                reply = words[1] if len(words) > numbers + 1 else ""
                self._take(client, Published(words[0], data[:header_size], data[header_size:size]), reply)

    def _take(self, client: _Client, message: Published, reply: str) -> None:
        if self._state == "denied":
            client.socket.sendall(b"-ERR 'Permissions Violation for Publish to \"%b\"'\r\n" % message.subject.encode())
            return
        self.messages.append(message)
        found = next((number for prefix, number in client.subscriptions if reply.startswith(prefix)), None)
        if reply and found:
            ack = b'{"stream":"LOGS","seq":%d}' % len(self.messages)
            client.socket.sendall(b"MSG %b %b %d\r\n%b\r\n" % (reply.encode(), found.encode(), len(ack), ack))


@contextlib.contextmanager
def faulty_bus() -> Iterator[FaultyBus]:
    """Yield a bus that works until it is switched.

    >>> from dataplane_emitter import configure
    >>> with faulty_bus() as bus:
    ...     emitter = configure(service="shop", servers=bus.url, stderr=False)
    ...     bus.go_away()
    ...     emitter.processor()(None, "info", {"event": "nobody hears this yet"})["event"]
    ...     emitter.flush(0.1)
    ...     bus.recover()
    ...     emitter.flush(10)
    ...     emitter.close()
    'nobody hears this yet'
    False
    True
    """
    bus = FaultyBus()
    try:
        yield bus
    finally:
        bus.close()
