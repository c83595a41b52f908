"""Reads the time that an input names by `time_field`, `time_format` and `time_zone`. Pure.

Flows in: the configuration; then a value of any type and the time of arrival. Flows out: a timestamp or None.
Invariant: whatever can be wrong with the three keys is said at start.
"""

import difflib
import re
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Any

from dataplane_common.errors import ConfigError
from dataplane_tailer.parse import times
from dataplane_tailer.parse.options import ParserConfig

#: What `strptime` takes, and the zone of the times that it reads.
_Form = tuple[str, tzinfo]
#: (value, time of arrival) → timestamp.
ReadTime = Callable[[Any, str], str | None]

_PER_SECOND = {"epoch": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000, "epoch_ns": 1_000_000_000}
_HAS_YEAR = re.compile(r"%[YyGcx]")
#: What places a time in the year; a time of day alone has no date.
_HAS_DAY = re.compile(r"%[djcxUVW]")
#: What `date` and Java know, in the directives of `strptime`.
_SHORT = {"%F": "%Y-%m-%d", "%T": "%H:%M:%S", "%D": "%m/%d/%y", "%R": "%H:%M", "%e": "%d", "%k": "%H", "%l": "%I"}
#: Digits behind the microseconds, of which `%f` takes none.
_NANOS = re.compile(r"([.,]\d{6})\d{1,6}", re.ASCII)
_FRACTION = re.compile(r"(.*)[.,](\d{1,9})", re.DOTALL)
#: Distinct times that are remembered per input.
_TIMES_KEPT = 4096


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its IANA name; `local` is the host's.

    Raises:
        ConfigError: there is none of that name.
    """
    if name in ("UTC", "Z"):
        return UTC
    try:
        return _local() if name == "local" else zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        close = difflib.get_close_matches(name, known, n=1)
        advice = f'try "{close[0]}"' if close else 'write an IANA name such as "Europe/Berlin", or "local"'
        raise ConfigError(f'time_zone: "{name}" is not known here ({len(known)} zones are); {advice}') from None


def _local() -> tzinfo:
    with Path("/etc/localtime").open("rb") as file:  # its one place (localtime(5))
        return zoneinfo.ZoneInfo.from_file(file, "local")


def time_reader(config: ParserConfig) -> ReadTime:
    """Return what reads the time field of an input.

    `time_format` is empty or `iso8601`, `clf`, `syslog`, `epoch`, `epoch_ms`, `epoch_us`, `epoch_ns`, or what Python's
    `strptime` takes. `%f` may be behind a comma, have any number of digits, and be missing at the end; a `Z` at the end
    means UTC, as it does in ISO 8601; `%Z` is UTC, GMT, or one of the two abbreviations of `time_zone`.

    Raises:
        ConfigError: a key cannot be used.
    """
    zone, form = zone_of(config.time_zone), config.time_format
    if form in ("", "iso8601"):
        return lambda value, _at: times.iso(value, zone) if isinstance(value, str) else _as_epoch(value)
    if form == "clf":
        return lambda value, _at: times.common(value.strip("[]"), zone) if isinstance(value, str) else None
    if form == "syslog":
        return lambda value, at: times.without_year(value, at, zone) if isinstance(value, str) else None
    if (per_second := _PER_SECOND.get(form)) is not None:
        return lambda value, _at: times.epoch_in(value, per_second)
    return _strptime_reader(form, zone)


def _as_epoch(value: Any) -> str | None:
    return times.epoch(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _strptime_reader(form: str, zone: tzinfo) -> ReadTime:
    form = re.sub("%.", lambda found: _SHORT.get(found[0], found[0]), form, flags=re.DOTALL)
    _check_format(form)
    has_fraction = form.endswith((".%f", ",%f"))
    forms = _with_zones(form[:-3] if has_fraction else form, zone)
    read = _dated_reader(forms) if _HAS_YEAR.search(form) else _undated_reader(forms)

    def whole(value: Any, at: str) -> str | None:
        return read(_NANOS.sub(r"\1", str(value)), at[:10])

    def with_fraction(value: Any, at: str) -> str | None:
        if (found := _FRACTION.fullmatch(str(value))) is None:
            return read(str(value), at[:10])
        second = read(found[1], at[:10])
        return second and f"{second[:19]}.{times.micros_of(found[2])}Z"

    return with_fraction if has_fraction else whole


def _with_zones(form: str, zone: tzinfo) -> list[_Form]:
    """Return a format for each zone that a time in it may name."""
    if "%Z" not in form:
        return [(form, UTC if re.search(r"(?<!%)Z$", form) else zone)]
    summer, winter = (datetime(2024, month, 1, tzinfo=zone) for month in (7, 1))
    offsets = {moment.tzname(): timezone(moment.utcoffset() or timedelta()) for moment in (summer, winter)}
    return [(form.replace("%Z", name), offset) for name, offset in ({"UTC": UTC, "GMT": UTC} | offsets).items() if name]


def _dated_reader(forms: list[_Form]) -> Callable[[str, str], str | None]:
    @lru_cache(maxsize=_TIMES_KEPT)
    def read(text: str) -> str | None:
        return next((found for form, zone in forms if (found := _strptime(text, form, zone))), None)

    return lambda text, _today: read(text)


def _undated_reader(forms: list[_Form]) -> Callable[[str, str], str | None]:
    @lru_cache(maxsize=_TIMES_KEPT)
    def read(text: str, today: str) -> str | None:
        for form, zone in forms:
            found = (_strptime(f"{year:04} {text}", f"%Y {form}", zone) for year in times.years(today))
            if (latest := times.latest(found, today)) is not None:
                return latest
        return None

    return read


def _strptime(text: str, form: str, zone: tzinfo) -> str | None:
    try:
        return times.stamp(datetime.strptime(text, form), zone)  # noqa: DTZ007 - `stamp` adds the zone
    except ValueError:
        return None


def _check_format(form: str) -> None:
    """Write a time in the format and read it again: what strptime does not know shows at once."""
    whole = form if _HAS_YEAR.search(form) else f"%Y {form}"
    try:
        datetime.strptime(datetime(2024, 2, 29, tzinfo=UTC).strftime(whole), whole)  # noqa: DTZ007 - only tried
    except (ValueError, re.error) as error:
        raise ConfigError(
            f'time_format: "{form}" cannot be read back ({error}); write a strptime format such as '
            '"%Y-%m-%d %H:%M:%S,%f", or one of iso8601, clf, syslog, ' + ", ".join(_PER_SECOND)
        ) from None
    if "%" not in form:
        raise ConfigError(f'time_format: "{form}" has no %-directive; write for example "%Y-%m-%d %H:%M:%S"')
    if not _HAS_DAY.search(form):
        raise ConfigError(f'time_format: "{form}" names no day; leave time_field out: the time of arrival counts then')
