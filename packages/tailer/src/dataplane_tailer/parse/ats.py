"""Apache Traffic Server: its stock formats and those of the user's `logging.yaml`.

Flows in: a line. Flows out: ECS fields, `ats.<field>` for what ECS has no name for, the line itself as `message`.
Invariant: `-` is absent; of several fields that mean one ECS name one has it and the others keep their own.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import tzinfo
from operator import itemgetter
from typing import Any

import msgspec

from dataplane_common.errors import ConfigError
from dataplane_tailer.parse import times
from dataplane_tailer.parse.ats_fields import ADDRESSES, ECS, ECS_HEADERS, OTHERS, TIMES, Kind
from dataplane_tailer.parse.ats_format import Field, read_format
from dataplane_tailer.parse.http import endpoint, split_request
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Parse, Parsed, unparsed
from dataplane_tailer.parse.time_field import zone_of

_COMMON = '%<chi> - %<caun> [%<cqtn>] "%<cqtx>" %<pssc> %<pscl>'
_EXTENDED = f"{_COMMON} %<sssc> %<sscl> %<cqcl> %<pqcl> %<cqhl> %<pshl> %<pqhl> %<sshl> %<tts>"
#: The formats that Traffic Server comes with.
STOCK = {
    "ats_squid": "%<cqtq> %<ttms> %<chi> %<crc>/%<pssc> %<psql> %<cqhm> %<cquc> %<caun> %<phr>/%<shn> %<psct>",
    "ats_common": _COMMON,
    "ats_extended": _EXTENDED,
    "ats_extended2": f"{_EXTENDED} %<phr> %<cfsc> %<pfsc> %<crc>",
}

#: (fields of the event, text) → nothing; puts one value in its place.
Put = Callable[[dict[str, Any], str], None]
_NANOS = 1_000_000_000
_NO_ADDRESS = r"\*Not IP address \[\d+\]\*"
#: A text between quotes whose own quotes are escaped.
_ESCAPED_TEXT = r'[^"\\]*+(?:\\.[^"\\]*+)*+'
_INTEGER = r"-?\d{1,18}|-"
_STRICT_INTEGER = r"-?[1-9]\d{0,17}|0"
_DECIMAL = r"-?\d{1,18}(?:\.\d{1,9})?|-"
_HEXADECIMAL = r"(?:0x)?[0-9a-fA-F]{1,16}|-"
#: What values of a kind look like; those of other kinds may be anything.
_PATTERNS = {
    Kind.CODE: r"[\w.-]{0,64}+",
    Kind.FLAG: _INTEGER,
    Kind.INTEGER: _INTEGER,
    Kind.MILLISECONDS: _INTEGER,
    Kind.DECIMAL: _DECIMAL,
    Kind.SECONDS: _DECIMAL,
    Kind.HEXADECIMAL: _HEXADECIMAL,
    Kind.HEX_MILLISECONDS: _HEXADECIMAL,
    Kind.CLF_TIME: r"[\w/:]++ [+-]\d{4}|-",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a format is read: `names` are (number of the value, its name, its kind), without those of the time.

    `count` values are in a line, `endings` are the literals behind each, `literals` all of them.
    """

    text: str
    pattern: str
    count: int
    literals: str
    endings: list[str]
    names: list[tuple[int, str, Kind]]
    time_indexes: list[int]
    read_time: Callable[[list[str]], str | None]


def layout_of(config: ParserConfig, *, is_strict: bool = False) -> Layout:
    """Return how `format`, or one of the stock formats, is read; see `_pattern` for what a strict one is.

    Raises:
        ConfigError: the format cannot be used, or `time_zone` is unknown.
    """
    text = STOCK.get(config.parser, config.format)
    if not text:
        raise ConfigError("format: missing; copy the format string from logging.yaml: '%<cqtq> %<ttms> …'")
    parts = read_format(text)
    fields = [part for part in parts if isinstance(part, Field)]
    literals = [part for part in parts if isinstance(part, str)]
    time_indexes, read_time = _clock(fields, zone_of(config.time_zone))
    names = _names(fields, without=time_indexes)
    kinds = [_kind(field) for field in fields]
    for index, _, kind in names:
        kinds[index] = kind
    pattern = _pattern(parts, kinds, is_escaped=config.escape == "json", is_strict=is_strict)
    return Layout(text, pattern, len(fields), "".join(literals), literals[1:], names, time_indexes, read_time)


