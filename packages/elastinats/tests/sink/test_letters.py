"""What can never be indexed is kept with its reason, and comes back when asked for."""

import json

from dataplane_common.bus import Connection
from dataplane_common.config import NatsConfig
from elastinats import dlq


def test_another_document_under_the_same_id_is_a_dead_letter(bench, scripted):
    """A 409 whose stored document says something else is an `id_conflict`, and nothing is overwritten."""
    scripted.documents[".ds-1", bench.identity(0)] = {"message": "something else"}
    scripted.bulks.append(
        bench.answers({"status": 409, "error": {"type": "version_conflict_engine_exception", "index": ".ds-1"}})
    )

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)
            (letter,) = await bench.letters()
            assert letter.reason == "id_conflict"

    bench.run(scenario())


def test_a_message_that_nobody_can_read_is_a_dead_letter_as_it_came(bench):
    """The letter has the message's very bytes and headers, and the server delivers it no more."""

    async def scenario() -> None:
        async with bench.running():
            await bench.publish(b"\x00\x01", {"Dp-Version": "7", "Dp-Count": "12", "Trace": "t"})
            await bench.until_done(12)
            (letter,) = await bench.letters()
            assert (letter.payload, letter.reason) == (b"\x00\x01", "undecodable")
            assert letter.headers["Trace"] == "t"
            assert letter.headers["Dp-Version"] == "7"
            assert letter.subject == bench.subject
            assert bench.sink.counts.dead_lettered == {"undecodable": 12}

    bench.run(scenario())


def test_a_replayed_dead_letter_is_indexed_under_its_id(bench, scripted):
    """After the mapping is mended a replay brings the event, keeps its id and removes the letter."""
    refusal = {"status": 400, "error": {"type": "document_parsing_exception", "reason": "bad"}}
    scripted.bulks.append(bench.answers({"status": 201}, refusal, {"status": 201}))

    async def scenario() -> None:
        async with bench.running():
            await bench.publish(b'{"a":1}\n{"a":2}\n{"a":3}')
            await bench.until_done(3)
            (letter,) = await bench.letters()
            await dlq.replay(bench.sink.connection, bench.sink.publisher, letter)
            await bench.until_done(4)
            assert bench.sink.counts.indexed == 3
            assert await bench.letters() == []

    bench.run(scenario())
    assert bench.ids(scripted.bodies[1]) == [bench.ids(scripted.bodies[0])[1]]
    assert json.loads(scripted.bodies[1].splitlines()[1])["a"] == 2


def test_a_replay_that_is_refused_again_is_a_letter_again(bench, scripted):
    """Replayed before anything was mended, the event is back among the dead letters, not lost."""
    refusal = {"status": 400, "error": {"type": "document_parsing_exception", "reason": "bad"}}
    scripted.bulks += [bench.answers(refusal), bench.answers(refusal)]

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)
            (first,) = await bench.letters()
            await dlq.replay(bench.sink.connection, bench.sink.publisher, first)
            await bench.until_done(2)
            (second,) = await bench.letters()
            assert second.payload == first.payload
            assert second.sequences != first.sequences

    bench.run(scenario())


def test_dead_letters_that_cannot_be_stored_hold_their_message(bench, scripted, nats_url):
    """While the stream refuses the letter the message is not acknowledged; afterwards both are done."""
    scripted.bulks.append(
        bench.answers({"status": 400, "error": {"type": "document_parsing_exception", "reason": "bad"}})
    )

    async def scenario() -> None:
        admin = Connection(NatsConfig(servers=(nats_url,)), name="admin")
        admin.start()
        await admin.wait_ready(5)
        info = json.loads(await admin.request("$JS.API.STREAM.INFO.DLQ"))["config"]
        async with bench.running():
            try:
                await admin.request("$JS.API.STREAM.UPDATE.DLQ", json.dumps({**info, "subjects": ["other.>"]}).encode())
                await bench.publish_frame(bench.line(0))
                await bench.until(lambda: bool(bench.sink.publisher.last_problem))
                assert bench.sink.counts.dead_lettered.total() == 0
                assert await bench.ack_pending() == 1
            finally:
                await admin.request("$JS.API.STREAM.UPDATE.DLQ", json.dumps(info).encode())
            await bench.until_done(1)
            assert len(await bench.letters()) == 1
        await admin.close()

    bench.run(scenario())
