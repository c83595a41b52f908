"""What is known from looking at a file more than once: how old what waits is, and how fast things go."""

import pytest

from dataplane_tailer.trend import Look, Trend


def trend_of(*looks: tuple[float, int, int]) -> Trend:
    """A trend of looks: time, size, checkpoint."""
    trend = Trend()
    for look in looks:
        trend.add(Look(*look))
    return trend


def test_a_byte_waits_since_the_last_look_that_did_not_show_it():
    """That look had all that is acknowledged now, and nothing behind it."""
    assert trend_of((0, 10, 0), (1, 10, 5), (10, 20, 10)).lag_s(10) == 9


@pytest.mark.parametrize(("written_at", "lag_s"), [(7, 23), (10, 20), (99, 20)], ids=["quiet", "now", "clock"])
def test_what_waited_before_the_first_look_is_estimated(written_at, lag_s):
    """By the rate of writing, and by how long nothing has been written; a time to come is no time at all."""
    assert trend_of((0, 10, 0), (10, 20, 0)).lag_s(written_at) == lag_s


def test_two_looks_at_one_time_have_no_rate():
    """A clock that stands still divides nothing by zero."""
    trend = trend_of((5, 10, 0), (5, 20, 0))
    assert (trend.grown_bytes_s, trend.acknowledged_bytes_s, trend.lag_s(5)) == (0.0, 0.0, 0.0)


def test_rates_are_those_of_the_last_minute():
    """What was written long ago says nothing about what will be."""
    looks = [(at, 100 if at else 0, 0) for at in range(61)]
    assert trend_of(*looks).grown_bytes_s == 0.0
    assert trend_of(*looks[:60]).grown_bytes_s > 0
