"""Messages that are taken as they are read are those that the library would bring, in its order, with its errors."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nats.protocol import parser

from dataplane_common.bus import Connection, direct
from dataplane_common.bus.direct import DirectClient, Message, is_known
from dataplane_common.bus.tolerant import TolerantClient
from dataplane_common.config import NatsConfig

#: Subscriptions 1 and 2 have the shorter way, 3 has not, 4 is none.
SHORT, ALL = (1, 2), (1, 2, 3)


class Recording:
    """Writes down, in one list, what the parser brings."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []
        self._error_cb = self._note_error

    async def _note_error(self, error: Exception) -> None:
        self.seen.append(("failed", type(error)))

    async def _process_err(self, text: str) -> None:
        self.seen.append(("error", text))

    async def _process_ping(self) -> None:
        self.seen.append("ping")

    async def _process_pong(self) -> None:
        self.seen.append("pong")

    async def _process_info(self, info: object, _initial: bool = False) -> None:
        self.seen.append(("info", info))


class LongWay(Recording, TolerantClient):
    """The library's client, which no headers can end."""

    async def _process_msg(self, sid, subject, reply, data, headers) -> None:
        if sid in ALL:
            told = await self._process_headers(headers)
            self.seen.append((sid, subject.decode(), reply.decode(), data, told))


class ShortWay(Recording, DirectClient):
    """Ours."""

    def __init__(self) -> None:
        super().__init__()
        for sid in SHORT:
            self.shorten(SimpleNamespace(_id=sid), self.handler(sid))  # type: ignore[arg-type]
        self._subs = {3: self}  # type: ignore[dict-item]  # its messages go to the library, which asks nothing of it

    def handler(self, sid: int) -> Callable[[Message], None]:
        """Return what takes the messages of a subscription."""

        def take(message: Message) -> None:
            self.seen.append((sid, message.subject, message.reply, message.data, message.headers))

        return take

    async def _process_msg(self, sid, subject, reply, data, headers) -> None:
        if sid in SHORT:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            await LongWay._process_msg(self, sid, subject, reply, data, headers)  # type: ignore[arg-type]

    async def process(self, sid, subject, reply, data, headers) -> None:
        """Take what the shorter way leaves."""
        await (super().process if sid in SHORT else self._process_msg)(sid, subject, reply, data, headers)


def read(client: Recording, reads: list[bytes]) -> list[object]:
    """Return what a client makes of bytes that come in pieces, the error that ends it included."""

    async def work() -> None:
        for piece in reads:
            await client._ps.parse(piece)  # type: ignore[attr-defined]

    try:
        asyncio.run(work())
    except Exception as error:  # noqa: BLE001 - whatever it is, it must be the same
        client.seen.append(type(error))
    return client.seen


