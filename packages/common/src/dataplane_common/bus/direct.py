"""A client that hands messages to their handlers as it reads them, without a queue and a task in between.

Flows in: bytes from the socket. Flows out: messages, in the server's order; all else stays with the client library.
Invariant: whatever the bytes and wherever they are cut, the messages, their order and the errors are those of the
library's own parser (docs/adr/0013-messages-are-taken-as-they-are-read.md).
"""

import re
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.protocol import parser

from dataplane_common.bus.tolerant import TolerantClient

#: The one way in which servers begin a message. What begins otherwise, or is not complete, is left to the library.
_PLAIN = re.compile(rb"MSG (\S+) ([0-9]{1,9}) (?:(\S+) )?([0-9]{1,9})\r\n").match
_WITH_HEADERS = re.compile(rb"HMSG (\S+) ([0-9]{1,9}) (?:(\S+) )?([0-9]{1,9}) ([0-9]{1,9})\r\n(?=NATS/)").match
_END_BYTES = len(b"\r\n")
#: The start of a line is joined with what comes next; one that is longer than any server's is left to the library.
_MOST_JOINED_BYTES = 64 * 1024


class Message(msgspec.Struct):
    """A message as the server brought it; `reply` is empty where no answer is wanted."""

    subject: str
    reply: str
    data: bytes
    headers: dict[str, str] | None = None


Handler = Callable[[Message], None]


class _Parser(parser.Parser):
    """Takes the messages that were read whole; its base takes what is left of each read."""

    nc: "DirectClient"

    async def parse(self, data: bytes = b"") -> None:
        if self.state == parser.AWAITING_MSG_PAYLOAD:
            missing = self.needed + _END_BYTES - len(self.buf)
            await super().parse(data[:missing])
            data = data[missing:]
            if not data:
                return
        elif 0 < len(self.buf) <= _MOST_JOINED_BYTES:
            data = bytes(self.buf) + data
            self.buf.clear()
        if not self.buf:
            data = data[await self._take(data) :]
        await super().parse(data)

    async def _take(self, data: bytes) -> int:
        """Hand over the messages that `data` begins with, and return where they end."""
        taken, size, direct = 0, len(data), self.nc.direct
        while True:
            if (found := _PLAIN(data, taken)) is not None:
                subject, sid, reply, total = found.groups(b"")
                start = split = found.end()
            elif (found := _WITH_HEADERS(data, taken)) is not None:
                subject, sid, reply, head, total = found.groups(b"")
                start = found.end()
                split = start + int(head)
            else:
                return taken
            end = start + int(total)
            if end + _END_BYTES > size:
                return taken
            taken = end + _END_BYTES
            if split == start and (handler := direct.get(sid)) is not None:
                message = Message(subject.decode(), reply.decode(), data[start:end])
                try:
                    handler(message)
                except Exception as error:  # noqa: BLE001 - as the library does with what a handler raises
                    await self.nc.note(error)
            else:
                await self.nc.process(int(sid), subject, reply, data[split:end], data[start:split] or None)


class DirectClient(TolerantClient):
    """The library's client with a shorter way for the messages of the subscriptions in `direct`, by their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.direct: dict[bytes, Handler] = {}
        self._ps = _Parser(self)

    def shorten(self, subscription: Subscription, handler: Handler) -> None:
        """Have a subscription's messages handed to `handler` from now on."""
        self.direct[b"%d" % subscription._id] = handler  # noqa: SLF001 - there is no public name for it

    async def note(self, error: Exception) -> None:
        """Tell of an error as the library does."""
        await self._error_cb(error)

    async def process(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        """Take any message from the parser."""
        handler = self.direct.get(b"%d" % sid)
        if handler is None:
            await super()._process_msg(sid, subject, reply, data, headers)  # type: ignore[arg-type]  # None works
            return
        message = Message(subject.decode(), reply.decode(), data, await self._process_headers(headers))
        try:
            handler(message)
        except Exception as error:  # noqa: BLE001 - as above
            await self.note(error)

    _process_msg = process

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self.direct.pop(b"%d" % sid, None)
        super()._remove_sub(sid, max_msgs)


@cache
def is_known() -> bool:
    """Tell whether the library reads as this module relies on; found out by trying, because none of it is promised."""
    try:
        return _tried()
    except Exception:  # noqa: BLE001 - whatever it is, the library is not the one that is known
        return False


def _tried() -> bool:
    taken: list[tuple[object, ...]] = []

    class _Recorder:
        async def _process_msg(self, *message: object) -> None:
            taken.append(message)

    trial = parser.Parser(_Recorder())
    _finish(trial.parse(b"MSG a 1 r 5\r\nhe"))
    half = (trial.state, trial.needed, bytes(trial.buf))
    _finish(trial.parse(b"llo\r\nHMSG b 2 12 14\r\nNATS/1.0\r\n\r\nhi\r\nMSG c"))
    client = DirectClient()
    return (
        type(Client()._ps) is parser.Parser  # noqa: SLF001
        and half == (parser.AWAITING_MSG_PAYLOAD, 5, b"he")
        and (trial.state, bytes(trial.buf)) == (parser.AWAITING_CONTROL_LINE, b"MSG c")
        and taken == [(1, b"a", b"r", b"hello", None), (2, b"b", b"", b"hi", b"NATS/1.0\r\n\r\n")]
        and _finish(client._process_headers(b"NATS/1.0 404 None\r\n\r\n")) == {"Status": "404", "Description": "None"}  # noqa: SLF001
        and all(map(callable, (client._error_cb, super(DirectClient, client)._remove_sub, client._process_msg)))  # noqa: SLF001
    )


def _finish(work: Coroutine[Any, Any, Any]) -> Any:
    """Run what waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    work.close()
    raise TypeError("it waits")
