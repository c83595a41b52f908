"""Routes: which consumer reads which subjects, and into which data stream a subject goes.

Pure. Flows in: the configured routes. Flows out: one `Feed` per route and stream, and a `Place` per subject.
Invariant: no subject belongs to two routes, so no event is read twice by one sink.
"""

import re
from typing import NamedTuple

from dataplane_common.errors import ConfigError, Permanent
from dataplane_common.taxonomy import Signal, host_token, parse_subject, token
from elastinats.config import RouteConfig, SinkConfig
from elastinats.part import PLAIN, Style
from elastinats.rules import ENVELOPE, NO_RULES, Rules, rules_of, touched

_STREAMS = {Signal.LOGS.value: "LOGS", Signal.METRICS.value: "METRICS"}
_PLACEHOLDERS = re.compile(r"\{([^{}]*)\}")
_KNOWN = frozenset({"signal", "dataset", "namespace"})
_TARGET = re.compile(r"[a-z0-9_.{}-]+")
_OUR_TOKENS = 4
#: What an event without a place of its own belongs to.
_GENERIC = "generic"
_DEFAULT_NAMESPACE = "default"


class Plan(NamedTuple):
    """What a route does with its events."""

    target: str
    style: Style = PLAIN
    rules: Rules = NO_RULES
    drop: bool = False


class Feed(NamedTuple):
    """What one durable consumer reads. No filter means the whole stream."""

    route: str
    stream: str
    durable: str
    filter_subjects: tuple[str, ...]
    plan: Plan


class Place(NamedTuple):
    """Where a subject's events belong; `host` is empty where the subject names none."""

    signal: str
    namespace: str
    dataset: str
    host: str
    target: str


def feeds(config: SinkConfig) -> list[Feed]:
    """Return the consumers that the routes need, one per route and stream.

    Raises:
        ConfigError: a bad subject or target, a subject of an unknown stream, or two subjects that overlap.
    """
    _refuse_overlaps(config.routes)
    found = []
    for route in config.routes:
        _check_target(route)
        plan = _plan(route)
        for stream, subjects in _by_stream(route).items():
            whole = any(subject == f"{stream.lower()}.>" for subject in subjects)
            durable = f"{config.name}_{route.name}"
            found.append(Feed(route.name, stream, durable, () if whole else tuple(subjects), plan))
    return found


def place(subject: str, target: str) -> Place:
    """Say where the events of a subject go.

    Four tokens are read as `<signal>.<namespace>.<dataset>.<host>`, mended where needed; any other subject is dataset
    `generic` in namespace `default`.
    """
    try:
        parsed = parse_subject(subject)
        names = (parsed.signal.value, parsed.namespace, parsed.dataset, parsed.host)
    except Permanent:
        tokens = subject.split(".")
        signal = tokens[0] if tokens[0] in _STREAMS else Signal.LOGS.value
        names = (signal, _DEFAULT_NAMESPACE, _GENERIC, "")
        if len(tokens) == _OUR_TOKENS and tokens[0] in _STREAMS:
            names = (signal, token(tokens[1]), token(tokens[2]), host_token(tokens[3]))
    signal, namespace, dataset, _ = names
    return Place(*names, target.format(signal=signal, dataset=dataset, namespace=namespace))


def index_patterns(config: SinkConfig) -> list[str]:
    """Return patterns of the data streams and indices that the routes write to."""
    found = []
    for route in config.routes:
        for subject in [] if route.drop else route.subjects:
            signal, namespace, dataset = [*subject.replace(">", "*").split("."), "*", "*"][:3]
            if signal not in {*_STREAMS, "*"}:
                signal, namespace, dataset = Signal.LOGS.value, _DEFAULT_NAMESPACE, _GENERIC
            signals = _STREAMS if signal == "*" else [signal]
            found += [route.target.format(signal=each, dataset=dataset, namespace=namespace) for each in signals]
    return [*dict.fromkeys(found)]


def overlap(one: str, other: str) -> bool:
    """Tell whether some subject matches both patterns."""
    left, right = one.split("."), other.split(".")
    for a, b in zip(left, right, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(left) == len(right)


def _plan(route: RouteConfig) -> Plan:
    rules = rules_of(route.rename, route.remove, route.add) or NO_RULES
    if forbidden := sorted(touched(rules) & ENVELOPE):
        raise ConfigError(f'routes: "{route.name}": no rule may change {", ".join(forbidden)}: it makes the event')
    if any(not part for name in touched(rules) for part in name.split(".")):
        raise ConfigError(f'routes: "{route.name}": a field needs a name, dots between its parts')
    style = Style(route.op, route.pipeline or "", route.id, ruled=bool(rules))
    return Plan(route.target, style, rules, route.drop)


def _by_stream(route: RouteConfig) -> dict[str, list[str]]:
    if not route.subjects:
        raise ConfigError(f'routes: "{route.name}" has no subjects; name at least one, for example "logs.>"')
    streams: dict[str, list[str]] = {}
    for subject in route.subjects:
        _check_subject(route.name, subject)
        stream = route.stream or _STREAMS.get(subject.split(".")[0])
        if stream is None:
            raise ConfigError(
                f'routes: "{route.name}": subject "{subject}" is neither logs. nor metrics.; say which stream holds it '
                '(stream = "NAME")'
            )
        streams.setdefault(stream, []).append(subject)
    return streams


def _check_subject(route: str, subject: str) -> None:
    tokens = subject.split(".")
    bad = any(
        not part or re.search(r"\s", part) or (part not in {"*", ">"} and re.search(r"[*>]", part)) for part in tokens
    )
    if bad or ">" in tokens[:-1]:
        raise ConfigError(
            f'routes: "{route}": "{subject}" is no subject; expected tokens between dots, "*" for one, ">" at the end'
        )


def _check_target(route: RouteConfig) -> None:
    unknown = set(_PLACEHOLDERS.findall(route.target)) - _KNOWN
    if unknown or not _TARGET.fullmatch(_PLACEHOLDERS.sub("x", route.target)) or route.target[0] in "-_.":
        raise ConfigError(
            f'routes: "{route.name}": target "{route.target}": lower-case letters, digits, -, _, . and the '
            "placeholders {signal}, {dataset}, {namespace}"
        )


def _refuse_overlaps(routes: tuple[RouteConfig, ...]) -> None:
    taken: list[tuple[str, str]] = []
    for route in routes:
        for subject in route.subjects:
            for name, other in taken:
                if overlap(subject, other):
                    raise ConfigError(
                        f'routes: "{subject}" of "{route.name}" overlaps "{other}" of "{name}"; '
                        "each subject may belong to one route only"
                    )
            taken.append((route.name, subject))
