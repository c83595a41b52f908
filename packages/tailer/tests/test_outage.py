"""What the tailer promises while something it needs is away, full or forbidden: it waits, and loses nothing."""

import asyncio
import gzip
import json
import os
import shutil
import signal
import subprocess

import pytest

from dataplane_common.bus import Connection
from dataplane_common.config import NatsConfig
from dataplane_common.errors import Fatal
from dataplane_tailer.pipeline import create
from dataplane_tailer.snapshot import has_state, read_snapshot
from dataplane_tailer.state import State


def _options(lab, pattern: str) -> tuple[str, ...]:
    return ("run", str(lab.folder / pattern), "--dataset", lab.dataset, "--namespace", "test", "--nats", lab.url,
            "--state-dir", str(lab.state_dir))  # fmt: skip


def test_rotations_while_the_bus_is_away(lab, own_nats, run):
    """Renames, a deletion, a compression and a truncated copy while nothing is acknowledged: each line comes once."""
    lab.url = own_nats.url
    lines = iter(f"line {number:04d} {'x' * 50}" for number in range(400))
    written: list[str] = []

    def write(count: int) -> None:
        some = [next(lines) for _ in range(count)]
        written.extend(some)
        lab.append("".join(f"{line}\n" for line in some))

    async def seen(tailer) -> None:
        """A rotation comes hours after the last one, not milliseconds."""
        await lab.until(lambda: lab.log.stat().st_ino in {file.key.inode for file in tailer.tracker.files.values()})

    async def work():
        async with lab.tailer(
            lab.config(paths=[str(lab.log)], delivery={"ack_timeout_s": 0.5, "close_rotated_after_ms": 1})
        ) as tailer:
            write(100)
            await lab.messages(100)
            own_nats.pause()
            for number in range(3, 0, -1):
                write(50)
                await seen(tailer)
                rotated = lab.log.rename(lab.folder / f"app.log.{number}")
                if number == 3:
                    rotated.unlink()
                if number == 2:
                    (lab.folder / "app.log.2.gz").write_bytes(gzip.compress(rotated.read_bytes()))
                    rotated.unlink()
            write(50)
            await seen(tailer)
            own_nats.resume()
            assert sorted(await lab.messages(len(written))) == written
        assert await lab.count() == len(written)

    run(work())


def test_a_rotated_file_is_finished_when_all_of_it_is_acknowledged(lab, own_nats, run):
    """However long that takes: its last account says so, and what was not acknowledged is not forgotten."""
    lab.url = own_nats.url

    async def work():
        config = lab.config(paths=[str(lab.log)], delivery={"close_rotated_after_ms": 1, "ack_timeout_s": 0.5})
        lab.append("one\n")
        async with lab.tailer(config) as tailer:
            (first,) = await lab.events(1)
            own_nats.pause()
            lab.append("two\n")
            await lab.until(lambda: lab.one(tailer).positions.waiting == 1)
            file = lab.one(tailer)
            lab.log.rename(lab.folder / "old").unlink()
            await lab.until(lambda: file.gone_at is not None)
            tailer.tracker.rescan()
            assert file.key in tailer.tracker.files
            own_nats.resume()
            account = await lab.ledger(first["dp"]["source"])
        assert (account["accepted"], account["acknowledged"]) == (2, 2)

    run(work())


