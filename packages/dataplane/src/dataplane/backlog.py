"""What waits on the bus: streams and consumers as the NATS server counts them.

Flows in: the answer of the server's `/jsz`. Flows out: rows. Pure but for the one request.
Source: NATS documentation, "Monitoring", JetStream information.
"""

from typing import Any

import msgspec

from dataplane_common.local import probe


class Consumer(msgspec.Struct, frozen=True):
    """One reader of a stream: `pending` messages it has not been given, `in_flight` given and not yet settled."""

    name: str
    pending: int
    in_flight: int


class Stream(msgspec.Struct, frozen=True):
    """One stream; `waiting` is the backlog of its slowest consumer, in messages (frames)."""

    name: str
    messages: int
    bytes: int
    consumers: tuple[Consumer, ...]

    @property
    def waiting(self) -> int:
        """Messages that the slowest consumer has still to settle."""
        return max((consumer.pending + consumer.in_flight for consumer in self.consumers), default=0)


def streams(monitor_url: str) -> list[Stream]:
    """Return the streams of a server.

    Raises:
        Transient: it does not answer.
    """
    return parse(probe.get_json(f"{monitor_url}/jsz?streams=true&consumers=true"))


def server_version(monitor_url: str) -> str:
    """Return the server's version.

    Raises:
        Transient: it does not answer.
    """
    return str(probe.get_json(f"{monitor_url}/varz").get("version", ""))


def parse(jsz: dict[str, Any]) -> list[Stream]:
    """Read the answer of `/jsz`."""
    return [
        Stream(
            name=stream["name"],
            messages=stream["state"]["messages"],
            bytes=stream["state"]["bytes"],
            consumers=tuple(
                Consumer(consumer["name"], consumer.get("num_pending", 0), consumer.get("num_ack_pending", 0))
                for consumer in stream.get("consumer_detail") or ()
            ),
        )
        for account in jsz.get("account_details") or ()
        for stream in account.get("stream_detail") or ()
    ]
