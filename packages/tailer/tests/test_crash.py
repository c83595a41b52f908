"""What survives a crash, a restart and a wrong move: on real processes, a real bus and a real disk."""

import asyncio
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import msgspec
import pytest

from dataplane_common.errors import ExitCode, Fatal
from dataplane_tailer.pipeline import Tailer, create
from dataplane_tailer.serve import serve
from dataplane_tailer.state import State


def _numbers(count: int, start: int = 0) -> str:
    return "".join(f"line {number}\n" for number in range(start, start + count))


def _options(lab) -> tuple[str, ...]:
    pattern = str(lab.folder / "app.log*")
    return ("run", pattern, "--dataset", lab.dataset, "--namespace", "test", "--nats", lab.url,
            "--state-dir", str(lab.state_dir))  # fmt: skip


def _kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)


@pytest.mark.parametrize("round_", range(3))
def test_sigkill_loses_and_changes_nothing(lab, run, round_):
    """Killed in mid-flow and started again, the stream has each line with one id; a repeat carries the same content."""

    async def work():
        total = 200_000
        lab.append(_numbers(total))
        process = lab.spawn(*_options(lab))
        await lab.events(1_000 * (1 + 20 * round_))
        _kill(process)
        lab.append(_numbers(10, start=total))
        again = lab.command(*_options(lab), "--once")
        assert again.returncode == 0, again.stderr
        events = await lab.events(total + 10)
        assert sorted(int(event["message"].split()[1]) for event in events) == list(range(total + 10))
        assert sorted(event["event"]["sequence"] for event in events) == list(range(1, total + 11))
        assert len({event["dp"]["source"] for event in events}) == 1

    run(work())


def test_sigterm_drains_and_the_next_start_goes_on(lab, run):
    """A stopped tailer has acknowledged all that it sent; the next one continues at the very byte."""

    async def work():
        lab.append(_numbers(1000))
        process = lab.spawn(*_options(lab))
        await lab.events(1000)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        lab.append(_numbers(5, start=1000))
        assert '"lines": 5' in lab.command(*_options(lab), "--once").stdout

    run(work())


@pytest.mark.parametrize(("grace_s", "code"), [(60.0, ExitCode.CLEAN), (0.1, ExitCode.GRACE_EXCEEDED)])
def test_a_stop_waits_within_the_grace_period(lab, own_nats, run, monkeypatch, grace_s, code):
    """What is on its way is waited for, but no longer than that; the exit code says whether it was enough."""
    lab.url = own_nats.url
    made: list[Tailer] = []
    monkeypatch.setattr("dataplane_tailer.serve.create", lambda config: made.append(create(config)) or made[0])
    config = lab.config(delivery={"grace_s": grace_s})

    async def work():
        stop = asyncio.Event()
        lab.append("one\n")
        serving = asyncio.ensure_future(serve(config, stop, asyncio.Event(), lambda: config))
        await lab.messages(1)
        own_nats.pause()
        lab.append("two\n")
        await lab.until(lambda: made[0].publisher.in_flight)
        stop.set()
        await asyncio.wait([serving], timeout=0.3)
        own_nats.resume()
        assert await serving == code

    run(work())


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"], ids=["beside the pattern", "inside the pattern"])
def test_rotated_while_stopped(lab, run, pattern):
    """A file that was renamed while nobody looked is found again by its inode, inside the pattern or beside it."""

    async def work():
        config = lab.config(paths=[str(lab.folder / pattern)])
        lab.append("one\n")
        async with lab.tailer(config):
            await lab.messages(1)
        lab.append("two\n")
        lab.log.rename(lab.folder / "app.log.1")
        lab.append("three\n")
        async with lab.tailer(config):
            events = await lab.events(3)
        assert sorted(event["message"] for event in events) == ["one", "three", "two"]
        assert len({event["dp"]["source"] for event in events}) == 2

    run(work())


def test_truncated_while_stopped(lab, run):
    """A file that is another one under its old inode is a new source, read from its first byte."""

    async def work():
        lab.append("first\nsecond\n")
        async with lab.tailer():
            await lab.messages(2)
        lab.log.write_text("anew, and longer than before\n")
        async with lab.tailer():
            assert (await lab.messages(3))[2] == "anew, and longer than before"

    run(work())


def test_an_idle_flush_whose_acknowledgement_was_lost_is_replayed_as_it_was(lab, run):
    """The boundary that time decided is stored first: text that came later does not change an id's content."""

    async def work():
        lab.append("half")
        async with lab.tailer(lab.config(delivery={"idle_flush_ms": 50}), without_checkpoints=True):
            await lab.messages(1)
        lab.append(" a line\nnext\n")
        async with lab.tailer():
            assert await lab.messages(3) == ["half", " a line", "next"]

    run(work())