def test_what_was_given_up_is_found_in_a_copy(lab, own_nats, run):
    """As long as something of a truncated file is on its way a copy may turn up: then nothing of it was lost."""
    lab.url = own_nats.url

    async def work():
        lab.append("one\n")
        async with lab.tailer(lab.config(delivery={"ack_timeout_s": 0.5})) as tailer:
            (first,) = await lab.events(1)
            own_nats.pause()
            file = lab.one(tailer)
            lab.append("two\nhalf")
            await lab.until(lambda: file.positions.waiting == 1)
            shutil.copy(lab.log, lab.folder / "away")
            os.truncate(lab.log, 0)
            lab.append("new\n")
            await lab.until(lambda: tailer.tracker.retired)
            assert file.record.abandoned_bytes == {"truncated_unread": 4}
            copy = (lab.folder / "away").rename(lab.folder / "app.log.1")
            await lab.until(lambda: not tailer.tracker.retired)
            assert file.record.abandoned_bytes == {}
            own_nats.resume()
            lab.append("\n", copy)
            events = await lab.events(4)
        assert await lab.count() == 4
        source = first["dp"]["source"]
        assert [event["message"] for event in events if event["dp"]["source"] == source] == ["one", "two", "half"]

    run(work())


def test_a_stream_that_takes_nothing_more(lab, own_nats, run):
    """A stream that is full and discards what is new refuses frames; they are sent until there is room."""
    lab.url = own_nats.url

    async def stream(action: str, **settings) -> None:
        connection = Connection(NatsConfig(servers=(lab.url,)), name="tests")
        connection.start()
        await connection.wait_ready(10)
        body = {"name": "LOGS", "subjects": ["logs.>"], "storage": "file", "num_replicas": 1, **settings}
        payload = json.dumps(body).encode() if settings else b""
        answer = await connection.request(f"$JS.API.STREAM.{action}.LOGS", payload)
        assert b'"error"' not in answer, answer
        await connection.close()

    async def work():
        await stream("DELETE")
        await stream("CREATE", max_bytes=2000, discard="new")
        async with lab.tailer(lab.config(delivery={"compression": "none"})) as tailer:
            for number in range(20):
                lab.append(f"line {number} {'x' * 200}\n")
                await lab.until(lambda: tailer.publisher.in_flight or "maximum" not in tailer.publisher.last_problem)
            await lab.until(lambda: "maximum bytes exceeded" in tailer.publisher.last_problem)
            await stream("UPDATE", max_bytes=1_000_000, discard="new")
            assert [message.split()[1] for message in await lab.messages(20)] == [str(number) for number in range(20)]

    run(work())


def test_a_full_disk_under_the_state_stops_the_tailer(lab, run):
    """What cannot be written down is not sent: the process ends with the remedy, and the next one goes on exactly."""

    async def work():
        lab.append("first\n")
        tailer = create(lab.config(delivery={"max_line_bytes": 256}))
        await tailer.start()
        task = asyncio.ensure_future(tailer.run(asyncio.Event()))
        await lab.messages(1)
        pages = tailer.state._database.execute("PRAGMA page_count").fetchone()[0]
        tailer.state._database.execute(f"PRAGMA max_page_count = {pages}")
        lab.append("y" * 200_000 + "\nlast\n")  # each piece needs its place in the state
        with pytest.raises(Fatal, match="full; free space on this disk"):
            await asyncio.wait_for(task, 30)
        tailer.state._database.execute("PRAGMA max_page_count = 100000")
        await tailer.close()
        async with lab.tailer(lab.config(delivery={"max_line_bytes": 256})) as again:
            await lab.until(lambda: again.tracker.files and again.publisher.in_flight == 0)
            await lab.until(lambda: next(iter(again.tracker.files.values())).offset == lab.log.stat().st_size)
        events = sorted(await lab.everything(), key=lambda event: event["event"]["sequence"])
        assert "".join(event["message"] for event in events) == "first" + "y" * 200_000 + "last"

    run(work())


@pytest.mark.parametrize(
    ("modes", "remedy"),
    [({".": 0o500, "lock": 0o400}, "name a folder that the tailer may write"), ({"state.db": 0o400}, "user write it")],
    ids=["folder", "file"],
)
def test_a_state_that_may_not_be_written(lab, modes, remedy):
    """A read-only state is refused at start, with what to do."""
    State(lab.state_dir).close()
    lab.append("x\n")
    for name, mode in modes.items():
        os.chmod(lab.state_dir / name, mode)
    result = lab.command(*_options(lab, "app.log"), "--once", without_privileges=True)
    assert result.returncode == 1
    assert str(lab.state_dir) in result.stderr
    assert remedy in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("what", "end"), [("state", signal.SIGKILL), ("state/state.db", signal.SIGTERM)])
