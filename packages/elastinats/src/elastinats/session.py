"""Both ends for a command that asks something and ends: connected, or one clear line.

Flows in: the configuration. Flows out: a connection to NATS and an `Index`. Invariant: both are closed again, and an
absent server is a `Transient` with its address and the remedy, after a few seconds.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dataplane_common.bus import Connection
from dataplane_common.errors import Transient
from elastinats.config import ElasticsearchConfig, SinkConfig
from elastinats.index import Index

#: How long a person waits to hear that nobody is there.
_PATIENCE_S = 3.0


@asynccontextmanager
async def bus(config: SinkConfig) -> AsyncIterator[Connection]:
    """Connect to NATS.

    Raises:
        Transient: no server answers.
        ConfigError: credentials cannot be read.
    """
    connection = Connection(config.nats, name=f"{config.name}-command")
    connection.start()
    try:
        await connection.wait_ready(_PATIENCE_S)
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def index(config: ElasticsearchConfig) -> AsyncIterator[Index]:
    """Make a client for Elasticsearch; nothing is sent yet."""
    client = Index(config)
    try:
        yield client
    finally:
        await client.close()


async def cluster_health(client: Index) -> dict[str, str | int]:
    """Return the cluster's health.

    Raises:
        Transient: nobody answers there, or refuses; the text says what to do.
    """
    try:
        answer = await client.ask("GET", "/_cluster/health")
    except Transient as error:
        raise Transient(
            f"{error}; start the server, or name another one "
            "([elasticsearch] hosts, --elasticsearch, DATAPLANE_ELASTICSEARCH__HOSTS)"
        ) from error
    return dict(answer or {})
