"""What a route may want of its events: a pipeline, another action, other ids, other fields, or none of them."""

import json

import pytest
from msgspec.structs import replace

from elastinats import dlq


@pytest.fixture
def styled(make_bench):
    """Return a function that makes a sink whose one route has these settings."""

    def make(**settings):
        bench = make_bench()
        bench.config = replace(bench.config, routes=(replace(bench.config.routes[0], **settings),))
        return bench

    return make


def actions(scripted) -> list[dict]:
    return [json.loads(line) for body in scripted.bodies for line in body.splitlines()[::2]]


def documents(scripted) -> list[dict]:
    return [json.loads(line) for body in scripted.bodies for line in body.splitlines()[1::2]]


def index_one(bench, *lines: bytes, events: int = 1, **headers: str) -> None:
    async def scenario() -> None:
        async with bench.running():
            await (bench.publish_frame(*lines, **headers) if lines else bench.publish(b'{"user":"u","secret":1}'))
            await bench.until_done(events)

    bench.run(scenario())


def test_a_pipeline_is_named_in_each_action(styled, scripted):
    """And a duplicate is told by its id alone: the pipeline may have changed all the rest."""
    bench = styled(pipeline="p")
    conflict = {"type": "version_conflict_engine_exception", "index": ".ds-1"}
    scripted.documents[".ds-1", bench.identity(0)] = {"message": "as the pipeline left it"}
    scripted.bulks.append(bench.answers({"status": 409, "error": conflict}))
    index_one(bench, bench.line(0))
    assert actions(scripted)[0]["create"]["pipeline"] == "p"
    assert bench.sink.counts.duplicate == 1


def test_the_action_may_be_index(styled, scripted):
    """An index that is no data stream takes what it is given, and overwrites."""
    bench = styled(op="index", target="plain")
    scripted.bulks.append(lambda _lines: (200, {"errors": False, "items": [{"index": {"status": 200}}]}))
    index_one(bench, bench.line(0), **{"Dp-Replay": "1"})
    assert actions(scripted) == [{"index": {"_index": "plain", "_id": bench.identity(0)}}]
    assert (bench.sink.counts.indexed, bench.sink.counts.looked_up) == (1, 0)


def test_ids_may_be_elasticsearchs_own(styled, scripted):
    """No id is sent; a dead letter knows the event's all the same."""
    bench = styled(id="auto")
    refusal = {"status": 400, "error": {"type": "document_parsing_exception", "reason": "bad"}}
    scripted.bulks.append(bench.answers({"status": 201}, refusal))

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0), bench.line(1))
            await bench.until_done(2)
            (letter,) = await bench.letters()
            assert (letter.payload, letter.headers["Dp-Event-Id"]) == (bench.line(1), bench.identity(1))

    bench.run(scenario())
    assert actions(scripted) == [{"create": {"_index": f"logs-{bench.dataset}-test"}}] * 2


@pytest.mark.parametrize("framed", [True, False])
def test_fields_are_renamed_removed_added(styled, scripted, framed):
    """In frames of ours and in anybody's messages."""
    bench = styled(rename={"user": "user.name"}, remove=("secret",), add={"service.environment": "prod"})
    line = b'{"_id":"%b","@timestamp":"2026-11-22T10:15:30.123456Z","user":"u","secret":1}\n'
    index_one(bench, *([line % bench.identity(0).encode()] if framed else []))
    (document,) = documents(scripted)
    assert (document["user.name"], document["service.environment"]) == ("u", "prod")
    assert document.keys().isdisjoint({"user", "secret"})
    assert "event.ingested" in document


def test_a_letter_has_the_bytes_from_before_the_rules(styled, scripted):
    """So that a replay under other rules has all that was sent."""
    bench = styled(remove=("message",))
    refusal = {"status": 400, "error": {"type": "document_parsing_exception", "reason": "bad"}}
    scripted.bulks.append(bench.answers({"status": 201}, refusal, {"status": 201}))
    found: list[dlq.Entry] = []

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(*(bench.line(n) for n in range(3)))
            await bench.until_done(3)
            found.extend(await bench.letters())

    bench.run(scenario())
    assert [letter.payload for letter in found] == [bench.line(1)]


def test_a_route_may_drop(styled, scripted):
    """What nobody wants is acknowledged, counted, and never sent."""
    bench = styled(drop=True)
    index_one(bench, *(bench.line(n) for n in range(3)), events=3)
    assert scripted.bodies == []
    assert (bench.sink.counts.dropped, bench.sink.counts.in_flight) == (3, 0)


def test_type_conflicts_are_counted_by_field(styled, scripted):
    """The metric names the field, so that its mapping can be mended."""
    bench = styled()
    reason = "[1:2] failed to parse field [n] of type [long] in document"
    scripted.bulks.append(
        bench.answers({"status": 400, "error": {"type": "document_parsing_exception", "reason": reason}})
    )
    index_one(bench, bench.line(0))
    name, label = "elastinats_type_conflict_events_total", {"field": "n"}
    assert bench.sink.metrics.registry.get_sample_value(name, label) == 1
