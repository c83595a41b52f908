"""One copy of each event, whatever a rollover comes in between."""

import asyncio
import json
import time

STREAM_INFO = "$JS.API.STREAM.INFO.LOGS"


def landed(index: str, count: int = 1):
    """Answer that documents were created in an index."""
    return lambda _lines: (200, {"errors": False, "items": [{"create": {"status": 201, "_index": index}}] * count})


def test_a_copy_that_landed_beyond_a_rollover_is_taken_back(bench, scripted):
    """A request timed out and was carried out late, before a rollover; its repetition came after it: one copy stays."""

    def late(lines):
        scripted.indices = [".ds-1", ".ds-2"]
        scripted.documents[".ds-1", bench.identity(0)] = {"message": "hello"}
        scripted.documents[".ds-2", bench.identity(0)] = {"message": "hello"}
        scripted.documents[".ds-2", bench.identity(1)] = {"message": "hello"}
        return landed(".ds-2", 2)(lines)

    scripted.bulks += [bench.fails(503), late]

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0), bench.line(1))
            await bench.until_done(2)
            counts = bench.sink.counts
            assert (counts.indexed, counts.duplicate, counts.taken_back, counts.doubled) == (1, 1, 1, 0)

    bench.run(scenario())
    assert scripted.deleted == [(".ds-2", bench.identity(0))]


def test_a_copy_that_may_not_be_taken_back_is_counted(bench, scripted):
    """Without the right to delete, the second copy stays, and the metrics say so."""

    def late(lines):
        scripted.indices = [".ds-1", ".ds-2"]
        for index in scripted.indices:
            scripted.documents[index, bench.identity(0)] = {"message": "hello"}
        return landed(".ds-2")(lines)

    scripted.bulks += [bench.fails(503), late]
    scripted.forbidden_actions = ("delete",)

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)
            assert (bench.sink.counts.doubled, bench.sink.counts.taken_back) == (1, 0)

    bench.run(scenario())


def test_another_document_in_an_older_index_is_a_conflict_and_stays(bench, scripted):
    """Found only after ours was created beyond a rollover: ours is taken back and kept as a dead letter."""

    def late(lines):
        scripted.indices = [".ds-1", ".ds-2"]
        scripted.documents[".ds-1", bench.identity(0)] = {"message": "something else"}
        scripted.documents[".ds-2", bench.identity(0)] = {"message": "hello"}
        return landed(".ds-2")(lines)

    scripted.bulks += [bench.fails(503), late]

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)
            assert [letter.reason for letter in await bench.letters()] == ["id_conflict"]

    bench.run(scenario())
    assert scripted.deleted == [(".ds-2", bench.identity(0))]


def test_a_look_up_deletes_no_other_document(bench, scripted):
    """A newer document with the same id that says something else is not a copy."""
    scripted.indices = [".ds-1", ".ds-2"]
    scripted.documents[".ds-1", bench.identity(0)] = {"message": "hello"}
    scripted.documents[".ds-2", bench.identity(0)] = {"message": "something else"}

    bench.run(bench.replay_one("duplicate"))
    assert scripted.deleted == []


def test_requests_that_still_run_are_waited_for(bench, scripted):
    """What began before the rollover may yet write into the older index: the look-up comes after its end."""
    scripted.indices = [".ds-1", ".ds-2"]
    scripted.tasks = [[1.0], [1.0, 2.0]]
    asked_before_end = []

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0), **{"Dp-Replay": "1"})
            await bench.until(lambda: not scripted.tasks)
            asked_before_end.append(bench.sink.counts.duplicate)
            await bench.until_done(1)

    scripted.documents[".ds-1", bench.identity(0)] = {"message": "hello"}
    bench.run(scenario())
    assert asked_before_end == [0]
    assert scripted.bodies == []


def test_without_the_right_to_see_tasks_the_work_goes_on(bench, scripted):
    """The privilege `monitor` is good to have, not needed."""
    scripted.indices = [".ds-1", ".ds-2"]
    scripted.forbidden = ("/_tasks",)

    bench.run(bench.replay_one("indexed"))


def test_a_new_consumer_brings_nothing_twice(bench, scripted):
    """Deleted after a rollover, the durable begins at the start of the stream: what is there already is found."""

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0), bench.line(1))
            await bench.until_done(2)
            scripted.indices = [".ds-1", ".ds-2"]
            for position in (0, 1):
                scripted.documents[".ds-1", bench.identity(position)] = {"message": "hello"}
            await bench.sink.connection.request(f"$JS.API.CONSUMER.DELETE.LOGS.{bench.dataset}_r")
            await bench.publish_frame(bench.line(2))
            await bench.until_done(5)
            assert (bench.sink.counts.indexed, bench.sink.counts.duplicate) == (3, 2)

    bench.run(scenario())