def ats_parser(config: ParserConfig) -> Parse:
    """Return the parser for `format`, or for one of the stock formats.

    Raises:
        ConfigError: the format cannot be used, or `time_zone` is unknown.
    """
    layout = layout_of(config)
    match = re.compile(layout.pattern, re.DOTALL | re.ASCII).fullmatch
    time_indexes, read_time = layout.time_indexes, layout.read_time
    puts = [(index, _put(name, kind)) for index, name, kind in layout.names]
    is_escaped, expected = config.escape == "json", f"not the format {layout.text}"

    def parse(line: str, _at: str) -> Parsed:
        found = match(line)
        if found is None:
            return unparsed(line, expected)
        values = found.groups()
        timestamp = read_time([values[index] for index in time_indexes]) if time_indexes else None
        if timestamp is None and time_indexes:
            return unparsed(line, f"{expected}: no such time")
        event: dict[str, Any] = {"message": line}
        for index, put in puts:
            if (value := values[index]) not in ("-", ""):
                put(event, _unescaped(value) if is_escaped and "\\" in value else value)
        return Parsed(event, timestamp, "", True)  # noqa: FBT003 - a keyword costs time here

    return parse


def _pattern(parts: list[str | Field], kinds: list[Kind], *, is_escaped: bool, is_strict: bool) -> str:
    """Return a pattern that takes time in proportion to the line.

    A text ends where what follows it comes first, and nothing is tried twice; only the last text, behind which all has
    a length of its own, may hold what ends it. A strict pattern has integers as JSON has them, a group for each part of
    a request line, and None for what is absent.
    """
    texts = [index for index, kind in enumerate(kinds) if kind not in _PATTERNS]
    pattern = re.escape(str(parts[0]))
    for index, kind in enumerate(kinds):
        field, following = parts[2 * index + 1], str(parts[2 * index + 2])
        end = re.escape(following) or r"\Z"
        if kind in _PATTERNS:
            value = _STRICT_INTEGER if is_strict and _PATTERNS[kind] == _INTEGER else _PATTERNS[kind]
        elif is_strict and kind is Kind.REQUEST:
            value = rf"[A-Za-z]++)\ ([^\ {re.escape(following[:1])}]++)\ HTTP/(\d(?:\.\d)?"
        elif is_escaped and following[:1] == '"':
            value = _ESCAPED_TEXT
        elif index == texts[-1]:
            value = ".*"
        else:
            value = f"{_NO_ADDRESS}|{_until(following)}" if _is_address(field) else _until(following)
        pattern += f"(?:-(?={end})|({value})){end}" if is_strict else f"({value}){end}"
    return pattern


def _until(literal: str) -> str:
    """Return a pattern of all that is in front of the first occurrence of a literal."""
    first, more = re.escape(literal[:1]), re.escape(literal[1:])
    return f"(?:[^{first}]++|{first}(?!{more}))*+" if more else f"[^{first}]*+"


def _is_address(part: str | Field) -> bool:
    return isinstance(part, Field) and part.symbol in ADDRESSES


def _kind(field: Field) -> Kind:
    if field.aggregate:
        return Kind.DECIMAL if field.aggregate == "AVERAGE" or field.symbol == "cqtq" else Kind.INTEGER
    return ECS[field.symbol][1] if field.symbol in ECS and not field.of else OTHERS.get(field.symbol, Kind.TEXT)


def _clock(fields: list[Field], zone: tzinfo) -> tuple[list[int], Callable[[list[str]], str | None]]:
    """Return the groups that hold the time, and what reads them; no groups if the format has no time."""
    at = {field.symbol: index for index, field in reversed(list(enumerate(fields))) if field.symbol in TIMES}
    if "cqtq" in at or "cqts" in at:
        return [at.get("cqtq", at.get("cqts", 0))], lambda texts: times.epoch_seconds(texts[0])
    if "cqth" in at:
        return [at["cqth"]], lambda texts: times.epoch_seconds(_decimal(texts[0]))
    if "cqtn" in at:
        return [at["cqtn"]], lambda texts: times.common(texts[0].strip("[]"), zone)
    if "cqtd" in at and "cqtt" in at:
        return [at["cqtd"], at["cqtt"]], lambda texts: times.iso(f"{texts[0]}T{texts[1]}", zone)
    return [], lambda _texts: None


