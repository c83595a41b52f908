"""Configuration of every package: one frozen struct each, filled from four layers.

Flows in: defaults < the local stack's file < a TOML file < the environment < the command line.
Flows out: a validated struct, or a `ConfigError` that names the place, the wrong value and the remedy.
This is the only module that reads `os.environ`.
"""

import difflib
import os
import re
import socket
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from dataplane_common import servers
from dataplane_common.errors import ConfigError

_PREFIX = "DATAPLANE_"
_STACK_FILE = "stack.toml"
_FILE_REMEDY = "check the path and its mode"
_ConfigT = TypeVar("_ConfigT", bound=msgspec.Struct)


class TlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[nats.tls]`: files in PEM format."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class NatsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[nats]`: where the bus is (else `ConfigError`) and who we are there. Secrets are files, read at each connect."""

    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    user: str | None = None
    password_file: Path | None = None
    token_file: Path | None = None
    creds_file: Path | None = None
    nkey_file: Path | None = None
    tls: TlsConfig | None = None
    inbox_prefix: str = "_INBOX"
    connect_timeout_s: float = 5.0
    ping_interval_s: float = 10.0

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "servers", servers.complete(self.servers))

    def __repr__(self) -> str:
        return f"NatsConfig({shown(self)})"


class TelemetryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[telemetry]`: where /healthz, /readyz and /metrics are served; nowhere by default."""

    listen: str | None = None


def host_name() -> str:
    """Return this machine's own name, as `host.name` carries it."""
    return socket.getfqdn() if "." in socket.gethostname() else socket.gethostname()


def environment(name: str) -> str | None:
    """Return an environment variable, or None where it is unset or empty."""
    return os.environ.get(name) or None  # noqa: TID251 - the one place that may


def environment_names() -> list[str]:
    """Return the names of environment variables that have our prefix, and are not empty."""
    return [name for name, value in os.environ.items() if name.startswith(_PREFIX) and value]  # noqa: TID251 - as above


def stack_dir() -> Path:
    """Return the folder of the local stack.

    `DATAPLANE_STACK_DIR`, else `.stack` beside the virtual environment that runs us if a stack is there,
    else a folder of this user's.
    """
    if chosen := environment("DATAPLANE_STACK_DIR"):
        return Path(chosen).expanduser().absolute()
    beside_environment = Path(sys.prefix).parent / ".stack"
    if (beside_environment / _STACK_FILE).exists():
        return beside_environment
    return state_root() / "stack"


def state_root() -> Path:
    """Return where state lives by default: `/var/lib/dataplane` as root, else the XDG state folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/dataplane")
    base = environment("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "dataplane"


def cache_root() -> Path:
    """Return where downloads are kept: `DATAPLANE_CACHE_DIR`, `/var/cache/dataplane` as root, else XDG's."""
    if chosen := environment("DATAPLANE_CACHE_DIR"):
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/dataplane")
    base = environment("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dataplane"


def stack_file() -> Path:
    """Return the file in which a running local stack says where its servers are."""
    return stack_dir() / _STACK_FILE


def load(
    kind: type[_ConfigT],
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    check: Callable[[_ConfigT], None] = lambda _loaded: None,
) -> _ConfigT:
    """Build a configuration struct from all layers.

    Args:
        kind: the frozen struct to fill; its fields are the keys that are known.
        file: a TOML file, or None.
        overrides: what the command line says, as nested mappings; None values are skipped.
        check: looks at what types cannot say; its `ConfigError` begins with the key: `inputs.0.dataset: …`.

    Raises:
        ConfigError: a file that cannot be read, bad TOML, an unknown key, a wrong type or value.
    """
    sections = {field.encode_name: _is_section(field.type) for field in msgspec.structs.fields(kind)}
    layers: dict[str, dict[str, Any]] = {}
    if (stack := stack_file()).exists():
        layers[str(stack)] = {key: value for key, value in _read_toml(stack).items() if key in sections}
    if file is not None:
        layers[str(file)] = _read_toml(file)
    layers["the environment"] = _split_lists(kind, _from_environment(sections))
    layers["the command line"] = _without_none(overrides or {})
    merged: dict[str, Any] = {}
    for layer in layers.values():
        merged = _merge(merged, layer)
    default = str(file or "the configuration")
    try:
        loaded = msgspec.convert(merged, kind, strict=False, dec_hook=_decode_path)
        check(loaded)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, kind, layers, default)) from None
    except ConfigError as error:
        raise ConfigError(f"{_origin(str(error).partition(':')[0].split('.'), layers, default)}: {error}") from None
    return loaded


def _decode_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value).expanduser()
    raise TypeError(f"expected a path as text, got {value!r}")


