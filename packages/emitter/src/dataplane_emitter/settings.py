"""The emitter's configuration, out of all its layers.

Flows in: arguments, a TOML file, the environment (`DATAPLANE_SERVICE`, `DATAPLANE_NATS__SERVERS` …), the local
stack's file. Flows out: an `EmitterConfig`. Invariant: what is wrong in a configuration is refused here, at the
start, in one line; a bus that is away is no error.
"""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from dataplane_common import config as configuration
from dataplane_common import taxonomy
from dataplane_common.config import NatsConfig
from dataplane_common.errors import ConfigError
from dataplane_emitter import level

Delivery = Literal["jetstream", "core"]
Overflow = Literal["drop_lowest", "drop_oldest", "drop_newest"]
#: The smallest event limit that leaves room for an envelope and a useful message.
_MIN_EVENT_BYTES = 2_048
#: Room for a few frames.
_MIN_SPOOL_BYTES = 1024 * 1024
_IGNORED = ("nats", "asyncio", "dataplane_common", "dataplane_emitter")


class QueueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[queue]`: what may wait in memory, and what leaves when that is full."""

    max_events: int = 100_000
    max_bytes: int = 64 * 1024 * 1024
    overflow: Overflow = "drop_lowest"


class MetricsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[metrics]`: how often points are sent, how many series one metric may have, whether `process_*` are measured."""

    interval_s: float = 10.0
    max_series: int = 1_000
    process: bool = False


class RedactConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[redact]`: what is masked before it leaves the process.

    A name that contains one of the `keys` (`_` stands for any separator or none) holds a secret, as an event's field
    and within texts; `keep` names exceptions. `patterns` are regular expressions; of one with a group named `secret`
    only that is masked. `redactors` are called with a dotted name and a value and return what may be shown.
    `defaults` are the keys and patterns of `dataplane_emitter.redaction_rules`.
    """

    defaults: bool = True
    keys: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    redactors: tuple[Any, ...] = ()
    mask: str = "***"


class LimitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of `[[limits]]`: how many log events of a logger pass.

    It is about `logger` and those below it, and levels up to `max_level`. The share `sample` passes, then at most
    `per_second`, `burst` at once (default: a second's worth); counted per logger and level, or per message.
    """

    logger: str = ""
    max_level: str = "warning"
    sample: float = 1.0
    per_second: float = 0.0
    burst: int = 0
    by: Literal["logger", "message"] = "logger"


class SpoolConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[spool]`: a folder for what the bus does not take, at most `max_bytes` for all processes that share it."""

    dir: Path | None = None
    max_bytes: int = 256 * 1024 * 1024


class EmitterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set.

    `datasets` and `levels` go by logger name, the longest prefix wins. `fields` are put on every event; one that is
    callable is called for each. `labels` are put on every metric. `exit_timeout_s` bounds the flush at exit.
    `stderr` says whether trouble is told there.

    >>> from dataplane_emitter.settings import load
    >>> load(service="check-out", queue={"max_events": 1000}).queue
    QueueConfig(max_events=1000, max_bytes=67108864, overflow='drop_lowest')
    """

    service: str
    namespace: str = "default"
    dataset: str = ""
    host: str = ""
    delivery: Delivery = "jetstream"
    nats: NatsConfig = NatsConfig()
    queue: QueueConfig = QueueConfig()
    metrics: MetricsConfig = MetricsConfig()
    fields: dict[str, Any] = {}
    labels: dict[str, str] = {}
    datasets: dict[str, str] = {}
    levels: dict[str, str] = {}
    redact: RedactConfig = RedactConfig()
    limits: tuple[LimitConfig, ...] = ()
    spool: SpoolConfig = SpoolConfig()
    ignore_loggers: tuple[str, ...] = _IGNORED
    linger_ms: int = 100
    max_event_bytes: int = 256 * 1024
    window: int = 16
    compression: Literal["zstd", "none"] = "zstd"
    ledger_interval_s: float = 5.0
    exit_timeout_s: float = 2.0
    stderr: bool = True


def load(file: Path | str | None = None, **settings: Any) -> EmitterConfig:
    """Return the effective configuration out of all layers; `settings` are keys of `EmitterConfig`.

    Raises:
        ConfigError: something is unknown, of the wrong type, or out of range; the text has the remedy.
    """
    try:
        loaded = configuration.load(EmitterConfig, Path(file) if file is not None else None, settings)
    except ConfigError as error:
        raise ConfigError(str(error).replace("the command line:", "configure():", 1)) from None
    filled = msgspec.structs.replace(
        loaded,
        dataset=loaded.dataset or taxonomy.token(loaded.service),
        host=loaded.host or configuration.host_name(),
    )
    check(filled)
    return filled


def check(config: EmitterConfig) -> None:
    """Refuse what cannot work.

    Raises:
        ConfigError: names the key, the value and the remedy.
    """
    if not config.service.strip():
        raise ConfigError("service: the service's name is empty; set configure(service=...) or DATAPLANE_SERVICE")
    taxonomy.check_token("namespace", config.namespace)
    taxonomy.check_token("dataset", config.dataset)
    for logger, dataset in config.datasets.items():
        taxonomy.check_token(f"datasets.{logger}", dataset)
    for logger, name in config.levels.items():
        if not level.is_known(name):
            raise ConfigError(f'levels.{logger}: "{name}" is no level; give debug, info, warning, error or critical')
    _check_least("queue.max_events", config.queue.max_events, 1)
    _check_least("max_event_bytes", config.max_event_bytes, _MIN_EVENT_BYTES)
    _check_least("queue.max_bytes", config.queue.max_bytes, 2 * config.max_event_bytes)
    _check_least("window", config.window, 1)
    _check_least("linger_ms", config.linger_ms, 1)
    _check_least("metrics.max_series", config.metrics.max_series, 1)
    _check_positive("metrics.interval_s", config.metrics.interval_s)
    _check_positive("ledger_interval_s", config.ledger_interval_s)
    _check_redact(config.redact)
    _check_spool(config)
    for number, limit in enumerate(config.limits):
        _check_limit(f"limits.{number}", limit)


def _check_spool(config: EmitterConfig) -> None:
    folder = config.spool.dir
    if folder is None:
        return
    _check_least("spool.max_bytes", config.spool.max_bytes, _MIN_SPOOL_BYTES)
    if config.delivery == "core":
        raise ConfigError('spool.dir: with delivery "core" nobody knows what arrived; use "jetstream", or no spool')
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(f"spool.dir: cannot write to {folder}: {error.strerror}; check its mode") from None


def _check_redact(redact: RedactConfig) -> None:
    for number, pattern in enumerate(redact.patterns):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(f'redact.patterns.{number}: "{pattern}" is no regular expression: {error}') from None
    for number, redactor in enumerate(redact.redactors):
        if not callable(redactor):
            raise ConfigError(f"redact.redactors.{number}: {redactor!r} cannot be called; give a function")
    for number, key in enumerate(redact.keys):
        if not re.fullmatch(r"[A-Za-z0-9_]*[A-Za-z0-9][A-Za-z0-9_]*", key):
            raise ConfigError(f'redact.keys.{number}: "{key}" is no key; give letters, digits and "_" for separators')


def _check_limit(key: str, limit: LimitConfig) -> None:
    if not level.is_known(limit.max_level):
        raise ConfigError(f'{key}.max_level: "{limit.max_level}" is no level; give debug, info, warning or error')
    if not 0 <= limit.sample <= 1:
        raise ConfigError(f"{key}.sample: {limit.sample:g} is no share; give 0 to 1")
    if limit.per_second < 0 or limit.burst < 0:
        raise ConfigError(f"{key}: per_second and burst are not below 0; 0 means no limit")
    if limit.sample == 1 and not limit.per_second:
        raise ConfigError(f"{key}: limits nothing; give sample or per_second")


def _check_positive(key: str, seconds: float) -> None:
    if seconds <= 0:
        raise ConfigError(f"{key}: {seconds:g} is not above 0; give seconds")


def _check_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{key}: {value} is too small; give at least {least}")


def servers_setting(given: str | Sequence[str] | None) -> Mapping[str, Any] | None:
    """Return the `[nats]` section for servers given as one URL, several with commas between, or a sequence."""
    if given is None or not isinstance(given, Sequence):
        return None if given is None else {"servers": given}
    urls = given.split(",") if isinstance(given, str) else given
    stripped = [url.strip() if isinstance(url, str) else url for url in urls]
    return {"servers": [url for url in stripped if url != ""]}