def _names(fields: list[Field], *, without: Iterable[int]) -> list[tuple[int, str, Kind]]:
    """Give every field its name and kind: ECS names go to the first in the order of the table, once each."""
    order = {symbol: rank for rank, symbol in enumerate(ECS)}
    taken: set[str] = set()
    names: list[tuple[int, str, Kind]] = []
    indexes = [index for index in range(len(fields)) if index not in set(without)]
    for index in sorted(indexes, key=lambda index: order.get(fields[index].symbol, len(order))):
        field = fields[index]
        name, kind = _ecs_name(field)
        if not name or name in taken:
            name, kind = _free_name(field, taken), OTHERS.get(field.symbol, Kind.TEXT)
            kind = _kind(field) if field.aggregate else kind
        taken.add(name)
        names.append((index, name, kind))
    return sorted(names, key=itemgetter(0))


def _ecs_name(field: Field) -> tuple[str, Kind]:
    if field.aggregate:
        return "", Kind.TEXT
    if field.of:
        return ECS_HEADERS.get((field.symbol, field.of.lower()), ""), Kind.TEXT
    return ECS.get(field.symbol, ("", Kind.TEXT))


def _free_name(field: Field, taken: set[str]) -> str:
    name = f"ats.{field.ats_name}"
    while name in taken:  # the format has the field twice
        name += "_"
    return name


def _put(name: str, kind: Kind) -> Put:
    *path, last = name.split(".")
    convert = CONVERT.get(kind, str)

    def put(event: dict[str, Any], text: str) -> None:
        for step in path:
            event = event.setdefault(step, {})
        event[last] = convert(text)

    def put_address(event: dict[str, Any], text: str) -> None:
        event.setdefault(path[0], {}).update(endpoint(text))

    def put_request(event: dict[str, Any], text: str) -> None:
        method, target, version = split_request(text)
        event.setdefault("url", {})["original"] = target
        if method:
            event.setdefault("http", {}).setdefault("request", {}).setdefault("method", method)
        if version:
            event.setdefault("http", {}).setdefault("version", version)

    def put_tls(event: dict[str, Any], text: str) -> None:
        event.setdefault("tls", {}).update(tls_of(text))

    return {Kind.ADDRESS: put_address, Kind.REQUEST: put_request, Kind.TLS_VERSION: put_tls}.get(kind, put)


def tls_of(text: str) -> dict[str, str]:
    """Return the ECS fields of a protocol such as `TLSv1.3`."""
    protocol, _, version = text.partition("v")
    is_known = protocol in ("TLS", "SSL") and bool(version)
    return {"version": version, "version_protocol": protocol.lower()} if is_known else {"version": text}


def _unescaped(text: str) -> str:
    r"""Undo the escapes of `escape: json`, which are those of bytes: what is no UTF-8 stays visible as `\xff`."""
    try:
        return str(msgspec.json.decode(f'"{text}"')).encode("latin-1").decode(errors="backslashreplace")
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text  # cut in the middle of an escape, or not escaped at all


def _decimal(hexadecimal: str) -> str:
    try:
        return str(int(hexadecimal, 16))
    except ValueError:  # absent
        return ""


def _nanos(seconds: str) -> int:
    whole, _, digits = seconds.partition(".")
    sign = -1 if whole.startswith("-") else 1
    return int(whole) * _NANOS + sign * int((digits or "0")[:9].ljust(9, "0"))


#: What makes values of those kinds that are no texts.
CONVERT: dict[Kind, Callable[[str], Any]] = {
    Kind.INTEGER: int,
    Kind.DECIMAL: float,
    Kind.HEXADECIMAL: lambda text: int(text, 16),
    Kind.FLAG: lambda text: text == "1",
    Kind.HTTP_VERSION: lambda text: text.upper().removeprefix("HTTP/"),
    Kind.MILLISECONDS: lambda text: int(text) * 1_000_000,
    Kind.SECONDS: _nanos,
    Kind.HEX_MILLISECONDS: lambda text: int(text, 16) * 1_000_000,
}
