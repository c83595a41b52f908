"""The names of things: subjects on the bus, streams, data streams, and how a bad name is mended.

Pure. Invariant: `Subject` and data stream name map onto each other both ways, because no token holds a `-` or `.`.
"""

import re
from enum import StrEnum
from typing import NamedTuple

from dataplane_common.errors import ConfigError, Permanent

_TOKEN = re.compile(r"[a-z0-9_]{1,64}")
_HOST = re.compile(r"[a-z0-9_-]{1,128}")
_TOKEN_LENGTH = 64
_HOST_LENGTH = 128
_SUBJECT_TOKENS = 4


class Signal(StrEnum):
    """What kind of telemetry a subject carries."""

    LOGS = "logs"
    METRICS = "metrics"


_SIGNALS = frozenset(signal.value for signal in Signal)


class Subject(NamedTuple):
    """`<signal>.<namespace>.<dataset>.<host>`, always four tokens."""

    signal: Signal
    namespace: str
    dataset: str
    host: str

    def __str__(self) -> str:
        return f"{self.signal}.{self.namespace}.{self.dataset}.{self.host}"

    @property
    def data_stream(self) -> str:
        """The Elasticsearch data stream of this subject: `<signal>-<dataset>-<namespace>`."""
        return f"{self.signal}-{self.dataset}-{self.namespace}"

    @property
    def dead_letters(self) -> str:
        """The subject that takes this subject's dead letters."""
        return f"dlq.{self}"


def parse_subject(text: str) -> Subject:
    """Parse a subject of the data plane.

    Raises:
        Permanent: it has not four valid tokens, or an unknown signal.
    """
    tokens = text.split(".")
    if len(tokens) == _SUBJECT_TOKENS and tokens[0] in _SIGNALS:
        _, namespace, dataset, host = tokens
        if _TOKEN.fullmatch(namespace) and _TOKEN.fullmatch(dataset) and _HOST.fullmatch(host):
            return Subject(Signal(tokens[0]), namespace, dataset, host)
    raise Permanent(f"subject {text!r}: expected <logs|metrics>.<namespace>.<dataset>.<host>")


def subject_for(signal: Signal, namespace: str, dataset: str, host: str) -> Subject:
    """Build a subject; the host's name is sanitised, namespace and dataset must already be valid tokens."""
    return Subject(signal, namespace, dataset, host_token(host))


def parse_data_stream(name: str) -> tuple[Signal, str, str]:
    """Return (signal, namespace, dataset) of a data stream's name.

    Raises:
        Permanent: the name is not one of ours.
    """
    match name.split("-"):
        case [signal, dataset, namespace] if (
            signal in _SIGNALS and _TOKEN.fullmatch(dataset) and _TOKEN.fullmatch(namespace)
        ):
            return Signal(signal), namespace, dataset
    raise Permanent(f"data stream {name!r}: expected <logs|metrics>-<dataset>-<namespace>")


def ledger_subject(namespace: str, host: str, agent: str) -> str:
    """Return the one subject on which an agent publishes its account."""
    return f"ledger.{namespace}.{host_token(host)}.{token(agent)}"


def token(text: str) -> str:
    """Return the nearest valid namespace or dataset: lower case, `_` for what is not allowed, 1 to 64 characters."""
    return re.sub(r"[^a-z0-9_]", "_", text.lower())[:_TOKEN_LENGTH] or "_"


def host_token(name: str) -> str:
    """Return a host's name as a subject token: lower case, `_` for what is not allowed, 1 to 128 characters."""
    return re.sub(r"[^a-z0-9_-]", "_", name.lower())[:_HOST_LENGTH] or "_"


def check_token(key: str, text: str) -> str:
    """Return a configured namespace or dataset unchanged if it is valid.

    Raises:
        ConfigError: it is not; the message has the nearest valid spelling.
    """
    if _TOKEN.fullmatch(text):
        return text
    raise ConfigError(
        f'{key}: "{text}" cannot be part of a subject (allowed: a-z, 0-9, _; 1 to 64 characters); try "{token(text)}"'
    )
