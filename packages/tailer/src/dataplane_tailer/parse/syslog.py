"""Syslog lines: RFC 5424, RFC 3164, and what daemons write into files after its example.

Flows in: a line. Flows out: `log.syslog.*`, `log.level`, `process.*`, the message. Invariant: a date without a year
gets the one that the time of arrival tells; nothing else depends on when a line is read.
"""

import re
from typing import Any

from dataplane_tailer.parse import times
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Parse, Parsed, unparsed
from dataplane_tailer.parse.time_field import zone_of

_FACILITIES = [
    "kernel", "user-level", "mail", "system", "security/authorization", "syslogd", "printer", "network-news",
    "uucp", "clock", "security/authorization-private", "ftp", "ntp", "log-audit", "log-alert", "clock-2",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]  # fmt: skip
_SEVERITIES = ("Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug")
_LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
#: 24 facilities of 8 severities (RFC 5424, 6.2.1).
_PRIORITIES = 192
#: The byte-order mark that may stand before an RFC 5424 message (6.4).
_BOM = "\ufeff"

_ISO_TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d(?::?\d\d)?)?"
_OLD_TIME = r"[A-Z][a-z]{2} [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d{1,9})?"
#: The name of a program has a colon behind it, which no host's name has at its end; local senders leave the host out.
_NO_HOST = r"(?![^\s:\[]++(?:\[[^\]\s]*+\])?: )"
_TAG = r"([^\s:\[]++)(?:\[([^\]\s]*+)\])?:(?: |(?!//))"
_RFC3164 = re.compile(
    rf"(?:<(\d{{1,3}})>)?(?:({_ISO_TIME})|({_OLD_TIME})):? (?:{_NO_HOST}(\S++) )?(?:{_TAG})?(.*)",
    re.DOTALL | re.ASCII,
)
#: Between quotes a bracket ends nothing, escaped or not: many senders do not escape it.
_PARAM = r' ++[^\s=\]"]{1,64}="[^"\\]*+(?:\\.[^"\\]*+)*+"'
_ELEMENT = rf'\[[^\s=\]"]{{1,64}}(?:{_PARAM})*+ *+\]'
_RFC5424 = re.compile(
    rf"<(\d{{1,3}})>(\d{{1,2}}) (-|\S+) (-|\S+) (-|\S+) (-|\S+) (-|\S+) (-|(?:{_ELEMENT})++)(?: (.*))?", re.DOTALL
)
_SD_ELEMENT = re.compile(rf'\[([^\s=\]"]++)((?:{_PARAM})*+) *+\]', re.DOTALL)
_SD_PARAM = re.compile(r' ++([^\s=\]"]++)="([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_SD_ESCAPE = re.compile(r'\\(["\\\]])')


def syslog_parser(config: ParserConfig) -> Parse:
    """Return the parser `syslog_rfc3164`, `syslog_rfc5424`, or `syslog`, which tells the two apart line by line.

    `time_zone` is the zone of RFC 3164 times.

    Raises:
        ConfigError: `time_zone` is unknown.
    """
    zone = zone_of(config.time_zone)

    def parse_old(line: str, at: str) -> Parsed:
        found = _RFC3164.fullmatch(line)
        if found is None:
            return unparsed(line, "not syslog (RFC 3164)")
        priority, new_time, old_time, host, name, process, message = found.groups()
        timestamp = times.iso(new_time, zone) if new_time else times.without_year(old_time, at, zone)
        syslog = _priority(priority)
        if timestamp is None or syslog is None:
            return unparsed(line, "not syslog (RFC 3164): no such time or priority")
        if host is not None:
            syslog["hostname"] = host
        return _parsed(syslog, name, process, message, timestamp)

    def parse_new(line: str, _at: str) -> Parsed:
        found = _RFC5424.fullmatch(line)
        if found is None:
            return unparsed(line, "not syslog (RFC 5424)")
        priority, version, time, host, name, process, kind, data, message = found.groups()
        timestamp = None if time == "-" else times.iso(time)
        syslog = _priority(priority)
        if syslog is None or (timestamp is None and time != "-"):
            return unparsed(line, "not syslog (RFC 5424): no such time or priority")
        syslog["version"] = version
        syslog |= {key: text for key, text in (("hostname", host), ("msgid", kind)) if text != "-"}
        if data != "-":
            syslog["structured_data"] = _structured(data)
        return _parsed(syslog, _present(name), _present(process), (message or "").removeprefix(_BOM), timestamp)

    def parse_either(line: str, at: str) -> Parsed:
        return (parse_new if _is_new(line) else parse_old)(line, at)

    return {"syslog_rfc3164": parse_old, "syslog_rfc5424": parse_new}.get(config.parser, parse_either)


def _is_new(line: str) -> bool:
    """RFC 5424 has a version right behind the priority, RFC 3164 a month."""
    end = line.find(">", 0, 5)
    return end > 0 and line[end + 1 : end + 2].isdecimal() and " " in line[end + 2 : end + 4]


def _present(text: str) -> str | None:
    return None if text == "-" else text


def _priority(text: str | None) -> dict[str, Any] | None:
    """Return the fields of a priority, none without one, None if there is no such priority."""
    if text is None:
        return {}
    if (priority := int(text)) >= _PRIORITIES:
        return None
    facility, severity = divmod(priority, 8)
    return {
        "priority": priority,
        "facility": {"code": facility, "name": _FACILITIES[facility]},
        "severity": {"code": severity, "name": _SEVERITIES[severity]},
    }


def _parsed(
    syslog: dict[str, Any], name: str | None, process: str | None, message: str, timestamp: str | None
) -> Parsed:
    log: dict[str, Any] = {"syslog": syslog}
    if "severity" in syslog:
        log["level"] = _LEVELS[syslog["severity"]["code"]]
    fields: dict[str, Any] = {"message": message, "log": log}
    if name:
        syslog["appname"] = name
        fields["process"] = {"name": name}
    if process:
        syslog["procid"] = process
        if process.isdecimal() and process.isascii() and len(process) < 10:  # noqa: PLR2004 - a pid, not any number
            fields.setdefault("process", {})["pid"] = int(process)
    return Parsed(fields, timestamp, "", "structured_data" not in syslog)


def _structured(data: str) -> dict[str, dict[str, Any]]:
    """Return `{id: {name: value}}`; a name that comes again in an element has all its values (RFC 5424, 6.3.3)."""
    elements: dict[str, dict[str, Any]] = {}
    for identity, params in _SD_ELEMENT.findall(data):
        element = elements.setdefault(identity, {})
        for name, quoted in _SD_PARAM.findall(params):
            value = _SD_ESCAPE.sub(r"\1", quoted)
            before = element.get(name)
            both = [*before, value] if isinstance(before, list) else [before, value]
            element[name] = value if before is None else both
    return elements
