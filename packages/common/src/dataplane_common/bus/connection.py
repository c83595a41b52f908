"""One supervised connection to NATS: the edge that owns the client library.

Flows in: messages to publish, subscriptions that shall outlive the server. Flows out: messages, and `Transient` where
the bus is away. Invariant: each session is a new client, so credentials are read again, nothing is buffered
behind the caller's back and no error of the old session survives (docs/adr/0001-one-client-per-session.md).
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import nats.errors
from nats.aio.client import Client

from dataplane_common.bus.direct import DirectClient, Handler, is_known
from dataplane_common.bus.session import confirm, is_optional, let_go, options, send_all, text
from dataplane_common.bus.subscription import Standing
from dataplane_common.bus.tolerant import TolerantClient
from dataplane_common.config import NatsConfig, mask_url
from dataplane_common.errors import ConfigError, TooLarge, Transient
from dataplane_common.frame import HEADROOM_BYTES
from dataplane_common.lifecycle import cancel
from dataplane_common.retry import Backoff

#: The server's own default, assumed until a server has told its limit.
_DEFAULT_MAX_PAYLOAD_BYTES = 1024 * 1024
#: How often a session is looked at for an end that its callback could not tell.
_WATCH_INTERVAL_S = 0.5
#: What is flushed when the connection is closed may take this long.
_CLOSE_TIMEOUT_S = 2.0
_BACKOFF = Backoff(initial_s=0.2, max_s=5.0)
#: What the server says to a client whose credentials it does not accept.
_REFUSED = "authorization"


def _say_nothing(_text: str) -> None:
    """Stand in for a report that nobody asked for."""


class Connection:
    """A connection to NATS that comes back by itself, for ever, until it is closed.

    Publishing never blocks and never buffers for an absent server: it raises `Transient`, and the caller, who owns
    the data, tries again. `report` hears one line about each problem; it must not raise.
    """

    def __init__(self, config: NatsConfig, *, name: str, report: Callable[[str], None] = _say_nothing) -> None:
        self._config = config
        self._name = name
        self._report = report
        self._client: Client | None = None
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        self._subscriptions: list[Standing] = []
        self._on_ready: list[Callable[[], None]] = []
        self._discovered: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self._last_error = "no attempt yet"
        self._last_max_payload = _DEFAULT_MAX_PAYLOAD_BYTES
        self.inbox = f"{config.inbox_prefix}.{secrets.token_hex(11)}"
        self.sessions = 0

    @property
    def is_connected(self) -> bool:
        """Whether a session is up now."""
        return self._client is not None and bool(self._client.is_connected)

    @property
    def last_error(self) -> str:
        """The last problem, as one line for a person."""
        return self._last_error

    @property
    def max_message_bytes(self) -> int:
        """What headers and payload may weigh together, the headroom taken off."""
        if self._client is not None:
            self._last_max_payload = self._client.max_payload
        return self._last_max_payload - HEADROOM_BYTES

    def start(self) -> None:
        """Begin to connect in the background; call once, within the event loop."""
        if not is_known():
            self._report("the installed nats-py is not one that is known: messages are taken the slower way")
        self._task = asyncio.create_task(self._supervise())

    def on_ready(self, callback: Callable[[], None]) -> None:
        """Have `callback` called at each session's start, after all subscriptions were made."""
        self._on_ready.append(callback)

    async def wait_ready(self, timeout_s: float) -> None:
        """Wait for a session.

        Raises:
            Transient: none came up in time; the text names the servers, the reason and the remedy.
            ConfigError: credentials cannot be read.
        """
        waiter = asyncio.ensure_future(self._ready.wait())
        watched: list[asyncio.Future[Any]] = [waiter, *([self._task] if self._task else [])]
        await asyncio.wait(watched, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        await cancel(waiter)
        if self._task is not None and self._task.done():
            self._task.result()
        if not self._ready.is_set():
            raise Transient(
                f"NATS at {self._shown_servers()} cannot be reached within {timeout_s:g} s: {self._last_error}; "
                "start the server, or name another one ([nats] servers, --nats, DATAPLANE_NATS__SERVERS)"
            )

    async def subscribe(self, subject: str, handler: Handler, *, queue: str = "", max_pending: int = 0) -> None:
        """Subscribe now and in each later session; `handler` is called in the event loop and must not block.

        With `max_pending` messages waiting, further ones are dropped and reported; 0 means no limit, for inboxes whose
        senders are bounded by what was asked for: their messages are handed over as they are read.
        """
        subscription = Standing(subject, handler, queue, max_pending)
        self._subscriptions.append(subscription)
        if self._client is not None and self._ready.is_set():
            await subscription.begin(self._client)

    async def unsubscribe(self, subject: str) -> None:
        """End the subscriptions to a subject, so that the server knows that nobody is there; never raises."""
        for subscription in [each for each in self._subscriptions if each.subject == subject]:
            self._subscriptions.remove(subscription)
            await subscription.end()

    async def publish(
        self, subject: str, payload: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Hand one message to the socket. Returning says nothing about its arrival.

        Raises:
            Transient: there is no session.
            TooLarge: the payload is above the server's `max_payload`.
        """
        client = self._client
        if client is None:
            raise Transient(f"not connected to NATS at {self._shown_servers()}: {self._last_error}")
        try:
            await client.publish(subject, payload, reply, dict(headers) if headers else None)
        except nats.errors.MaxPayloadError as error:
            raise TooLarge(
                f"{len(payload)} bytes are above the server's max_payload of {client.max_payload}"
            ) from error
        except (nats.errors.Error, OSError, AssertionError) as error:
            raise Transient(f"cannot publish to {subject}: {text(error)}") from error

    async def publish_all(self, subjects: Sequence[str], payload: bytes) -> None:
        """Hand the same small text, without headers, for many subjects to the socket at once.

        Raises:
            Transient: there is no session, and none of them was sent.
        """
        client = self._client
        if client is None or not client.is_connected:
            raise Transient(f"not connected to NATS at {self._shown_servers()}: {self._last_error}")
        await send_all(client, subjects, payload)

    async def request(self, subject: str, payload: bytes = b"", *, timeout_s: float = 5.0) -> bytes:
        """Send a request and return its reply's payload.

        Raises:
            Transient: no session, nobody answers on that subject, or not in time.
        """
        client = self._client
        if client is None:
            raise Transient(f"not connected to NATS at {self._shown_servers()}: {self._last_error}")
        try:
            return (await client.request(subject, payload, timeout=timeout_s)).data
        except nats.errors.NoRespondersError as error:
            raise Transient(f"nobody answers on {subject}: is JetStream enabled on the server?") from error
        except (TimeoutError, nats.errors.Error, OSError) as error:
            raise Transient(f"no answer on {subject} within {timeout_s:g} s: {text(error)}") from error

    async def flush(self, timeout_s: float) -> None:
        """Wait until the server has read everything published so far.

        Raises:
            Transient: it has not in time; the session is given up then, because the client cannot be used any more.
        """
        client = self._client
        if client is None:
            raise Transient(f"not connected to NATS: {self._last_error}")
        try:
            await confirm(client, timeout_s)
        except (TimeoutError, nats.errors.Error, OSError) as error:
            self._ended.set()
            raise Transient(f"the server did not answer a ping within {timeout_s:g} s") from error

    async def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
        """End the session, flushing for up to `timeout_s`; never raises."""
        if self._client is not None and self.is_connected:
            with suppress(Transient):
                await self.flush(timeout_s)
        if self._task is not None:
            await cancel(self._task)

    async def _supervise(self) -> None:
        attempt = 0
        while True:
            client = DirectClient() if is_known() else TolerantClient()
            self._ended.clear()
            try:
                await self._open(client)
                attempt = 0
                await self._watch(client)
            except ConfigError as error:
                if self.sessions == 0:
                    raise
                self._note(str(error))
            except nats.errors.NoServersError:
                pass  # each server's own error is noted already
            except (TimeoutError, nats.errors.Error, OSError, ValueError) as error:
                await self._on_error(error)
            finally:
                self._ready.clear()
                self._client = None
                await let_go(client)
            await asyncio.sleep(_BACKOFF.delay_s(attempt))
            attempt += 1

    async def _open(self, client: Client) -> None:
        deadline_s = self._config.connect_timeout_s * 2
        async with asyncio.timeout(deadline_s):
            await client.connect(**self._options())
        for subscription in self._subscriptions:
            await subscription.begin(client)
        await client.flush(timeout=deadline_s)  # type: ignore[arg-type]  # a float works
        self._discovered = [server.geturl() for server in client.discovered_servers]
        self._client = client
        self.sessions += 1
        self._ready.set()
        for callback in self._on_ready:
            callback()

    async def _watch(self, client: Client) -> None:
        """Return when the session has ended, even if the client hangs in its own closing of a half-open socket."""
        while not self._ended.is_set() and not client.is_closed:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _WATCH_INTERVAL_S)
        self._note(f"session with {self._shown_servers()} ended: {text(client.last_error or 'connection closed')}")

    def _options(self) -> dict[str, Any]:
        return {
            **options(self._config, self._name, self._discovered),
            "error_cb": self._on_error,
            "closed_cb": partial(_set, self._ended),
            "lame_duck_mode_cb": self._on_lame_duck,
        }

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, nats.errors.NoServersError):
            return  # says less than the error of each server, which came before
        if isinstance(error, ConnectionResetError | BrokenPipeError) and _REFUSED in self._last_error.lower():
            return  # the server hangs up on whom it refuses
        self._last_error = text(error)
        if not is_optional(self._last_error):
            self._report(self._last_error)

    async def _on_lame_duck(self) -> None:
        """Leave a server that is shutting down while there is another one to go to."""
        if len({*self._config.servers, *self._discovered}) > 1:
            self._ended.set()

    def _note(self, text: str) -> None:
        self._last_error = text
        self._report(text)

    def _shown_servers(self) -> str:
        return ", ".join(mask_url(url) for url in self._config.servers)


async def _set(event: asyncio.Event) -> None:
    event.set()
