"""The number of bulks on their way: halved when the server is short of room, grown back, never none."""

import asyncio

from elastinats.limit import Limit


def test_it_halves_and_grows_back():
    """Three good answers after a halving from four allow three again."""
    limit = Limit(4)
    limit.slow_down()
    assert limit.allowed == 2
    for _ in range(3):
        limit.speed_up()
    assert limit.allowed == 3
    for _ in range(20):
        limit.speed_up()
    assert limit.allowed == 4


def test_it_never_falls_to_none():
    """However often the server complains, one request may go."""
    limit = Limit(3)
    for _ in range(10):
        limit.slow_down()
    assert limit.allowed == 1


def test_no_more_than_allowed_run_at_once():
    """Ten workers, three at a time; after a halving, one."""

    async def peak(limit: Limit) -> int:
        highest = 0

        async def work() -> None:
            nonlocal highest
            async with limit:
                highest = max(highest, limit.in_use)
                await asyncio.sleep(0)

        await asyncio.gather(*(work() for _ in range(10)))
        assert limit.in_use == 0
        return highest

    limit = Limit(3)
    assert asyncio.run(peak(limit)) == 3
    limit = Limit(3)
    limit.slow_down()
    assert asyncio.run(peak(limit)) == 1