def test_a_state_that_somebody_deletes_is_put_back(lab, run, what, end):
    """Who cleans up too much under a running tailer has nothing sent twice: it still knows all, and writes it anew."""

    def is_written() -> bool:
        records = read_snapshot(lab.state_dir).records if has_state(lab.state_dir) else []
        return any(record.offset == 8 for record in records)

    async def follow() -> None:
        lab.append("one\n")
        await lab.messages(1)
        path = lab.state_dir.parent / what
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        lab.append("two\n")
        await lab.messages(2)
        await lab.until(is_written)

    async def work():
        process = lab.spawn(*_options(lab, "app.log"))
        try:
            await follow()
        finally:
            process.send_signal(end)
            process.communicate(timeout=20)
        lab.append("three\n")
        again = lab.command(*_options(lab, "app.log"), "--once")
        assert again.returncode == 0, again.stderr
        assert await lab.messages(3) == ["one", "two", "three"]
        assert len({event["dp"]["source"] for event in await lab.everything()}) == 1

    run(work())


def test_a_state_in_the_place_of_another_is_not_written_over(lab, run):
    """A state that was restored under a running tailer stays as it is; the tailer ends and says what to do."""

    async def work():
        tailer = create(lab.config())
        await tailer.start()
        task = asyncio.ensure_future(tailer.run(asyncio.Event()))
        shutil.rmtree(lab.state_dir)
        other = State(lab.state_dir)
        lab.append("one\n")
        with pytest.raises(Fatal, match="start the tailer again"):
            await task
        await tailer.close()
        assert other.sources() == []
        other.close()

    run(work())


@pytest.mark.parametrize("spoil", [lambda whole: whole[:10_000], lambda _: b"", lambda whole: bytes(len(whole))],
                         ids=["torn", "empty", "all NUL"])  # fmt: skip
def test_a_spoilt_state_is_refused(lab, spoil):
    """Half a state is no state: it is not overwritten, and the remedy is named."""
    state = State(lab.state_dir)
    for number in range(500):
        state.put(f"key {number}", "x" * 100)
    state.close()
    file = lab.state_dir / "state.db"
    file.write_bytes(spoilt := spoil(file.read_bytes()))
    for _ in range(2):
        with pytest.raises(Fatal, match="move it away"):
            State(lab.state_dir)
    assert file.read_bytes() == spoilt


def test_permission_that_is_granted_later(lab, run):
    """A file that may not be read is named; as soon as it may be, it is shipped from its first byte."""

    async def work():
        lab.append("secret\n")
        os.chmod(lab.log, 0)
        process = lab.spawn(*_options(lab, "app.log*"), without_privileges=True)
        try:
            lab.append("open\n", lab.folder / "app.log.open")
            assert await lab.messages(1) == ["open"]
            os.chmod(lab.log, 0o644)
            assert sorted(await lab.messages(2)) == ["open", "secret"]
        finally:
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=20)
        assert "file.refused" in err

    run(work())


def test_a_second_sigterm_does_not_wait(lab, own_nats, run):
    """The first stop waits for acknowledgements within the grace period, the second ends at once; nothing is lost."""
    lab.url = own_nats.url

    async def work():
        lab.append("one\n")
        process = lab.spawn(*_options(lab, "app.log"))
        await lab.messages(1)
        own_nats.pause()
        lab.append("two\n")
        await asyncio.sleep(0.5)  # it is on its way, which nobody outside can see
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=5)
        assert process.returncode == 128 + signal.SIGTERM
        own_nats.resume()
        assert lab.command(*_options(lab, "app.log"), "--once").returncode == 0
        assert await lab.messages(2) == ["one", "two"]

    run(work())
