"""The JetStream streams, as data, and how they are put on a server.

Flows in: `streams.toml` beside this module (`infra/nats/streams.toml` in a checkout). Flows out: streams.
Invariant: applying twice changes nothing, and nothing here deletes a stream or what it holds.
Source: NATS ADR-1, JetStream API.
"""

from importlib import resources
from typing import Any, Literal

import msgspec

from dataplane_common.bus.connection import Connection
from dataplane_common.errors import Fatal, Transient

#: How long the server remembers a `Nats-Msg-Id`, where nothing else is said.
DUPLICATE_WINDOW_S = 120
_NS = 1_000_000_000
_STREAM_NOT_FOUND = 10059


class StreamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One stream; `max_age_s` 0 means no limit of age, and a `Nats-Msg-Id` is remembered for `duplicate_window_s`."""

    name: str
    subjects: tuple[str, ...]
    description: str = ""
    discard: Literal["old", "new"] = "old"
    max_age_s: int = 0
    max_bytes: int = -1
    replicas: int = 1
    duplicate_window_s: int = DUPLICATE_WINDOW_S

    def as_api(self) -> dict[str, Any]:
        """Return the body of `$JS.API.STREAM.CREATE` (durations are nanoseconds there)."""
        return {
            "name": self.name,
            "subjects": list(self.subjects),
            "description": self.description,
            "retention": "limits",
            "storage": "file",
            "discard": self.discard,
            "max_age": self.max_age_s * _NS,
            "max_bytes": self.max_bytes,
            "max_msgs": -1,
            "max_msg_size": -1,
            "max_consumers": -1,
            "num_replicas": self.replicas,
            "duplicate_window": self.duplicate_window_s * _NS,
        }


class _Streams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    streams: tuple[StreamConfig, ...]


def load_streams(text: str | None = None) -> tuple[StreamConfig, ...]:
    """Return the streams of `streams.toml`, or of another text of the same form.

    Raises:
        Fatal: the text is not valid.
    """
    if text is None:
        text = resources.files(__package__).joinpath("streams.toml").read_text()
    try:
        return msgspec.toml.decode(text, type=_Streams).streams
    except msgspec.MsgspecError as error:
        raise Fatal(f"streams.toml: {error}") from error


async def ensure_streams(connection: Connection, streams: tuple[StreamConfig, ...] | None = None) -> list[str]:
    """Create the streams that are not there and return their names; those that exist are left as they are.

    Raises:
        Transient: the server does not answer.
        Fatal: the server refuses a stream; the text has its reason.
    """
    created = []
    for stream in streams if streams is not None else load_streams():
        if await stream_info(connection, stream.name) is None:
            await _create(connection, stream)
            created.append(stream.name)
    return created


async def stream_info(connection: Connection, name: str) -> dict[str, Any] | None:
    """Return the server's description of a stream, or None where there is no such stream.

    Raises:
        Transient: the server does not answer, or has no leader yet.
    """
    answer: dict[str, Any] = msgspec.json.decode(await connection.request(f"$JS.API.STREAM.INFO.{name}"))
    error = answer.get("error")
    if error is None:
        return answer
    if error.get("err_code") == _STREAM_NOT_FOUND:
        return None
    raise Transient(f"stream {name}: {error.get('description')} ({error.get('err_code')})")


async def stream_for(connection: Connection, subject: str) -> str | None:
    """Return the name of the stream that stores a subject, or None.

    Raises:
        Transient: the server does not answer.
    """
    body = msgspec.json.encode({"subject": subject})
    answer = msgspec.json.decode(await connection.request("$JS.API.STREAM.NAMES", body))
    names = answer.get("streams") or []
    return str(names[0]) if names else None


async def _create(connection: Connection, stream: StreamConfig) -> None:
    body = msgspec.json.encode(stream.as_api())
    answer = msgspec.json.decode(await connection.request(f"$JS.API.STREAM.CREATE.{stream.name}", body))
    if error := answer.get("error"):
        raise Fatal(
            f"the server refuses stream {stream.name}: {error.get('description')} ({error.get('err_code')}); "
            "change its limits in streams.toml, or the server's JetStream limits"
        )
