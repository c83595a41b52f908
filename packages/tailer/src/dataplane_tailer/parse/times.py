"""Times of log lines as the timestamps of events. Pure.

Flows in: a time as a line has it. Flows out: RFC 3339 in UTC with microseconds, or None if it is no such time.
Invariant: digits behind the microseconds are cut, never rounded, so an order of times stays one.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

from dataplane_common.event import rfc3339

#: Distinct seconds that are remembered; the lines of a log repeat the same second.
_SECONDS_KEPT = 8192
#: An epoch below this many seconds (1973) is more likely a duration than a time.
_LEAST_EPOCH_S = 100_000_000
#: Nothing beyond this many nanoseconds (the year 5138) is a time.
_MOST_EPOCH_NS = 100_000_000_000_000_000_000
#: Below which number an epoch counts how many in a second: seconds reach the first limit in the year 5138.
_UNITS = (
    (100_000_000_000, 1),
    (100_000_000_000_000, 1_000),
    (100_000_000_000_000_000, 1_000_000),
    (_MOST_EPOCH_NS, 1_000_000_000),
)
_MICROS = 1_000_000
_OFFSETS = dict.fromkeys(("Z", "z", "UTC", "GMT"), "+00:00")
#: A year has to be found for 29 February, too: eight years may lie between two of them.
_YEARS_BACK = 9
_MONTHS = {
    "Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6,
    "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12,
}  # fmt: skip
#: Behind an offset, Go (`time.Time`) writes the zone's abbreviation and Java (`ZonedDateTime`) its name in brackets.
_ISO = re.compile(
    r"(\d{4})([-/])(\d\d)\2(\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d{1,12}))?"
    r"\s?(?:([Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)(?: [A-Z]{3,5}|\[[\w/+-]{1,40}\])?)?",
    re.ASCII,
)
_COMMON = re.compile(r"(\d{1,2})/(\w{3})/(\d{4}):(\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(?: ([+-]\d{4}))?", re.ASCII)
#: A leap second, which neither Python's nor Elasticsearch's calendar has.
_LEAP_SECOND = ":60"
_NO_YEAR = re.compile(r"(\w{3}) {1,2}(\d{1,2}) (?:(\d{4}) )?(\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?", re.ASCII)
_NUMBER = re.compile(r"(-?)(\d{1,20})(?:\.(\d{1,20}))?", re.ASCII)


def iso(text: str, zone: tzinfo = UTC) -> str | None:
    """Return an ISO 8601 time (RFC 3339 and its relatives); without a zone of its own it is in `zone`."""
    digits = text[20:-1]
    if text[-1:] == "Z" and text[19:20] == "." and digits.isdecimal() and digits.isascii():
        second = _utc_second(text[:19])
        if second is not None and text[16:19] != _LEAP_SECOND:
            return f"{second}.{digits if len(digits) == 6 else micros_of(digits)}Z"  # noqa: PLR2004
    if (found := _ISO.fullmatch(text)) is not None:
        year, _, month, day, time, digits, offset = found.groups()
        second = second_of(f"{year}-{month}-{day}T{time}", _OFFSETS.get(offset or "", offset or ""), zone)
        return _stamped(second, time, digits)
    return _unusual_iso(text, zone)


@lru_cache(maxsize=_SECONDS_KEPT)
def _utc_second(text: str) -> str | None:
    return second_of(text, "+00:00", UTC)


def _unusual_iso(text: str, zone: tzinfo) -> str | None:
    try:
        return stamp(datetime.fromisoformat(text), zone)
    except ValueError:
        return None


def stamp(moment: datetime, zone: tzinfo) -> str | None:
    """Return a moment as a timestamp; without a zone it is in `zone`. None where UTC has no year for it."""
    try:
        utc = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        return None
    return rfc3339(utc)


@lru_cache(maxsize=_SECONDS_KEPT)
def second_of(local: str, offset: str, zone: tzinfo) -> str | None:
    """Return `YYYY-MM-DDTHH:MM:SS` in UTC for the same with an offset, or in `zone` without one.

    A leap second is the second before it; `_stamped` gives it the last microsecond of that.
    """
    local = f"{local[:-2]}59" if local.endswith(_LEAP_SECOND) else local
    try:
        found = stamp(datetime.fromisoformat(local + offset), zone)
    except ValueError:
        return None
    return found and found[:19]


def _stamped(second: str | None, time: str, digits: str | None) -> str | None:
    """Put a second and its fraction together; a leap second stays behind all of the second before it."""
    if second is None:
        return None
    return f"{second}.999999Z" if time.endswith(_LEAP_SECOND) else f"{second}.{micros_of(digits)}Z"


def micros_of(digits: str | None) -> str:
    """Return the six digits of the microseconds for those of any fraction."""
    return (digits or "")[:6].ljust(6, "0")


@lru_cache(maxsize=_SECONDS_KEPT)
def common(text: str, zone: tzinfo = UTC) -> str | None:
    """Return a time of the common log format, such as `10/Oct/2000:13:55:36 -0700`."""
    if (found := _COMMON.fullmatch(text)) is None or (month := _MONTHS.get(found[2].title())) is None:
        return None
    day, _, year, time, digits, offset = found.groups()
    return _stamped(second_of(f"{year}-{month:02}-{int(day):02}T{time}", offset or "", zone), time, digits)


@lru_cache(maxsize=_SECONDS_KEPT)
def _epoch_second(seconds: int) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:19]
    except (OverflowError, ValueError, OSError):
        return None


def _epoch_micros(micros: int) -> str | None:
    seconds, rest = divmod(micros, _MICROS)
    second = _epoch_second(seconds)
    return second and f"{second}.{rest:06}Z"


def epoch_seconds(text: str) -> str | None:
    """Return a time that is seconds since the epoch as text, with or without a fraction; exact."""
    seconds, _, digits = text.partition(".")
    if not seconds.isdecimal() or not (digits.isdecimal() or not digits) or not text.isascii():
        return None
    second = _epoch_second(int(seconds)) if len(seconds) < 16 else None  # noqa: PLR2004 - beyond the year 9999
    return second and f"{second}.{micros_of(digits)}Z"


def epoch(number: float) -> str | None:
    """Return a number since the epoch whose unit its size tells: seconds, milli-, micro- or nanoseconds."""
    if not _LEAST_EPOCH_S <= number < _MOST_EPOCH_NS:
        return None
    return epoch_in(number, _per_second(number))


def epoch_text(text: str) -> str | None:
    """Return a number since the epoch that is written as a text, as `epoch` does."""
    found = _NUMBER.fullmatch(text)
    if found is None or found[1] or not _LEAST_EPOCH_S <= (whole := int(found[2])) < _MOST_EPOCH_NS:
        return None
    return epoch_in(text, _per_second(whole))


def _per_second(number: float) -> int:
    return next(per_second for limit, per_second in _UNITS if number < limit)


def epoch_in(value: object, per_second: int) -> str | None:
    """Return a number or its text since the epoch, counted in a unit of which a second has `per_second`."""
    found = None if isinstance(value, bool) else _NUMBER.fullmatch(value if isinstance(value, str) else f"{value}")
    if found is None:
        return None
    micros = (int(found[2]) * _MICROS + int(micros_of(found[3]))) // per_second
    return _epoch_micros(-micros if found[1] else micros)


def without_year(text: str, at: str, zone: tzinfo) -> str | None:
    """Return a time such as `Oct 11 22:14:15` (RFC 3164) in the year that the time of arrival tells.

    It is the latest year in which the time is not more than a day after the arrival: clocks and zones differ. Some
    devices write the year behind the day, which then counts.
    """
    if (found := _NO_YEAR.fullmatch(text)) is None:
        return None
    month, day, year, time, digits = found.groups()
    return _stamped(_year_found(month, day, year or "", time, at[:10], zone), time, digits)


@lru_cache(maxsize=_SECONDS_KEPT)
def _year_found(name: str, day: str, year: str, time: str, today: str, zone: tzinfo) -> str | None:
    if (month := _MONTHS.get(name.title())) is None:
        return None
    within = f"-{month:02}-{int(day):02}T{time}"
    if year:
        return second_of(year + within, "", zone)
    return latest((second_of(f"{year:04}{within}", "", zone) for year in years(today)), today)


def years(today: str) -> range:
    """Return the years that a time without one may mean, latest first."""
    this = int(today[:4])
    return range(this + 1, max(0, this - _YEARS_BACK), -1)


def latest(candidates: Iterable[str | None], today: str) -> str | None:
    """Return the first candidate that is not more than a day after today."""
    limit = (date.fromisoformat(today) + timedelta(days=2)).isoformat()
    return next((found for found in candidates if found is not None and found < limit), None)
