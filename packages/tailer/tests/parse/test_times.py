"""Rules of reading times."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.errors import ConfigError
from dataplane_tailer.parse import ParserConfig, times
from dataplane_tailer.parse.time_field import time_reader

AT = "2026-05-01T10:00:05.000000Z"
BERLIN = ZoneInfo("Europe/Berlin")
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(MOMENTS, ZONES)
def test_a_time_is_the_same_moment_in_every_spelling(moment: datetime, zone: timezone) -> None:
    """ISO 8601 in any zone and precision, the common log format and epochs all give UTC with microseconds."""
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    whole = f"{stamp[:19]}.000000Z"
    local = moment.astimezone(zone)
    assert times.iso(stamp) == stamp
    assert times.iso(local.isoformat()) == stamp
    assert times.iso(local.isoformat(" ", timespec="milliseconds").replace(".", ",")) == f"{stamp[:23]}000Z"
    assert times.iso(f"{stamp[:-1]}789Z") == stamp
    assert times.common(local.strftime("%d/%b/%Y:%H:%M:%S %z")) == whole
    micros = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert times.epoch_seconds(f"{micros // 10**6}.{micros % 10**6:06}") == stamp
    for unit, scale in (("s", 10**6), ("ms", 10**3), ("us", 1)):
        if micros // scale >= 100_000_000 * (10**6 // scale):
            assert times.epoch(micros // scale) == _cut(moment, scale), unit
    if micros >= 100_000_000 * 10**6:
        assert times.epoch(micros * 1000 + 999) == stamp


def _cut(moment: datetime, scale: int) -> str:
    return moment.replace(microsecond=moment.microsecond // scale * scale).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_a_time_without_a_zone_is_in_the_zone_of_the_input() -> None:
    """Summer time and winter time each have their offset."""
    assert times.iso("2026-07-01T12:00:00", BERLIN) == "2026-07-01T10:00:00.000000Z"
    assert times.iso("2026-01-01 12:00:00", BERLIN) == "2026-01-01T11:00:00.000000Z"
    assert times.iso("2026-07-01T12:00:00Z", BERLIN) == "2026-07-01T12:00:00.000000Z"
    assert times.common("01/Jul/2026:12:00:00", BERLIN) == "2026-07-01T10:00:00.000000Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-02-30T00:00:00Z",
        "2026-05-01T25:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "2026-05-01T00:00:00.\u0660\u0661\u0662Z",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    """Nothing is guessed, and nothing raises."""
    assert times.iso(text) is None
    assert times.common(text) is None
    assert times.epoch_seconds(text) is None


def test_numbers_that_are_no_epoch_are_none() -> None:
    """A duration or a counter does not become a time."""
    for number in (0, 1, 12.5, -5, 99_999_999, 10**30, float("inf"), float("nan")):
        assert times.epoch(number) is None


@given(st.datetimes(datetime(2000, 1, 2), datetime(2100, 1, 1)), st.integers(-1, 300))  # noqa: DTZ001
def test_a_missing_year_is_that_of_the_arrival(written: datetime, days_late: int) -> None:
    """A line that arrives up to ten months late, or a day early, gets the year in which it was written."""
    at = (written + timedelta(days=days_late)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    text = f"{written:%b} {written.day:2d} {written:%H:%M:%S}"
    assert times.without_year(text, at, UTC) == written.strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def test_the_last_29th_of_february_is_found() -> None:
    """Years without the day are passed over, also the eight without one around 2100."""
    assert times.without_year("Feb 29 00:00:00", "2027-03-01", UTC) == "2024-02-29T00:00:00.000000Z"
    assert times.without_year("Feb 29 00:00:00", "2104-02-01", UTC) == "2096-02-29T00:00:00.000000Z"
    assert times.without_year("Feb 30 00:00:00", "2026-03-01", UTC) is None


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("", "2026-05-01T12:00:00", "2026-05-01T10:00:00.000000Z"),
        ("", 1777629600, "2026-05-01T10:00:00.000000Z"),
        ("", True, None),
        ("iso8601", ["2026"], None),
        ("epoch", "1777629600.5", "2026-05-01T10:00:00.500000Z"),
        ("epoch", 5, "1970-01-01T00:00:05.000000Z"),
        ("epoch_ms", 1777629600250, "2026-05-01T10:00:00.250000Z"),
        ("epoch_us", "1777629600250001", "2026-05-01T10:00:00.250001Z"),
        ("epoch_ns", 1777629600250001999, "2026-05-01T10:00:00.250001Z"),
        ("epoch", "1e99999999", None),
        ("epoch", None, None),
        ("clf", "[01/May/2026:12:00:00 +0200]", "2026-05-01T10:00:00.000000Z"),
        ("syslog", "May  1 12:00:00.25", "2026-05-01T10:00:00.250000Z"),
        ("%d.%m.%Y %H:%M:%S,%f", "01.05.2026 12:00:00,1239999", "2026-05-01T10:00:00.123999Z"),
        ("%d.%m.%Y %H:%M:%S,%f", "01.05.2026 12:00:00", "2026-05-01T10:00:00.000000Z"),
        ("%Y%m%d%H%M%S %z", "20260501120000 +0200", "2026-05-01T10:00:00.000000Z"),
        ("%b %d %H:%M:%S", "May 1 12:00:00", "2026-05-01T10:00:00.000000Z"),
        ("%b %d %H:%M:%S", "Dec 31 12:00:00", "2025-12-31T11:00:00.000000Z"),
        ("%Y-%m-%d", "soon", None),
    ],
)
def test_the_time_field_is_read_as_its_format_says(
    form: str, value: object, expected: str | None, configured: Callable[..., ParserConfig]
) -> None:
    """Each format reads what it names; a fraction may be missing, and what has no zone is in the input's."""
    config = configured(parser="json", time_field="t", time_format=form, time_zone="Europe/Berlin")
    assert time_reader(config)(value, AT) == expected


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999Z"),
        ("2016-12-31T23:59:60.5Z", "2016-12-31T23:59:59.999999Z"),
        ("2026-05-01 12:00:00 UTC", "2026-05-01T12:00:00.000000Z"),
        ("2026-05-01 12:00:00.123456789 +0200 CEST", "2026-05-01T10:00:00.123456Z"),
        ("2026-05-01T12:00:00.5+02:00[Europe/Berlin]", "2026-05-01T10:00:00.500000Z"),
        ("2026/05/01 12:00:00", "2026-05-01T10:00:00.000000Z"),
        ("2026-05-01T12:00:00,5-0430", "2026-05-01T16:30:00.500000Z"),
    ],
)
def test_relatives_of_iso_8601_are_read(text: str, stamp: str) -> None:
    """What Go, Java and nginx write; a leap second is the end of the second before it, so that order stays."""
    assert times.iso(text, BERLIN) == stamp


