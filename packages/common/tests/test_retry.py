"""Rules of waiting."""

from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.retry import Backoff


@given(st.integers(0, 10_000))
def test_delays_grow_to_a_cap_and_are_never_nothing(attempt: int) -> None:
    """Each delay lies between a quarter and all of its step; no count of attempts overflows."""
    rule = Backoff(initial_s=0.1, max_s=5.0)
    step_s = min(5.0, 0.1 * 2 ** min(attempt, 20))
    assert step_s / 4 <= rule.delay_s(attempt) <= step_s
