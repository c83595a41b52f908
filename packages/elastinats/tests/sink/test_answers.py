"""What the sink does for each answer of Elasticsearch."""

from pathlib import Path
from typing import Any

import pytest
from scripted import Raw


def test_only_what_can_succeed_later_is_sent_again(bench, scripted):
    """One bulk with 201, 400, 409 and 429: the 429 goes again, the 400 is a dead letter, the 409 a duplicate."""
    conflict = {"type": "version_conflict_engine_exception", "index": ".ds-1"}
    scripted.documents[".ds-1", bench.identity(2)] = {"message": "hello", "event.ingested": "earlier"}
    scripted.bulks.append(
        bench.answers(
            {"status": 201},
            {
                "status": 400,
                "error": {"type": "document_parsing_exception", "reason": "bad", "caused_by": {"type": "x"}},
            },
            {"status": 409, "error": conflict},
            {"status": 429, "error": {"type": "es_rejected_execution_exception"}},
        )
    )

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(*(bench.line(number) for number in range(4)), Trace="t")
            await bench.until_done(4)
            counts = bench.sink.counts
            assert (counts.indexed, counts.duplicate, counts.dead_lettered) == (2, 1, {"rejected": 1})
            assert [bench.ids(body) for body in scripted.bodies] == [
                [bench.identity(n) for n in range(4)],
                [bench.identity(3)],
            ]
            (letter,) = await bench.letters()
            assert letter.payload == bench.line(1)
            assert letter.headers["Trace"] == "t"
            assert letter.cause == "document_parsing_exception: bad; caused by x"
            await bench.until(lambda: bench.sink.settler.open_claims == 0)

    bench.run(scenario())
    assert bench.exit_code == 0


def test_what_the_failure_store_has_is_done_and_what_it_has_not_is_a_dead_letter(bench, scripted):
    """It is asked for, and counted by itself; where it failed, or is not enabled, the refusal stands."""
    kept = {"status": 201, "failure_store": "used"}
    refused = {"status": 400, "error": {"type": "document_parsing_exception", "reason": "bad"}}
    failed, not_enabled = ({**refused, "failure_store": word} for word in ("failed", "not_enabled"))
    scripted.bulks += [
        lambda _lines: (200, {"errors": False, "items": [{"create": {"status": 201}}, {"create": kept}]}),
        bench.answers({"status": 201}, kept, failed, not_enabled),
    ]

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0), bench.line(1))
            await bench.until_done(2)
            await bench.publish_frame(*(bench.line(number) for number in range(2, 6)))
            await bench.until_done(6)
            counts = bench.sink.counts
            assert (counts.indexed, counts.failure_store, counts.dead_lettered) == (2, 2, {"rejected": 2})

    bench.run(scenario())
    assert all("failure_store" in path for path in scripted.paths)


@pytest.mark.parametrize(("status", "is_told"), [(400, True), (413, True), (413, False)])
def test_a_refused_request_is_halved_down_to_the_one_event(bench, scripted, status, is_told):
    """The event that a request is refused for, if only by its status, becomes a dead letter; the others are indexed."""

    def refuse_five(lines: list[bytes]) -> tuple[int, Any]:
        scripted.bulks.append(refuse_five)
        if any(bench.identity(5).encode() in text for text in lines[::2]):
            return bench.fails(status)(lines) if is_told else (status, Raw(b""))
        return bench.created(lines)

    scripted.bulks.append(refuse_five)

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(*(bench.line(number) for number in range(8)))
            await bench.until_done(8)
            assert bench.sink.counts.indexed == 7
            (letter,) = await bench.letters()
            assert letter.payload == bench.line(5)
            assert letter.reason == ("too_large" if status == 413 else "rejected")

    bench.run(scenario())


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503])
def test_a_refusal_that_time_can_mend_is_tried_again(bench, scripted, status):
    """The request is sent again unchanged until it is taken; readiness says why meanwhile."""
    scripted.bulks += [bench.fails(status), bench.fails(status)]

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0), bench.line(1))
            await bench.until(lambda: len(scripted.bodies) == 2)
            assert any(str(status) in reason for reason in bench.sink.not_ready())
            await bench.until_done(2)
            assert bench.sink.counts.indexed == 2
            assert bench.sink.not_ready() == []
            assert await bench.letters() == []

    bench.run(scenario())
    assert len(set(scripted.bodies)) == 1


