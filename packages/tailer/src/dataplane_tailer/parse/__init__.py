"""Parsers: pure functions from a line's text to fields, each in a file of its own.

Flows in: one line. Flows out: `Parsed`. Invariant: a line that cannot be parsed keeps its text.
"""

import difflib
from collections.abc import Callable

from dataplane_common.errors import ConfigError
from dataplane_tailer.parse.access import access_parser
from dataplane_tailer.parse.access_quick import quick_access
from dataplane_tailer.parse.ats import STOCK, ats_parser
from dataplane_tailer.parse.ats_quick import quick_ats
from dataplane_tailer.parse.container import READERS, container_parser
from dataplane_tailer.parse.json_line import json_parser
from dataplane_tailer.parse.json_quick import quick_json
from dataplane_tailer.parse.logfmt import logfmt_parser
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Columns, Parse, Parsed, Quick
from dataplane_tailer.parse.record import check_renames, renamed
from dataplane_tailer.parse.regex import regex_parser
from dataplane_tailer.parse.syslog import syslog_parser

__all__ = [
    "PARSERS",
    "Columns",
    "Parse",
    "Parsed",
    "ParserConfig",
    "Quick",
    "check_parser",
    "content_parser",
    "parser",
    "quick_parser",
]

_RECORDS: dict[str, Callable[[ParserConfig], Parse]] = {
    "json": json_parser,
    "logfmt": logfmt_parser,
    "regex": regex_parser,
}
_FIXED: dict[str, Callable[[ParserConfig], Parse]] = {
    **dict.fromkeys(("syslog", "syslog_rfc3164", "syslog_rfc5424"), syslog_parser),
    **dict.fromkeys(("common", "combined"), access_parser),
    **dict.fromkeys(("ats", *STOCK), ats_parser),
}
#: All parsers that an input may name.
PARSERS = ("plain", *_RECORDS, *_FIXED, *READERS)

#: Which parsers use a key, for those that not all of them use.
_USERS_OF = {
    "pattern": ("regex",),
    "format": ("ats",),
    "escape": ("ats",),
    "time_field": tuple(_RECORDS),
    "time_format": tuple(_RECORDS),
}


def parser(config: ParserConfig) -> Parse | None:
    """Return the parser that an input names; None for plain lines, which need none.

    Raises:
        ConfigError: a key of the parser cannot be used; the text begins with the key.
    """
    if config.parser in READERS:
        return container_parser(config, content_parser(config))
    if config.parser in _RECORDS:
        return _RECORDS[config.parser](config)
    return renamed(_FIXED[config.parser](config), check_renames(config)) if config.parser in _FIXED else None


def quick_parser(config: ParserConfig, taken: frozenset[str], event_taken: frozenset[str]) -> Quick | None:
    """Return the short way for the usual lines of a parser, None if it has none.

    `taken` are the names at the top of the event that are not free, `event_taken` those within `event`.
    """
    if config.parser == "json":
        return quick_json(config, taken)
    if config.parser in ("common", "combined"):
        return quick_access(config, taken)
    return quick_ats(config, taken, event_taken) if config.parser in ("ats", *STOCK) else None


def content_parser(config: ParserConfig) -> Parse | None:
    """Return the parser of what a container wrote, which `content` names; None for plain texts."""
    return None if config.content == "plain" else parser(_inside(config))


def _inside(config: ParserConfig) -> ParserConfig:
    """Return what `content` says, as an input of its own would say it."""
    return ParserConfig(
        parser=config.content,
        pattern=config.pattern,
        format=config.format,
        escape=config.escape,
        time_field=config.time_field,
        time_format=config.time_format,
        time_zone=config.time_zone,
    )


def check_parser(config: ParserConfig) -> None:
    """Check all keys that say what lines are.

    Raises:
        ConfigError: one cannot be used; the text begins with the key.
    """
    _check_known("parser", config.parser, PARSERS)
    inner = config.content if config.parser in READERS else config.parser
    if inner is not config.parser:
        _check_known("content", inner, [name for name in PARSERS if name not in READERS])
    elif config.content != "plain":
        raise ConfigError(f"content: only {' and '.join(READERS)} have it; remove it")
    for key, users in _USERS_OF.items():
        if getattr(config, key) and inner not in users:
            raise ConfigError(f'{key}: parser "{inner}" does not use it; it belongs to {", ".join(users)}')
    if config.time_format and not config.time_field:
        raise ConfigError("time_field: missing; time_format needs the name of the field that holds the time")
    if config.parser == "plain" and config.rename:
        raise ConfigError('rename: parser "plain" has no fields to rename; choose another parser')
    if "message" in config.rename and inner not in _RECORDS:
        raise ConfigError('rename: "message" is always the line; rename other fields')
    parser(config)


def _check_known(key: str, name: str, known: list[str] | tuple[str, ...]) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        advice = f'did you mean "{close[0]}"? All: ' if close else "choose one of "
        raise ConfigError(f'{key}: "{name}" is not known; {advice}{", ".join(known)}')
