"""Where the servers are that a command asks.

Flows in: the layers of `dataplane_common.config`, the local stack's file among them. Flows out: `Settings`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dataplane_common import config
from dataplane_common.config import NatsConfig


class ElasticsearchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[elasticsearch]`: the same keys as the sink's; what only the sink needs is passed over.

    `fingerprint` is the SHA-256 of the server's certificate in hexadecimal; secrets are files.
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


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the reading commands need."""

    nats: NatsConfig = NatsConfig()
    elasticsearch: ElasticsearchConfig = ElasticsearchConfig()


def load(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings.

    Raises:
        ConfigError: they cannot be used; the text says where and why.
    """
    return config.load(Settings, None, overrides)