@given(st.decimals(100_000_000, 99_999_999_999, places=9))
def test_an_epoch_is_cut_and_never_rounded(seconds: Decimal) -> None:
    """Digits behind the microseconds go, in a number, in its text, and in every unit."""
    whole = int(seconds * 10**6)
    stamp = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=whole)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert times.epoch_text(str(seconds)) == times.epoch_in(str(seconds), 1) == stamp
    assert times.epoch_text(str(int(seconds * 10**9))) == stamp
    shown = Decimal(repr(float(seconds)))
    assert times.epoch(float(seconds)) == times.epoch_text(str(shown))


def test_a_time_before_the_epoch_counts_backwards() -> None:
    """The fraction belongs to the sign."""
    assert times.epoch_in("-1.5", 1) == "1969-12-31T23:59:58.500000Z"
    assert times.epoch_in(-1500, 1000) == "1969-12-31T23:59:58.500000Z"


@pytest.mark.parametrize(
    ("form", "text", "stamp"),
    [
        ("%Y-%m-%dT%H:%M:%S.%fZ", "2026-05-01T12:00:00.123456Z", "2026-05-01T12:00:00.123456Z"),
        ("%Y-%m-%dT%H:%M:%SZ", "2026-05-01T12:00:00Z", "2026-05-01T12:00:00.000000Z"),
        ("%F %T %Z", "2026-05-01 12:00:00 UTC", "2026-05-01T12:00:00.000000Z"),
        ("%F %T %Z", "2026-05-01 12:00:00 CEST", "2026-05-01T10:00:00.000000Z"),
        ("%F %T %Z", "2026-01-01 12:00:00 CET", "2026-01-01T11:00:00.000000Z"),
        ("%F %T.%f", "2026-05-01 12:00:00", "2026-05-01T10:00:00.000000Z"),
        ("%F %T.%f%z", "2026-05-01 12:00:00.123456789+01:00", "2026-05-01T11:00:00.123456Z"),
        ("%d/%m/%Y %I:%M:%S %p", "01/05/2026 12:30:00 AM", "2026-04-30T22:30:00.000000Z"),
        ("%e %b %Y %R", "1 May 2026 12:00", "2026-05-01T10:00:00.000000Z"),
        ("%b %d %T", "Dec 31 23:59:59", "2025-12-31T22:59:59.000000Z"),
        ("%F %T %Z", "2026-05-01 12:00:00 PDT", None),
    ],
)
def test_formats_mean_what_they_say(form: str, text: str, stamp: str | None) -> None:
    """A `Z` and a zone's name count before the zone of the input; fractions are as long as they are, or missing."""
    read = time_reader(ParserConfig(time_field="t", time_format=form, time_zone="Europe/Berlin"))
    assert read(text, AT) == stamp


def test_a_time_of_day_alone_is_refused() -> None:
    """It would be given a day that nobody wrote."""
    with pytest.raises(ConfigError, match="names no day"):
        time_reader(ParserConfig(time_field="t", time_format="%H:%M:%S"))
