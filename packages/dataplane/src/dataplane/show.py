"""An event as one line for a person: time, level, dataset, host, message.

Pure. Flows in: a document, its fields nested or with dots in their names. Flows out: a styled line.
Invariant: one event is one line, and its text cannot steer the terminal.
"""

import re
from typing import Any

import msgspec
from rich.text import Text

_LEVEL_STYLES = {
    "trace": "dim",
    "debug": "dim",
    "info": "green",
    "notice": "green",
    "warn": "yellow",
    "warning": "yellow",
    "error": "red",
    "err": "red",
    "critical": "bold red",
    "crit": "bold red",
    "alert": "bold red",
    "fatal": "bold red",
    "emergency": "bold red",
}
#: Milliseconds are what eyes compare; the document has the rest.
_TIME_LENGTH = len("2026-11-22T10:15:30.123")
#: Everything that moves a cursor, changes colours or ends a line.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: What identifies or places an event, and is no news in the line of one without a message.
_ENVELOPE = frozenset({"_id", "@timestamp", "event", "dp", "ecs", "host", "log", "service", "message"})


def field(document: dict[str, Any], path: str) -> Any:
    """Return `a.b` of a document that says `{"a": {"b": …}}` or `{"a.b": …}`, or None."""
    if path in document:
        return document[path]
    head, dot, rest = path.partition(".")
    inner = document.get(head)
    return field(inner, rest) if dot and isinstance(inner, dict) else None


def event_line(document: dict[str, Any]) -> Text:
    """Return an event's line."""
    level = str(field(document, "log.level") or "").lower()
    return Text.assemble(
        (_time(document), "dim"),
        " ",
        (f"{_safe(level)[:8]:<5}", _LEVEL_STYLES.get(level, "")),
        " ",
        (_safe(field(document, "event.dataset") or field(document, "service.name") or "-"), "cyan"),
        " ",
        (_safe(field(document, "host.name") or "-"), "blue"),
        " ",
        _safe(_said(document)),
    )


def _time(document: dict[str, Any]) -> str:
    at = _safe(document.get("@timestamp", "-"))
    return f"{at[:_TIME_LENGTH]}Z" if at.endswith("Z") and len(at) > _TIME_LENGTH else at


def _said(document: dict[str, Any]) -> str:
    if (message := document.get("message")) is not None:
        return message if isinstance(message, str) else _json(message)
    if isinstance(metric := document.get("metric"), dict):
        return _measured(metric, document.get("labels"))
    return _json({key: value for key, value in document.items() if key not in _ENVELOPE})


def _measured(metric: dict[str, Any], labels: Any) -> str:
    """Return a metric point: its value, or the summary of a histogram."""
    if "value" in metric:
        value = f"{metric['value']}"
    else:
        value = " ".join(f"{key}={metric[key]}" for key in ("count", "sum", "min", "max") if key in metric)
    dimensions = " ".join(f"{key}={value}" for key, value in labels.items()) if isinstance(labels, dict) else ""
    return f"{metric.get('name', '-')} {value} {metric.get('unit', '')} {dimensions}".rstrip()


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _safe(value: Any) -> str:
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), str(value))
