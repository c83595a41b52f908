"""Header blocks that no client of good manners writes: the message arrives all the same, and so does the next one."""

import asyncio
import time

import pytest

from dataplane_common.bus import Connection
from dataplane_common.config import NatsConfig

BLOCKS = [
    b"X\r\n\r\n",
    b"\r\n\r\n",
    b"NATS",
    b"NATS/1.0\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0 \xff\xfe\xfd no status\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\n\xff\xfe: \xff\r\n\r\n",
    b"NATS/1.0\r\n: no name\r\n\r\n",
    b"NATS/1.0\r\nno: end",
]


async def publish_raw(url: str, block: bytes, payload: bytes) -> None:
    """Publish a message with this header block."""
    host, _, port = url.removeprefix("nats://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await reader.readline()
    writer.write(b'CONNECT {"headers":true,"verbose":false}\r\n')
    writer.write(b"HPUB odd %d %d\r\n%b%b\r\nPING\r\n" % (len(block), len(block) + len(payload), block, payload))
    assert await reader.readline() == b"PONG\r\n"
    writer.close()


@pytest.mark.parametrize("block", BLOCKS)
def test_a_message_with_odd_headers_ends_no_session(nats, run, block):
    """Any publisher could hold up all readers otherwise."""

    async def scenario() -> None:
        arrived: list[bytes] = []
        connection = Connection(NatsConfig(servers=(nats.url,)), name="tests")
        connection.start()
        await connection.wait_ready(10)
        await connection.subscribe("odd", lambda message: arrived.append(message.data))
        await connection.flush(10)
        await publish_raw(nats.url, block, b"one")
        await connection.publish("odd", b"two")
        deadline = time.monotonic() + 10
        while len(arrived) < 2:
            assert time.monotonic() < deadline, arrived
            await asyncio.sleep(0.01)
        assert (arrived, connection.sessions) == ([b"one", b"two"], 1)
        await connection.close()

    run(scenario())
