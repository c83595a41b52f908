"""Deliveries are answered once, when all of their events are done, and the counts add up at any moment."""

import asyncio
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elastinats.counts import Counts
from elastinats.settle import Settler

OUTCOMES = ("indexed", "duplicate", "in_failure_store", "dead")


def run(coroutine):
    return asyncio.run(coroutine)


async def settle(settler: Settler, claim, outcome: str, events: int) -> None:
    if outcome == "dead":
        await settler.dead(claim, events, "rejected")
    else:
        await getattr(settler, outcome)(claim, events)


def test_a_delivery_is_acknowledged_with_its_last_event(make_delivery, recorder):
    """Nothing is answered while one event waits."""
    settler = Settler(Counts())

    async def scenario() -> None:
        claim = settler.claim(make_delivery())
        settler.decoded(claim, 3)
        await settler.indexed(claim, 1)
        await settler.duplicate(claim, 1)
        assert recorder.answers == []
        await settler.dead(claim, 1, "rejected")

    run(scenario())
    assert recorder.answers == [b"+ACK"]
    assert settler.open_claims == 0


def test_a_message_that_is_dead_as_a_whole_is_terminated(make_delivery, recorder):
    """When every event of a message is a dead letter, the server is told that it is given up."""
    settler = Settler(Counts())

    async def scenario() -> None:
        claim = settler.claim(make_delivery())
        settler.decoded(claim, 2)
        await settler.dead(claim, 2, "undecodable")

    run(scenario())
    assert recorder.answers == [b"+TERM"]


def test_an_answer_that_cannot_be_given_is_given_later(make_delivery, recorder):
    """While the bus is away the answer waits, and the delivery is kept."""
    settler = Settler(Counts())

    async def scenario() -> None:
        claim = settler.claim(make_delivery())
        settler.decoded(claim, 1)
        recorder.away = True
        await settler.indexed(claim, 1)
        await settler.answer_late()
        assert settler.open_claims == 1
        recorder.away = False
        await settler.answer_late()

    run(scenario())
    assert recorder.answers == [b"+ACK"]
    assert settler.open_claims == 0


def test_open_claims_are_kept_alive(make_delivery, recorder):
    """Each open claim gets one sign of life, decoded or not; settled ones get none."""
    settler = Settler(Counts())

    async def scenario() -> None:
        first, _ = settler.claim(make_delivery()), settler.claim(make_delivery())
        await settler.keep_alive()
        settler.decoded(first, 1)
        await settler.indexed(first, 1)
        await settler.keep_alive()

    run(scenario())
    assert recorder.answers == [b"+WPI", b"+WPI", b"+ACK", b"+WPI"]


def test_a_sign_of_life_prolongs_what_is_held_and_brings_back_nothing(make_delivery):
    """What another sink may have been given meanwhile stays in doubt."""
    settler = Settler(Counts(), hold_s=1_000_000)

    async def scenario() -> None:
        claim = settler.claim(make_delivery())
        before = claim.held_until_s
        await settler.keep_alive()
        assert claim.held_until_s > before
        settler.lose_hold()
        await settler.keep_alive()
        assert not claim.is_held(time.monotonic())

    run(scenario())


def test_what_is_open_is_given_back(make_delivery, recorder):
    """A stopping sink hands everything back at once, and its events count as returned."""
    counts = Counts()
    settler = Settler(counts)

    async def scenario() -> int:
        claim = settler.claim(make_delivery())
        settler.decoded(claim, 5)
        await settler.indexed(claim, 2)
        return await settler.give_back([make_delivery()])

    assert run(scenario()) == 2
    assert [answer.split()[0] for answer in recorder.answers] == [b"-NAK", b"-NAK"]
    assert counts.returned == 3
    assert counts.in_flight == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(1, 5), st.lists(st.sampled_from(OUTCOMES), min_size=5, max_size=5))))
def test_counts_add_up_at_any_moment(make_delivery, recorder, steps):
    """After every step, received is what was done and what is in flight; each delivery is answered once."""
    counts = Counts()
    settler = Settler(counts)
    recorder.answers.clear()

    async def scenario() -> None:
        waiting = 0
        for events, outcomes in steps:
            claim = settler.claim(make_delivery())
            settler.decoded(claim, events)
            waiting += events
            for outcome in outcomes[:events]:
                assert counts.in_flight == waiting
                await settle(settler, claim, outcome, 1)
                waiting -= 1

    run(scenario())
    assert counts.in_flight == 0
    assert counts.received == sum(events for events, _ in steps)
    assert len(recorder.answers) == len(steps)