@pytest.mark.parametrize("of_a_request", [True, False])
def test_too_many_requests_slows_down(make_bench, scripted, of_a_request):
    """A 429 for a request, or for single items, halves the number of bulks that may be on their way."""
    bench = make_bench(batch={"in_flight": 4})
    full = {"status": 429, "error": {"type": "circuit_breaking_exception", "reason": "data too large"}}
    scripted.bulks.append(bench.fails(429) if of_a_request else bench.answers(full))

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until(lambda: bench.sink.limit.allowed == 2)
            await bench.until_done(1)

    bench.run(scenario())


def test_an_answer_that_does_not_fit_settles_nothing(bench, scripted):
    """With another number of items than actions, no event counts as done; all are sent again."""
    scripted.bulks.append(lambda _lines: (200, {"errors": False, "items": [{"create": {"status": 201}}]}))

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0), bench.line(1))
            await bench.until_done(2)
            assert len(scripted.bodies) == 2

    bench.run(scenario())


def test_after_an_open_answer_older_backing_indices_are_searched(bench, scripted):
    """A request that may have been carried out is looked up before it is sent again: a rollover may lie between."""
    scripted.indices = [".ds-1", ".ds-2"]
    scripted.documents[".ds-1", bench.identity(0)] = {"message": "hello"}
    scripted.bulks.append(bench.fails(503))

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0), bench.line(1))
            await bench.until_done(2)
            assert (bench.sink.counts.duplicate, bench.sink.counts.indexed) == (1, 1)

    bench.run(scenario())
    assert [bench.ids(body) for body in scripted.bodies] == [
        [bench.identity(0), bench.identity(1)],
        [bench.identity(1)],
    ]


def test_a_replay_is_looked_up_in_older_backing_indices(bench, scripted):
    """What was indexed before a rollover is not indexed again."""
    scripted.indices = [".ds-1", ".ds-2", ".ds-3"]
    scripted.documents[".ds-1", bench.identity(0)] = {"message": "hello"}

    bench.run(bench.replay_one("duplicate"))
    assert scripted.bodies == []


def test_a_rotated_key_is_read_again(make_bench, scripted, tmp_path: Path):
    """After a 401 the key's file is read anew, and the work goes on without a restart."""
    key = tmp_path / "key"
    key.write_text("old")
    bench = make_bench(elasticsearch={"api_key_file": key})

    def unauthorised(lines: list[bytes]) -> tuple[int, Any]:
        key.write_text("new")
        return bench.fails(401)(lines)

    scripted.bulks.append(unauthorised)

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)

    bench.run(scenario())
    assert scripted.authorizations == ["ApiKey old", "ApiKey new"]


def test_a_key_that_is_refused_to_a_question_is_read_again(make_bench, scripted, tmp_path: Path):
    """A sink that only looks up at that moment would ask with the old one for ever."""
    key = tmp_path / "key"
    key.write_text("old")
    bench = make_bench(elasticsearch={"api_key_file": key})
    scripted.indices = [".ds-1", ".ds-2"]
    scripted.told.append(("/_mget", 401, {"error": {"type": "security_exception", "reason": "no"}, "status": 401}))

    async def scenario() -> None:
        async with bench.running():
            key.write_text("new")
            await bench.publish_frame(bench.line(0), **{"Dp-Replay": "1"})
            await bench.until_done(1)

    bench.run(scenario())
    assert scripted.authorizations == ["ApiKey new"]


def test_a_look_up_that_is_not_answered_is_not_taken_for_absence(bench, scripted):
    """While a shard with older documents is away nothing is indexed twice: the look-up is asked again."""
    scripted.indices = [".ds-1", ".ds-2"]
    scripted.documents[".ds-1", bench.identity(0)] = {"message": "hello"}
    scripted.look_ups.append({"error": {"type": "no_shard_available_action_exception", "reason": "away"}})

    bench.run(bench.replay_one("duplicate"))
    assert scripted.bodies == []


def test_a_backing_index_that_retention_deleted_holds_nothing(bench, scripted):
    """A look-up in an index that is gone means that the event is not there; it is indexed."""
    scripted.indices = [".ds-1", ".ds-2"]
    scripted.look_ups.append({"error": {"type": "index_not_found_exception", "reason": "gone"}})

    bench.run(bench.replay_one("indexed"))
