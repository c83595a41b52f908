"""Rules of the checkpoint."""

from hypothesis import given
from hypothesis import strategies as st

from dataplane_tailer.positions import Position, Positions


@given(st.permutations(range(8)), st.integers(min_value=0, max_value=8))
def test_the_checkpoint_is_the_highest_contiguous_acknowledgement(order: list[int], until: int) -> None:
    """Whatever the order of acknowledgements, the checkpoint never passes one that is missing."""
    positions = Positions(Position(0, 0))
    sent = [positions.track(Position(index + 1, index + 1)) for index in range(8)]
    acknowledged = set()
    for index in order[:until]:
        positions.resolve(sent[index])
        acknowledged.add(index)
    contiguous = next(index for index in range(9) if index not in acknowledged)
    assert positions.resolved == Position(contiguous, contiguous)
    assert positions.waiting == 8 - contiguous
