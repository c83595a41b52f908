"""How one session of the client begins and ends: secrets, TLS, and an end that nothing can hold up.

Flows in: `[nats]`. Flows out: options for the client, texts for a person.
Invariant: secrets are read anew for each session.
"""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any

import nats.errors
from nats.aio.client import Client

from dataplane_common.config import NatsConfig, read_secret
from dataplane_common.errors import ConfigError

#: Two missed pings end a session: with 10 s between pings a half-open server is noticed within 30 s.
_MAX_OUTSTANDING_PINGS = 2
#: How often a flush looks whether the client has written what it holds; it does in the next turn of the loop.
_WRITTEN_POLL_S = 0.0005
#: How long a client that is let go may take to close its socket.
_CLOSE_TIMEOUT_S = 2.0


def options(config: NatsConfig, name: str, discovered: Sequence[str]) -> dict[str, Any]:
    """Return a client's options for one session, callbacks aside: it tries once, buffers nothing, and notices silence.

    Raises:
        ConfigError: a credential or certificate cannot be read.
    """
    return {
        "servers": [*config.servers, *(url for url in discovered if url not in config.servers)],
        "name": name,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0.1,
        "connect_timeout": config.connect_timeout_s,
        "ping_interval": config.ping_interval_s,
        "max_outstanding_pings": _MAX_OUTSTANDING_PINGS,
        "pending_size": 0,
        "inbox_prefix": config.inbox_prefix,
        "tls": tls_context(config),
        **credentials(config),
    }


async def confirm(client: Client, timeout_s: float) -> None:
    """Wait until the server has read all that was published: a ping must not overtake what the client still holds."""
    async with asyncio.timeout(timeout_s):
        while client.is_connected and client.pending_data_size:  # noqa: ASYNC110 - only the client knows
            await asyncio.sleep(_WRITTEN_POLL_S)
        await client.flush(timeout=timeout_s)  # type: ignore[arg-type]  # a float works


async def send_all(client: Client, subjects: Sequence[str], payload: bytes) -> None:
    """Publish one text on many subjects in one piece: many times cheaper than one by one."""
    if subjects:
        end = f" {len(payload)}\r\n{payload.decode()}\r\n"
        commands = "PUB " + f"{end}PUB ".join(subjects) + end
        await client._send_command(commands.encode())  # noqa: SLF001 - there is no public way for many
        await client._flush_pending()  # noqa: SLF001


async def let_go(client: Client) -> None:
    """Close a client within a deadline, whatever its socket does: its own close can wait for a dead peer for ever."""
    writer = getattr(client._transport, "_io_writer", None)  # noqa: SLF001 - there is no public way to abort
    if writer is not None:
        writer.transport.abort()
    closing: Awaitable[None] = client.close()
    with suppress(nats.errors.Error, OSError, asyncio.TimeoutError, AssertionError):
        await asyncio.wait_for(closing, _CLOSE_TIMEOUT_S)


def credentials(config: NatsConfig) -> dict[str, Any]:
    """Read credentials from their files, anew for each session, so that a rotated secret is picked up."""
    found: dict[str, Any] = {"user": config.user}
    if config.password_file is not None:
        found["password"] = read_secret(config.password_file)
    if config.token_file is not None:
        found["token"] = read_secret(config.token_file)
    if config.creds_file is not None:
        found["user_credentials"] = str(config.creds_file)
    if config.nkey_file is not None:
        found["nkeys_seed"] = str(config.nkey_file)
    return found


def tls_context(config: NatsConfig) -> ssl.SSLContext | None:
    """Return the context for TLS, or None where none is configured.

    Raises:
        ConfigError: a certificate or key cannot be loaded.
    """
    if config.tls is None:
        return None
    tls = config.tls
    try:
        context = ssl.create_default_context(cafile=str(tls.ca_file) if tls.ca_file else None)
        if tls.cert_file is not None:
            context.load_cert_chain(str(tls.cert_file), str(tls.key_file) if tls.key_file else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"nats.tls: a certificate or key cannot be loaded: {error}; check the files") from error
    return context


def is_optional(error: str) -> bool:
    """Tell whether an error is about a question that a user may be forbidden to ask: there is a way without it."""
    return "$js.api.stream.info" in error.lower()


def text(error: object) -> str:
    """One line about an error; the client's texts begin with `nats: `, some have none at all."""
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error).removeprefix("nats: ").strip() or type(error).__name__