def test_what_was_stored_before_the_start_is_in_doubt(bench, scripted):
    """A consumer, or a server, that forgot what was acknowledged delivers it as if for the first time."""
    scripted.indices = [".ds-1", ".ds-2"]
    scripted.documents[".ds-1", bench.identity(0)] = {"message": "hello"}

    async def first() -> None:
        async with bench.running():
            await bench.sink.lanes.apply([])
            await bench.publish_frame(bench.line(0))
            await bench.sink.connection.flush(5)

    async def second() -> None:
        async with bench.running():
            await bench.until_done(1)
            assert bench.sink.counts.duplicate == 1

    bench.run(first())
    bench.run(second())


def test_a_message_that_is_no_longer_ours_alone_is_looked_up(make_bench, scripted):
    """When signs of life could not be given for long, another sink may have indexed what we hold."""
    bench = make_bench(batch={"in_flight": 1})

    def busy(lines):
        bench.sink.settler.lose_hold()
        scripted.indices = [".ds-1", ".ds-2"]
        scripted.documents[".ds-1", bench.identity(0)] = {"message": "hello"}
        return bench.fails(429)(lines)

    scripted.bulks.append(busy)

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)
            assert bench.sink.counts.duplicate == 1

    bench.run(scenario())
    assert len(scripted.bodies) == 1


def test_an_index_that_was_closed_long_before_is_not_searched(bench, scripted):
    """Only indices that were still written to when the message was stored can hold it."""
    old = str(int((time.time() - 100_000) * 1000))
    scripted.indices = [".ds-1", ".ds-2", ".ds-3"]
    scripted.created = {".ds-1": old, ".ds-2": old}
    searched = []
    scripted.on_look_up = searched.append

    async def scenario() -> None:
        async with bench.running():
            scripted.bulks.append(bench.fails(503))
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)

    bench.run(scenario())
    assert {document["_index"] for document in searched} == {".ds-2", ".ds-3"}


def test_a_lost_acknowledgement_doubles_nothing(make_bench, scripted):
    """An answer that never arrives at the bus brings the message again; it is found to be a duplicate."""
    bench = make_bench(ack_wait_s=1.0)

    async def scenario() -> None:
        async with bench.running():
            publish_all, lost = bench.sink.connection.publish_all, []

            async def lossy(subjects, payload) -> None:
                kept = list(subjects)
                if kept and not lost:
                    lost.append(kept.pop())
                await publish_all(kept, payload)

            bench.sink.connection.publish_all = lossy
            conflict = {"type": "version_conflict_engine_exception", "index": ".ds-1"}
            scripted.documents[".ds-1", bench.identity(0)] = {"message": "hello"}
            scripted.bulks += [bench.created, bench.answers({"status": 409, "error": conflict})]
            await bench.publish_frame(bench.line(0))
            await bench.until_done(2)
            assert lost
            assert (bench.sink.counts.indexed, bench.sink.counts.duplicate) == (1, 1)
            while await bench.ack_pending():
                await asyncio.sleep(0.01)

    bench.run(scenario())


def test_a_deleted_stream_comes_back(bench):
    """Deleted while the sink runs, stream and consumer are created again, and what is sent then is indexed."""

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)
            await bench.sink.connection.request("$JS.API.STREAM.DELETE.LOGS")
            while not (await bench.consumer()).get("num_waiting"):
                await asyncio.sleep(0.01)
            await bench.publish_frame(bench.line(1))
            await bench.until_done(2)

    bench.run(scenario())


def test_answers_to_a_deleted_stream_settle_nothing_of_the_new_one(bench, scripted):
    """Sequences begin anew with a stream: an answer that comes late does not acknowledge another message."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def scenario() -> None:
        async with bench.running():
            connection = bench.sink.connection
            config = json.loads(await connection.request(STREAM_INFO))["config"]
            loop = asyncio.get_running_loop()

            def held(lines):
                loop.call_soon_threadsafe(begun.set)
                asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(20)
                return bench.created(lines)

            scripted.bulks.append(held)
            await bench.publish_frame(bench.line(0))
            await begun.wait()
            (claim,) = bench.sink.settler._claims
            await connection.request("$JS.API.STREAM.DELETE.LOGS")
            await connection.request("$JS.API.STREAM.CREATE.LOGS", json.dumps(config).encode())
            await bench.until(lambda: not claim.delivery._reader.is_current)
            go_on.set()
            await bench.until_done(1)
            assert claim.delivery.settled
            await bench.publish_frame(bench.line(1))
            await bench.until_done(2)
            assert bench.sink.counts.indexed == 2

    bench.run(scenario())
