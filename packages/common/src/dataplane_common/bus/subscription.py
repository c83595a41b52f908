"""A subscription that outlives sessions.

Flows in: what a session's client brings. Flows out: messages to one handler, in the server's order.
"""

from contextlib import suppress
from dataclasses import dataclass

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from dataplane_common.bus.direct import DirectClient, Handler, Message


@dataclass(slots=True, eq=False)
class Standing:
    """What is subscribed to in each session, and the subscription of the present one."""

    subject: str
    handler: Handler
    queue: str
    max_pending: int
    now: Subscription | None = None

    async def begin(self, client: Client) -> None:
        """Subscribe in a new session."""
        self.now = await client.subscribe(
            self.subject,
            queue=self.queue,
            cb=self._deliver,
            pending_msgs_limit=self.max_pending,
            pending_bytes_limit=0,
        )
        if self.max_pending == 0 and isinstance(client, DirectClient):
            client.shorten(self.now, self.handler)

    async def end(self) -> None:
        """Let the server know that nobody is there; never raises."""
        if self.now is not None:
            with suppress(nats.errors.Error, OSError):
                await self.now.unsubscribe()

    async def _deliver(self, message: Msg) -> None:
        self.handler(Message(message.subject, message.reply, message.data, message.headers))
