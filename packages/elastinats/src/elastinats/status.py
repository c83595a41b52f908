"""What waits, and how both ends are: asked of the servers, so that it needs no running sink.

Flows in: the configuration. Flows out: one `FeedStatus` per consumer, the dead letters, the cluster.
"""

from typing import Any

import msgspec

from dataplane_common.bus import Connection
from dataplane_common.bus.streams import stream_info
from dataplane_common.errors import Transient
from elastinats import session
from elastinats.config import SinkConfig
from elastinats.routes import Feed, feeds


class FeedStatus(msgspec.Struct, kw_only=True):
    """One consumer: messages not yet delivered, delivered and unsettled, delivered more than once, and lost to age."""

    route: str
    stream: str
    consumer: str
    waiting: int = 0
    in_flight: int = 0
    redelivered: int = 0
    expired: int = 0
    problem: str = ""


class Status(msgspec.Struct, kw_only=True):
    """Both ends at one moment."""

    feeds: list[FeedStatus]
    dead_letters: int
    elasticsearch: str


async def status(config: SinkConfig) -> Status:
    """Ask both servers.

    Raises:
        Transient: NATS does not answer; a silent Elasticsearch is part of the status.
    """
    async with session.bus(config) as connection:
        found = [await _feed(connection, feed) for feed in feeds(config)]
        letters = await stream_info(connection, "DLQ")
    return Status(
        feeds=found,
        dead_letters=int(letters["state"]["messages"]) if letters else 0,
        elasticsearch=await _elasticsearch(config),
    )


async def _feed(connection: Connection, feed: Feed) -> FeedStatus:
    result = FeedStatus(route=feed.route, stream=feed.stream, consumer=feed.durable)
    stream = await stream_info(connection, feed.stream)
    answer = msgspec.json.decode(await connection.request(f"$JS.API.CONSUMER.INFO.{feed.stream}.{feed.durable}"))
    if stream is None or "error" in answer:
        error: dict[str, Any] = answer.get("error") or {"description": "no such stream"}
        result.problem = f"{error.get('description')}; `elastinats setup` creates it"
        return result
    result.waiting = answer["num_pending"]
    result.in_flight = answer["num_ack_pending"]
    result.redelivered = answer["num_redelivered"]
    floor = int(answer["ack_floor"]["stream_seq"])
    unfiltered = not feed.filter_subjects
    result.expired = max(0, int(stream["state"]["first_seq"]) - floor - 1) if unfiltered else 0
    return result


async def _elasticsearch(config: SinkConfig) -> str:
    async with session.index(config.elasticsearch) as client:
        try:
            return str((await session.cluster_health(client)).get("status"))
        except Transient as error:
            return f"unreachable: {error}"
