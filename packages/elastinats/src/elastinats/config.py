"""The sink's configuration: one frozen struct, units in the names, defaults that work on one machine.

Flows in: the layers of `dataplane_common.config`. Flows out: a checked `SinkConfig`.
Invariant: whatever is here can be run; a contradiction is refused with the place, the value and the remedy.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from dataplane_common.config import NatsConfig, TelemetryConfig, load
from dataplane_common.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


class ElasticsearchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[elasticsearch]`: where documents go. Secrets are files, read again when the server refuses them.

    `single_node` makes new indices without replicas, which one node could never hold. `setup` lets `run` put the
    index templates where there are none.
    """

    hosts: tuple[str, ...] = ("http://127.0.0.1:9200",)
    username: str | None = None
    password_file: Path | None = None
    api_key_file: Path | None = None
    bearer_token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    fingerprint: str | None = None
    request_timeout_s: float = 60.0
    compress: bool = False
    single_node: bool = False
    setup: bool = True


class BatchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[batch]`: a bulk request is sent when any limit is reached; `in_flight` of them at most at a time."""

    max_bytes: int = 5_000_000
    max_count: int = 20_000
    linger_ms: int = 200
    in_flight: int = 3


class RouteConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[[routes]]`: which subjects go to which data stream.

    `target` may hold `{signal}`, `{dataset}` and `{namespace}`. `stream` is needed only for subjects that are neither
    `logs.` nor `metrics.`. `op` `index` is for an index that is no data stream; with `id` `auto` Elasticsearch makes
    the ids, which is faster and no longer exactly once. `drop` takes the messages out of the consumer unread. `rename`,
    `remove` and `add` change fields, in this order.
    """

    name: str
    subjects: tuple[str, ...]
    target: str = "{signal}-{dataset}-{namespace}"
    stream: str | None = None
    op: Literal["create", "index"] = "create"
    id: Literal["event", "auto"] = "event"
    pipeline: str | None = None
    drop: bool = False
    rename: dict[str, str] = {}
    remove: tuple[str, ...] = ()
    add: dict[str, Any] = {}


class StopConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[stop]`: how long a stopping sink works on what it holds before it hands the rest back."""

    grace_s: float = 10.0


_ALL = RouteConfig(name="all", subjects=("logs.>", "metrics.>"))


class SinkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that `elastinats.toml` may say. Sinks of one `name` share the work of one set of consumers."""

    name: str = "elastinats"
    nats: NatsConfig = NatsConfig()
    elasticsearch: ElasticsearchConfig = ElasticsearchConfig()
    batch: BatchConfig = BatchConfig()
    routes: tuple[RouteConfig, ...] = (_ALL,)
    ack_wait_s: float = 60.0
    max_decoded_bytes: int = 64 * 1024 * 1024
    stop: StopConfig = StopConfig()
    telemetry: TelemetryConfig = TelemetryConfig()


def load_config(file: Path | None, overrides: Mapping[str, Any] | None = None) -> SinkConfig:
    """Read the configuration and check it.

    Raises:
        ConfigError: see `dataplane_common.config.load`, or a value that cannot work.
    """
    return load(SinkConfig, file, overrides, check=_check)


def _check(config: SinkConfig) -> None:
    _check_names(config)
    _check_limits(config)
    _check_elasticsearch(config.elasticsearch)


def _check_names(config: SinkConfig) -> None:
    if not _NAME.fullmatch(config.name):
        raise ConfigError(f'name: "{config.name}": letters, digits and _ only, because it names the durable consumers')
    if not config.routes:
        raise ConfigError("routes: there is none; add a [[routes]] table or leave them all out for the default one")
    seen: set[str] = set()
    for number, route in enumerate(config.routes):
        if not _NAME.fullmatch(route.name):
            raise ConfigError(f'routes.{number}.name: "{route.name}": letters, digits and _ only')
        if route.name in seen:
            raise ConfigError(f'routes.{number}.name: two routes are named "{route.name}"; each needs its own name')
        seen.add(route.name)


def _check_limits(config: SinkConfig) -> None:
    limits: list[tuple[str, float, float]] = [
        ("batch.max_bytes", config.batch.max_bytes, 1),
        ("batch.max_count", config.batch.max_count, 1),
        ("batch.linger_ms", config.batch.linger_ms, 0),
        ("batch.in_flight", config.batch.in_flight, 1),
        ("ack_wait_s", config.ack_wait_s, 1),
        ("max_decoded_bytes", config.max_decoded_bytes, 1),
        ("elasticsearch.request_timeout_s", config.elasticsearch.request_timeout_s, 0.1),
        ("stop.grace_s", config.stop.grace_s, 0),
    ]
    for key, value, least in limits:
        if value < least:
            raise ConfigError(f"{key}: {value:g} is too small; at least {least:g}")


def _check_elasticsearch(config: ElasticsearchConfig) -> None:
    if not config.hosts:
        raise ConfigError("elasticsearch.hosts: empty; name at least one, for example http://127.0.0.1:9200")
    for host in config.hosts:
        _check_host(host)
    ways = [config.password_file, config.api_key_file, config.bearer_token_file]
    if sum(way is not None for way in ways) > 1:
        raise ConfigError(
            "elasticsearch.password_file: give one of password_file, api_key_file and bearer_token_file, not several"
        )
    if (config.username is None) != (config.password_file is None):
        raise ConfigError("elasticsearch.username: username and password_file belong together; set both or none")


def _check_host(host: str) -> None:
    try:
        url = urlsplit(host)
        fits = url.scheme in {"http", "https"} and bool(url.hostname) and (url.port or 0) >= 0
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError(f'elasticsearch.hosts: "{host}": expected http://host:port or https://host:port')
    if url.username or url.password:
        raise ConfigError("elasticsearch.hosts: no user in the address; use username and password_file")
