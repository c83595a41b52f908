"""The fixed buckets of histograms and timers.

Pure. Flows in: a value. Flows out: the key of its bucket. Invariant: the bounds are the same in every process and
release, so that buckets of any two documents can be added. The bounds are the E6 series of preferred numbers
(IEC 60063: 1.0, 1.5, 2.2, 3.3, 4.7, 6.8) over 21 decades, 1e-9 to 1e12: each is at most 1.5 times the one before.
"""

from bisect import bisect_left
from itertools import pairwise

_E6 = (10, 15, 22, 33, 47, 68)
_FIRST_EXPONENT = -9
_DECADES = 21
_OVERFLOW = "inf"

_spelled = [f"{mantissa}e{_FIRST_EXPONENT + decade - 1}" for decade in range(_DECADES) for mantissa in _E6]
_spelled.append(f"10e{_FIRST_EXPONENT + _DECADES - 1}")

#: Upper bounds, inclusive, ascending. What is below or equal to the first one, zero and negatives too, is in the first.
BOUNDS: tuple[float, ...] = tuple(float(key) for key in _spelled)
#: A bucket's key is its upper bound, written without a dot (`15e-4` is 0.0015) because a dot would nest the field;
#: `inf` has what is above the last bound.
KEYS: tuple[str, ...] = (*_spelled, _OVERFLOW)
#: The largest factor between neighbouring bounds.
GROWTH = max(upper / lower for lower, upper in pairwise(BOUNDS))


def index_of(value: float) -> int:
    """Return the index in `KEYS` of a value's bucket."""
    return bisect_left(BOUNDS, value)


def bounds_of(key: str) -> tuple[float, float]:
    """Return a bucket's (lower, upper) bound: above the lower, up to and with the upper.

    Raises:
        ValueError: there is no such bucket.
    """
    index = KEYS.index(key)
    lower = BOUNDS[index - 1] if index else float("-inf")
    return lower, BOUNDS[index] if index < len(BOUNDS) else float("inf")