names = st.sampled_from(["logs.prod.web.host", "_INBOX.a.b", "a", "ä.ö"])
acks = st.sampled_from(["", "$JS.ACK.LOGS.sink.1.7.7.1767225600000000000.0", "$JS.ACK._.x.LOGS.s.1.7.7.176722560.0.r"])
payloads = st.binary(max_size=40) | st.sampled_from([b"", b"\r\n", b"MSG a 1 2\r\n", b"PING\r\n", b"x" * 70_000])
blocks = st.sampled_from(
    [
        b"NATS/1.0 404 No Messages\r\n\r\n",
        b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 3\r\nNats-Pending-Bytes: 0\r\n\r\n",
        b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
        b"NATS/1.0 503\r\n\r\n",
        b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 5\r\n\r\n",
        b"NATS/1.0\r\nDp-Count: 3\r\nNats-Msg-Id:x\r\nBad Name: 1\r\nno colon\r\nDp-Count: 4\r\n\r\n",
        b"NATS/1.0\r\n\r\n",
        b"NATS/1.0",
        b"55\r\n",
        b"",
    ]
)
sids = st.sampled_from(["1", "1", "2", "3", "4", "01", "x"])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Draw a message, well formed for the most part."""
    gap = draw(st.sampled_from([" "] * 9 + ["  ", "\t"]))
    block, payload = draw(st.none() | blocks), draw(payloads)
    sizes = [len(payload)] if block is None else [len(block), len(block) + len(payload)]
    if draw(st.integers(0, 19)) == 0:
        sizes[-1] = max(0, sizes[-1] + draw(st.integers(-12, 12)))
    words = ["MSG" if block is None else "HMSG", draw(names), draw(sids), draw(acks), *map(str, sizes)]
    return gap.join(filter(None, words)).encode() + b"\r\n" + (block or b"") + payload + b"\r\n"


others = st.sampled_from(
    [
        b"PING\r\n",
        b"PONG\r\n",
        b"+OK\r\n",
        b"-ERR 'Stale Connection'\r\n",
        b'INFO {"max_payload":5}\r\n',
        b"PING\r\n\r\n",
    ]
)
garbage = st.binary(max_size=12) | st.sampled_from([b"HMSG a 1 2 3\r\n", b"MSG a 1 99999999999999999999\r\n", b"\r\n"])
streams = st.lists(messages() | messages() | others, max_size=12).map(b"".join)


@given(st.tuples(streams, st.just(b"") | garbage, streams).map(b"".join), st.lists(st.integers(0, 3000), max_size=6))
@example(b"HMSG a 1 2 3\r\n55\r\n" * 9, [])
@example(b"HMSG a 1 2 3\r\n55\r\n" * 3, [14])
@example(b"MSG a 1 1\r\nx\r\nPING\r\nMSG a 1 1\r\ny\r\nMSG a 1 1\r\nz\r\n", [20, 31])
def test_whatever_is_read_is_what_the_library_reads(stream, cuts):
    """Any bytes, cut anywhere: the same messages, signs and errors in the same order."""
    at = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    reads = [stream[start:end] for start, end in pairwise(at)]
    assert read(ShortWay(), reads) == read(LongWay(), reads)


def test_a_handler_that_fails_does_not_end_the_session():
    """Its error is told as the library tells it, and the next message is taken."""
    client, taken = ShortWay(), []

    def fail_once(message: Message) -> None:
        taken.append(message.data)
        if len(taken) < 3:
            raise KeyError(message.data)

    client.shorten(SimpleNamespace(_id=1), fail_once)  # type: ignore[arg-type]
    seen = read(client, [b"MSG a 1 1\r\n1\r\nHMSG a 1 12 13\r\nNATS/1.0\r\n\r\n2\r\nMSG a 1 1\r\n3\r\n"])
    assert (seen, taken) == ([("failed", KeyError)] * 2, [b"1", b"2", b"3"])


class ChangedParser(parser.Parser):
    """A library that keeps its state elsewhere."""

    async def parse(self, data: bytes = b"") -> None:
        """Lose everything."""


@pytest.fixture
def _changed_library(monkeypatch: pytest.MonkeyPatch):
    is_known.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(direct.parser, "Parser", ChangedParser)
        yield
    is_known.cache_clear()


def test_the_library_of_the_lock_is_known():
    """With the version that is installed here, the shorter way is taken."""
    assert is_known()


@pytest.mark.usefixtures("_changed_library")
def test_a_library_that_reads_otherwise_is_left_alone(nats, run):
    """Then messages come the library's own way, and that is said once."""
    reports: list[str] = []

    async def work() -> None:
        connection = Connection(NatsConfig(servers=(nats.url,)), name="tests", report=reports.append)
        connection.start()
        await connection.wait_ready(10)
        arrived = asyncio.get_running_loop().create_future()
        await connection.subscribe("a", arrived.set_result)
        await connection.publish("a", b"1", reply="b", headers={"C": "d"})
        assert await arrived == Message("a", "b", b"1", {"C": "d"})
        await connection.close()

    run(work())
    assert reports == ["the installed nats-py is not one that is known: messages are taken the slower way"]


def test_after_the_end_of_a_subscription_nothing_is_handed_over(nats, run):
    """A handler that was taken away is not called again, and the next one gets what comes then."""

    async def work() -> None:
        connection = Connection(NatsConfig(servers=(nats.url,)), name="tests")
        connection.start()
        await connection.wait_ready(10)
        first: list[Message] = []
        await connection.subscribe("a", first.append)
        await connection.unsubscribe("a")
        arrived = asyncio.get_running_loop().create_future()
        await connection.subscribe("a", arrived.set_result)
        await connection.publish("a", b"1")
        assert (await arrived).data == b"1"
        assert first == []
        await connection.close()

    run(work())
