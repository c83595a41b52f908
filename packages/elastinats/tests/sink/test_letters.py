"""What can never be indexed is kept with its reason, and comes back when asked for."""

import json

import pytest

from dataplane_common.bus import Connection
from dataplane_common.config import NatsConfig
from dataplane_common.errors import Permanent
from elastinats import dlq
from elastinats.dead_letter import Letter, Reason, cut


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


def test_a_replay_of_what_is_there_by_now_is_a_duplicate(bench, scripted):
    """Also beyond a rollover: a replay is marked as one, so that it is looked up."""
    refusal = {"status": 400, "error": {"type": "document_parsing_exception", "reason": "bad"}}
    scripted.bulks.append(bench.answers(refusal))

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)
            (letter,) = await bench.letters()
            scripted.indices = [".ds-1", ".ds-2"]
            scripted.documents[".ds-1", bench.identity(0)] = {"message": "hello"}
            await dlq.replay(bench.sink.connection, bench.sink.publisher, letter)
            await bench.until_done(2)
            assert (bench.sink.counts.indexed, bench.sink.counts.duplicate) == (0, 1)

    bench.run(scenario())


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


def test_an_event_that_another_message_brings_again_has_one_letter(bench, scripted):
    """A publisher that heard no answer sends again, a tailer begins at its checkpoint: the bytes of an event decide."""
    refusal = {"status": 400, "error": {"type": "document_parsing_exception", "reason": "bad"}}
    scripted.bulks += [bench.answers(refusal), bench.answers({"status": 201}, refusal), bench.answers(refusal)]

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)
            await bench.publish_frame(bench.line(1), bench.line(0))
            await bench.until_done(3)
            assert len(await bench.letters()) == 1
            await bench.publish_frame(bench.line(0, "something else"))
            await bench.until_done(4)
            assert len(await bench.letters()) == 2

    bench.run(scenario())


def test_letters_are_remembered_for_longer_than_a_sink_takes_to_come_back(bench):
    """Killed between a letter and its settlement, it may take long until the message is delivered again."""

    async def scenario() -> None:
        async with bench.running():
            info = json.loads(await bench.sink.connection.request("$JS.API.STREAM.INFO.DLQ"))
            assert info["config"]["duplicate_window"] == 3_600 * 1_000_000_000

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


def parts(bench, text: bytes) -> list[tuple[bytes, dict[str, str]]]:
    """Return the messages of a letter that is too large for two."""
    letter = Letter(bench.subject, "", text * 3_000, {}, Reason.TOO_LARGE, "why", f"id-{text[0]}")
    found = cut(letter, "2026-11-22T10:15:30.123456Z", 1_500)
    assert len(found) > 2
    return found


async def store(bench, *messages: tuple[bytes, dict[str, str]]) -> None:
    for message in messages:
        await (await bench.sink.publisher.publish(f"dlq.{bench.subject}", *message))


def test_letters_whose_parts_are_stored_among_each_other_are_told_apart(bench):
    """Two sinks, or two bulks of one, store at the same time: each letter has its own bytes, and is found."""
    one, two = parts(bench, b"1"), parts(bench, b"2")

    async def scenario() -> None:
        async with bench.running():
            small = (b"small", {"Dp-Reason": "rejected"})
            await store(
                bench, one[0], small, *[message for pair in zip(two, one[1:], strict=False) for message in pair]
            )
            await store(bench, two[-1])
            letters = await bench.letters()
            assert sorted(letter.payload for letter in letters) == [b"1" * 3_000, b"2" * 3_000, b"small"]
            wanted = dlq.entries(bench.sink.connection, subject=bench.subject, reason="rejected")
            assert [letter.payload async for letter in wanted] == [b"small"]
            for letter in letters:
                found = await dlq.find(bench.sink.connection, letter.sequences[0])
                assert found == letter
                await dlq.drop(bench.sink.connection, found)
            assert await bench.letters() == []

    bench.run(scenario())


def test_a_letter_that_was_begun_twice_is_one(bench):
    """Killed while it stores a letter, a sink begins again, later than the server knows repeats; all parts are its."""
    stored = [*parts(bench, b"1")[:2], *parts(bench, b"1")]
    joined = dlq.Joined()
    found = [
        joined.add(dlq.Entry([number], bench.subject, headers, payload))
        for number, (payload, headers) in enumerate(stored, 1)
    ]
    (letter,) = filter(None, found)
    assert letter.payload == b"1" * 3_000
    assert letter.sequences == list(range(1, len(stored) + 1))
    assert joined.incomplete() == []


def test_a_letter_that_lacks_a_part_is_shown_and_not_replayed(bench):
    """Half of it may be there for ever, or a moment; it can be dropped."""

    async def scenario() -> None:
        async with bench.running():
            await store(bench, *parts(bench, b"3")[1:])
            (letter,) = await bench.letters()
            assert letter.as_row()["cause"] == "incomplete: why"
            with pytest.raises(Permanent, match="incomplete"):
                await dlq.replay(bench.sink.connection, bench.sink.publisher, letter)
            await dlq.drop(bench.sink.connection, await dlq.find(bench.sink.connection, letter.sequences[0]))
            assert await bench.letters() == []
            with pytest.raises(Permanent, match="there is no dead letter"):
                await dlq.find(bench.sink.connection, letter.sequences[0])

    bench.run(scenario())
