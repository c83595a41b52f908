"""Gaps in a live stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.gaps import Gaps

SUBJECT = "logs.prod.x.h"


def headers(number: int, run: str = "r", source: str = "s") -> dict[str, str]:
    """Return the headers of a frame."""
    return {"Nats-Msg-Id": f"{source}-0-1-ffffffff", "Dp-Seq": f"{run}.{number}"}


@given(total=st.integers(1, 60), data=st.data())
def test_exactly_the_frames_that_never_came_are_missing(total: int, data: st.DataObject) -> None:
    """Whatever comes late, in another order or twice, only what never came is counted; the first is the begin."""
    numbers = range(1, total + 1)
    came = data.draw(st.sets(st.sampled_from(numbers), min_size=1))
    first, last = min(came), max(came)
    rest = data.draw(st.permutations(sorted(came - {first}))) + data.draw(st.lists(st.sampled_from(sorted(came))))
    gaps = Gaps()
    for number in [first, *rest]:
        gaps.see(SUBJECT, headers(number))
    assert gaps.missing == (last - first + 1) - len(came)


def test_a_restart_is_no_gap() -> None:
    """A new run begins its numbers anew."""
    gaps = Gaps()
    for run, number in (("a", 7), ("b", 1), ("b", 2)):
        assert gaps.see(SUBJECT, headers(number, run)) == 0


def test_each_source_and_subject_has_its_own_numbers() -> None:
    """Frames of two sources, or of one source on two subjects, do not fill each other's gaps."""
    gaps = Gaps()
    gaps.see(SUBJECT, headers(1, source="a"))
    gaps.see(SUBJECT, headers(2, source="b"))
    gaps.see("metrics.prod.x.h", headers(2, source="a"))
    assert gaps.see(SUBJECT, headers(3, source="a")) == 1
    assert gaps.missing == 1


@pytest.mark.parametrize("foreign", [{}, {"Dp-Seq": ""}, {"Dp-Seq": "x"}, {"Dp-Seq": "r.x"}, {"Dp-Seq": "r.²"}])
def test_foreign_messages_have_no_gaps(foreign: dict[str, str]) -> None:
    """Anyone's message, numbered oddly or not at all, is passed over."""
    assert Gaps().see(SUBJECT, foreign) == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many sources the one that was silent for longest is forgotten; of a huge gap the newest numbers stay."""
    monkeypatch.setattr("dataplane.gaps._MAX_FOLLOWED", 2)
    gaps = Gaps()
    for source in ("a", "b", "c"):
        gaps.see(SUBJECT, headers(1, source=source))
    assert len(gaps._followed) == 2
    assert gaps.see(SUBJECT, headers(9, source="a")) == 0
    gaps.see(SUBJECT, headers(10**9, source="a"))
    assert gaps.missing == 10**9 - 10
    assert all(len(followed.missing) <= 1_000 for followed in gaps._followed.values())
