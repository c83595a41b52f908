"""Time as an event carries it."""

import datetime as dt
import time

from hypothesis import given
from hypothesis import strategies as st

from dataplane_common import event
from dataplane_emitter import moment


@given(st.integers(min_value=-(10**14), max_value=10**16))
def test_microseconds_are_written_exactly(microseconds: int) -> None:
    """Each microsecond has its own text, the one that datetime would write."""
    expected = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=microseconds)
    assert moment.from_microseconds(microseconds) == expected.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def test_now_is_now() -> None:
    """The present moment lies between two looks at the clock, and in the form that all events have."""
    before = event.timestamp(time.time() - 0.001)
    assert before <= moment.now() <= event.timestamp(time.time() + 0.001)


def test_a_records_own_time_is_understood() -> None:
    """ISO 8601 with and without zone, seconds since the epoch, and datetimes are times; other things are none."""
    assert moment.of_record("2026-01-02T03:04:05.000006Z") == "2026-01-02T03:04:05.000006Z"
    assert moment.of_record("2026-01-02T03:04:05+02:00") == "2026-01-02T01:04:05.000000Z"
    assert moment.of_record(1.5) == "1970-01-01T00:00:01.500000Z"
    assert moment.of_record(dt.datetime(2026, 1, 2, tzinfo=dt.UTC)) == "2026-01-02T00:00:00.000000Z"
    for wrong in ("yesterday", None, True, 1e300, float("nan"), object()):
        assert moment.of_record(wrong) is None
