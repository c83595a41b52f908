"""The tailer's configuration: `tailer.toml` as one frozen struct.

Flows in: the layers of `dataplane_common.config`. Flows out: a `TailerConfig` whose every value is usable.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from dataplane_common import config
from dataplane_common.config import NatsConfig, TelemetryConfig
from dataplane_common.errors import ConfigError
from dataplane_common.taxonomy import check_token
from dataplane_tailer.encoding import check_encoding, resolve
from dataplane_tailer.filters import FilterConfig, decider
from dataplane_tailer.multiline import MultilineConfig, check_multiline
from dataplane_tailer.parse import PARSERS as ALL_PARSERS
from dataplane_tailer.parse import ParserConfig, check_parser
from dataplane_tailer.path_fields import check_paths

#: The parsers that an input may name.
PARSERS = ALL_PARSERS


def default_state_dir() -> Path:
    """Return where the state of a configured tailer lives: `/var/lib/dataplane-tailer` as root."""
    return config.state_root().with_name("dataplane-tailer")


class DeliveryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[delivery]`: how lines become frames and how long things may take.

    `linger_ms` is the wait from a file's change to its read; `idle_flush_ms` how long an unterminated last line may
    rest before it is sent as it is; `max_line_bytes` where a line is split into pieces; `hold_copy_ms` how long a small
    file that may be a copy is held back. Files that were deleted before they were read are kept open, and so is their
    disk space, until `hold_deleted_bytes` or `hold_deleted_s` are passed; then the oldest are let go, and counted.
    """

    linger_ms: int = 100
    compression: Literal["zstd", "none"] = "zstd"
    window_frames: int = 32
    ack_timeout_s: float = 10.0
    idle_flush_ms: int = 5_000
    max_line_bytes: int = 128 * 1024
    rescan_ms: int = 5_000
    close_rotated_after_ms: int = 30_000
    hold_copy_ms: int = 10_000
    hold_deleted_bytes: int = 10 * 1024**3
    hold_deleted_s: int = 86_400
    grace_s: float = 10.0


class InputConfig(ParserConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[[inputs]]`: which files, and what their lines are (see `ParserConfig` for the keys of the parsers).

    `type` says where lines come from; `paths` belong to files, `units` to the systemd journal. Files that were last
    written to longer than `ignore_older_s` ago are not begun; 0 begins all.
    """

    paths: tuple[str, ...] = ()
    dataset: str
    type: Literal["file", "stdin", "journal"] = "file"
    units: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignore_older_s: int = 0
    start_at: Literal["beginning", "end"] = "beginning"
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    encoding: str = "utf-8"
    multiline: MultilineConfig | None = None
    filters: tuple[FilterConfig, ...] = ()


class TailerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that `dataplane-tailer run` needs."""

    inputs: tuple[InputConfig, ...]
    namespace: str = "default"
    host: str = msgspec.field(default_factory=config.host_name)
    state_dir: Path = msgspec.field(default_factory=default_state_dir)
    nats: NatsConfig = NatsConfig()
    delivery: DeliveryConfig = DeliveryConfig()
    telemetry: TelemetryConfig = TelemetryConfig()


def load(file: Path | None, overrides: Mapping[str, Any]) -> TailerConfig:
    """Read and check the configuration.

    Raises:
        ConfigError: it cannot be used; the text says which key, what is wrong with it and what to write instead.
    """
    return config.load(TailerConfig, file, overrides, check=_check)


def needs_restart(before: TailerConfig, after: TailerConfig) -> list[str]:
    """Return which keys differ that a running tailer does not take over: all but the inputs that are files."""
    streams = [[entry for entry in loaded.inputs if entry.type != "file"] for loaded in (before, after)]
    keys = [
        key for key in TailerConfig.__struct_fields__ if key != "inputs" and getattr(before, key) != getattr(after, key)
    ]
    return keys + ["inputs.type"] * (streams[0] != streams[1])


def _check(loaded: TailerConfig) -> None:
    check_token("namespace", loaded.namespace)
    if not loaded.inputs:
        raise ConfigError("inputs: nothing to read; add an [[inputs]] table with paths and dataset")
    for number, entry in enumerate(loaded.inputs):
        _check_input(f"inputs.{number}", entry)
    for key in ("linger_ms", "window_frames", "max_line_bytes", "rescan_ms"):
        _check_positive(loaded.delivery, key)


def _check_input(where: str, entry: InputConfig) -> None:
    check_token(f"{where}.dataset", entry.dataset)
    if (entry.type == "file") is not bool(entry.paths):
        raise ConfigError(
            f"{where}.paths: empty; name at least one file or pattern"
            if entry.type == "file"
            else f'{where}.paths: type "{entry.type}" reads no files; remove it'
        )
    if entry.units and entry.type != "journal":
        raise ConfigError(f'{where}.units: belongs to type = "journal"')
    try:
        _check_content(entry)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
    if entry.type != "file":
        _check_stream(where, entry)
    for path in entry.paths:
        if not os.path.isabs(path):  # noqa: PTH117 - a pattern, not a path
            raise ConfigError(f'{where}.paths: "{path}" is relative; write it from the root: /…/{path}')


def _check_stream(where: str, entry: InputConfig) -> None:
    """Refuse the keys that say something about files, and a parser for the journal, which has its own."""
    unused = [key for key in ("multiline", "exclude") if getattr(entry, key)]
    unused += ["parser"] if entry.type == "journal" and entry.parser != "plain" else []
    for key in unused:
        raise ConfigError(f'{where}.{key}: type "{entry.type}" does not use it; remove it')
    if resolve(entry.encoding, b"") != "utf-8":
        raise ConfigError(f'{where}.encoding: type "{entry.type}" is read as utf-8; remove it, or convert with iconv')


def _check_content(entry: InputConfig) -> None:
    check_parser(entry)
    check_encoding(entry.encoding)
    check_multiline(entry, entry.multiline)
    check_paths(entry.paths)
    decider(entry.filters)
    for name in ("_id", "@timestamp", "message"):
        if name in entry.fields:
            raise ConfigError(f"fields.{name}: belongs to each event itself; choose another name")


def _check_positive(delivery: DeliveryConfig, key: str) -> None:
    lowest = 0 if key == "linger_ms" else 1
    if (value := getattr(delivery, key)) < lowest:
        raise ConfigError(f"delivery.{key}: {value} is too small; at least {lowest}")