@pytest.mark.parametrize("before", ["", "one\n"], ids=["written while it ran", "written before the start"])
def test_what_may_have_been_sent_before_says_so(lab, run, before):
    """After a crash frames are marked as re-sends, so that the sink looks for them beyond the current index."""

    async def work():
        lab.append(before)
        async with lab.tailer(without_checkpoints=True) as tailer:
            await lab.until(lambda: tailer.tracker.files)
            lab.append("" if before else "one\n")
            await lab.messages(1)
        lab.append("two\n")
        async with lab.tailer():
            await lab.messages(2)
        assert (await lab.replays())[:2] == [None, "1"]

    run(work())


PIECES = [("a" * 300, "0.1"), ("b" * 300, "0.2"), ("cc", "0.3")]


@pytest.mark.parametrize(
    ("before", "after", "flush_ms", "sent", "expected"),
    [
        ("half", "\nnext\n", 50, 1, [("half", "0"), ("next", "5")]),
        ("half", " a line\n", 50, 1, [("half", "0"), (" a line", "4")]),
        ("a" * 300 + "b" * 300 + "c", "c\nnext\n", 60_000, 2, [*PIECES, ("next", "25b")]),
    ],
    ids=["its newline", "its rest", "its last piece"],
)
def test_a_stop_within_a_line_is_remembered(lab, run, before, after, flush_ms, sent, expected):
    """What was sent of a line that has not ended is known after a restart: its end belongs to it, and joins nothing."""

    async def work():
        config = lab.config(delivery={"idle_flush_ms": flush_ms, "max_line_bytes": 300})
        lab.append(before)
        async with lab.tailer(config) as tailer:
            await lab.messages(sent)
            await lab.settled(tailer)
        lab.append(after)
        async with lab.tailer(config):
            events = await lab.events(len(expected))
        assert [(event["message"], event["_id"].partition("-")[2]) for event in events] == expected
        assert await lab.count() == len(expected)

    run(work())


def test_pieces_are_replayed_as_they_were_cut(lab, run):
    """A limit that changed between crash and restart does not change the content behind an id."""

    async def work():
        lab.append("x" * 5000 + "\n")
        async with lab.tailer(lab.config(delivery={"max_line_bytes": 1000}), without_checkpoints=True):
            before = await lab.events(5)
        lab.append("end\n")
        async with lab.tailer(lab.config(delivery={"max_line_bytes": 700})):
            after = await lab.events(6)
        assert after[:5] == before
        assert after[5]["message"] == "end"

    run(work())


@pytest.mark.parametrize("is_renamed", [False, True], ids=["another machine", "another host's name"])
def test_a_state_found_on_another_host_goes_on_under_new_sources(lab, run, is_renamed):
    """Cloned state continues at its checkpoints, but never uses the same ids again."""

    async def work():
        lab.append("one\nhealthz\n")
        config = lab.config(filters=[{"drop": "healthz"}])
        async with lab.tailer(config) as tailer:
            first = await lab.events(1)
            await lab.until(lambda: lab.one(tailer).positions.resolved.dropped == 1)
        if is_renamed:
            config = msgspec.structs.replace(config, host="host-2")
        else:
            state = State(lab.state_dir)
            assert state.get("machine") == f"{Path('/etc/machine-id').read_text().strip()} host-1"
            state.put("machine", "another host-1")
            state.close()
        lab.append("two\n")
        async with lab.tailer(config) as tailer:
            events = await lab.events(2)
            assert tailer.account.account_of(lab.one(tailer)).dropped == {}
        assert [event["message"] for event in events] == ["one", "two"]
        assert events[1]["dp"]["source"] != first[0]["dp"]["source"]
        assert events[1]["event"]["sequence"] == 1

    run(work())


def test_one_state_serves_one_process(lab):
    """A second tailer on the same state is refused, with the holder named."""
    holder = State(lab.state_dir)
    lab.append("x\n")
    result = lab.command(*_options(lab), "--once")
    assert result.returncode == 1
    assert f"pid {os.getpid()}" in result.stderr
    assert "Traceback" not in result.stderr
    holder.close()


def test_a_damaged_or_newer_state_is_refused_with_a_remedy(lab):
    """State that cannot be trusted is never overwritten silently."""
    lab.state_dir.mkdir()
    (lab.state_dir / "state.db").write_bytes(b"\x00garbage" * 1000)
    with pytest.raises(Fatal, match="move it away"):
        State(lab.state_dir)
    (lab.state_dir / "state.db").unlink()
    State(lab.state_dir).close()
    with sqlite3.connect(lab.state_dir / "state.db") as database:
        database.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    database.close()
    with pytest.raises(Fatal, match="upgrade"):
        State(lab.state_dir)