def read_secret(file: Path) -> str:
    """Return the text of a secret's file without its final newline.

    Raises:
        ConfigError: the file is missing or forbidden.
    """
    try:
        return file.read_text().rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{file}: cannot read this secret: {error.strerror}; {_FILE_REMEDY}") from error


def shown(config: msgspec.Struct) -> dict[str, Any]:
    """Return the effective configuration as plain values, user names and passwords in URLs masked."""
    return dict(_mask(msgspec.to_builtins(config, enc_hook=str)))


def mask_url(url: str) -> str:
    """Return a URL without its user and password."""
    return re.sub(r"//[^\s,]*@", "//***@", url)


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mask(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_mask(item) for item in value]
    return mask_url(value) if isinstance(value, str) else value


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return msgspec.toml.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise ConfigError(f"{file}: cannot read the configuration: {error.strerror}; {_FILE_REMEDY}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error


def _from_environment(known: Mapping[str, bool]) -> dict[str, Any]:
    """Turn `DATAPLANE_NATS__SERVERS=a,b` into `{"nats": {"servers": "a,b"}}`; other programs' sections are left out."""
    nested: dict[str, Any] = {}
    for name in environment_names():
        *path, key = name.removeprefix(_PREFIX).lower().split("__")
        if not known.get(path[0], False) if path else key not in known:
            continue
        inner: Any = nested
        for section in path:
            inner = inner.setdefault(section, {}) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner[key] = environment(name)
    return nested


def _split_lists(kind: type[msgspec.Struct], layer: dict[str, Any]) -> dict[str, Any]:
    """Cut comma-separated texts where the field is a list: the environment knows only texts."""
    fitted = dict(layer)
    for field in msgspec.structs.fields(kind):
        value = layer.get(field.encode_name)
        inner = struct_in(field.type)
        if inner is not None and isinstance(value, dict):
            fitted[field.encode_name] = _split_lists(inner, value)
        elif isinstance(value, str) and typing.get_origin(field.type) in (list, tuple):
            fitted[field.encode_name] = [item.strip() for item in value.split(",") if item.strip()]
    return fitted


def struct_in(annotation: Any) -> type[msgspec.Struct] | None:
    """Return the struct that an annotation such as `X`, `X | None` or `tuple[X, ...]` is about."""
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _is_section(annotation: Any) -> bool:
    return struct_in(annotation) is not None or typing.get_origin(annotation) is dict


def _explain(
    error: msgspec.ValidationError, kind: type[msgspec.Struct], layers: Mapping[str, dict[str, Any]], default: str
) -> str:
    """Say where the value came from, which key it is, what is wrong and what is known."""
    text, _, where = str(error).partition(" - at `$")
    path = re.findall(r"[A-Za-z_0-9]+", where)
    unknown = re.search(r"unknown field `(.*)`", text)
    if unknown:
        path.append(unknown.group(1))
    origin = _origin(path, layers, default)
    key = ".".join(path).replace("...", "") or "the whole"
    if unknown:
        return f"{origin}: {key}: unknown key; {_suggest(unknown.group(1), _fields_at(kind, path[:-1]))}"
    if missing := re.search(r"missing required field `(.*)`", text):
        return f"{origin}: {'.'.join([*path, missing.group(1)])}: this key is required; set it"
    return f"{origin}: {key}: {text[:1].lower()}{text[1:]}"


def _origin(path: list[str], layers: Mapping[str, dict[str, Any]], default: str) -> str:
    """Return the highest layer that sets a key."""
    return next((name for name, layer in reversed([*layers.items()]) if _has(layer, path)), default)


def _has(layer: Any, path: list[str]) -> bool:
    for step in path:
        if isinstance(layer, list | tuple):
            layer = layer[int(step)] if step.isdigit() and int(step) < len(layer) else None
        elif isinstance(layer, dict) and step in layer:
            layer = layer[step]
        else:
            return False
    return bool(path)


def _fields_at(kind: type[msgspec.Struct], path: list[str]) -> list[str]:
    for step in (step for step in path if not step.isdigit()):
        field = next((f for f in msgspec.structs.fields(kind) if f.encode_name == step), None)
        inner = struct_in(field.type) if field else None
        if inner is None:
            return []
        kind = inner
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def _suggest(wrong: str, known: list[str]) -> str:
    close = difflib.get_close_matches(wrong, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


def _without_none(layer: Mapping[str, Any]) -> dict[str, Any]:
    cleaned = {k: _without_none(v) if isinstance(v, Mapping) else v for k, v in layer.items()}
    return {key: value for key, value in cleaned.items() if value is not None and value != {}}


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
