"""What a connection leaves behind when it is closed at any time: nothing."""

import asyncio
import gc

from dataplane_common.bus import Connection
from dataplane_common.config import NatsConfig
from dataplane_common.local.ports import free_port


def test_closed_while_it_tries_to_connect():
    """An attempt that fails while nobody waits for it any more is not reported as an error of the program."""
    complaints: list[dict] = []

    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        for turns in range(30):
            connection = Connection(NatsConfig(servers=(f"nats://127.0.0.1:{free_port(0).number}",)), name="tests")
            connection.start()
            for _ in range(turns):
                await asyncio.sleep(0)
            await connection.close()
            del connection
            gc.collect()

    asyncio.run(work())
    gc.collect()
    assert not complaints
