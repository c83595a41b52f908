"""What a reload promises: inputs come, go and change without loss or doubles."""

import asyncio
import shutil
import signal
from pathlib import Path

import msgspec
import pytest

from dataplane_tailer.config import needs_restart
from dataplane_tailer.snapshot import read_snapshot

CONFIG = """
namespace = "test"
host = "host-1"
state_dir = "{state}"
[nats]
servers = ["{url}"]
[delivery]
linger_ms = 5
rescan_ms = 100
{inputs}
"""
INPUT = """
[[inputs]]
paths = ["{path}"]
dataset = "{dataset}"
parser = "{parser}"
"""


def test_sighup_adds_changes_and_removes_inputs(lab, run):
    """Files go on at their very byte as their inputs now say; those of removed inputs are left alone."""
    file = lab.folder / "tailer.toml"
    other = lab.folder / "other.log"

    def configure(*inputs: str) -> None:
        file.write_text(CONFIG.format(state=lab.state_dir, url=lab.url, inputs="".join(inputs)))

    def entry(path, parser="plain") -> str:
        return INPUT.format(path=path, dataset=lab.dataset, parser=parser)

    async def work() -> None:
        configure(entry(lab.log))
        lab.append('{"message":"one"}\n')
        lab.append("other one\n", other)
        process = lab.spawn("run", "--config", str(file))
        try:
            await lab.messages(1)
            configure(entry(lab.log, "json"), entry(other))
            process.send_signal(signal.SIGHUP)
            lab.append('{"message":"two"}\n')
            assert sorted(await lab.messages(3)) == ["other one", "two", '{"message":"one"}']
            configure("nonsense = 1\n")
            process.send_signal(signal.SIGHUP)
            lab.append('{"message":"three"}\n')
            await lab.messages(4)
            configure(entry(lab.log, "json"))
            process.send_signal(signal.SIGHUP)
            lab.append('{"message":"four"}\n')
            await lab.messages(5)
            lab.append("nobody reads this\n", other)
            await asyncio.sleep(0.5)
            assert await lab.count() == 5
        finally:
            process.send_signal(signal.SIGTERM)
            _, err = await asyncio.to_thread(process.communicate, timeout=20)
        assert process.returncode == 0, err
        assert "configuration.refused" in err

    run(work())


SPOILT = {
    "unknown key": lambda file: file.write_text("nonsense = 1\n"),
    "no TOML": lambda file: file.write_text("[[inputs"),
    "wrong type": lambda file: file.write_text("inputs = 3\n"),
    "empty": lambda file: file.write_text(""),
    "no UTF-8": lambda file: file.write_bytes(b'namespace = "caf\xe9"\n'),
    "missing": Path.unlink,
    "a folder": Path.mkdir,
}


def test_a_broken_configuration_changes_nothing(lab, run):
    """A file that cannot be used is named each time; the tailer goes on as it is, and takes the next good one."""
    file = lab.folder / "tailer.toml"
    inputs = INPUT.format(path=lab.log, dataset=lab.dataset, parser="plain")
    text = CONFIG.format(state=lab.state_dir, url=lab.url, inputs=inputs)
    file.write_text(text)
    process = lab.spawn("run", "--config", str(file))

    async def said(word: str) -> str:
        while word not in (line := await asyncio.to_thread(process.stderr.readline)):
            assert line, "the tailer has ended"
        return line

    async def work() -> None:
        await said("tailer.started")
        for number, spoil in enumerate(SPOILT.values()):
            spoil(file)
            process.send_signal(signal.SIGHUP)
            assert str(file) in await said("configuration.refused")
            lab.append(f"{number}\n")
        await lab.messages(len(SPOILT))
        file.rmdir()
        file.write_text(text)
        process.send_signal(signal.SIGHUP)
        await said("configuration.reloaded")

    try:
        run(work())
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_what_was_rotated_away_keeps_its_checkpoint(lab, run, monkeypatch):
    """A reload leaves a file alone that no path leads to, and does not forget what of it is acknowledged."""
    monkeypatch.setattr("dataplane_tailer.pipeline._CHECKPOINT_INTERVAL_S", 60.0)

    async def work() -> None:
        config = lab.config(paths=[str(lab.log)], delivery={"close_rotated_after_ms": 60_000})
        async with lab.tailer(config) as tailer:
            lab.append("one\n")
            await lab.messages(1)
            lab.log.rename(lab.folder / "app.log.1")
            await lab.until(lambda: lab.one(tailer).gone_at is not None)
            tailer.reload(config)
            await lab.until(lambda: tailer.next_config is None)
            lab.append("late\n", lab.folder / "app.log.1")
            await lab.messages(2)
            await lab.settled(tailer)
        async with lab.tailer(config) as tailer:
            assert lab.one(tailer).positions.resolved.offset == len("one\nlate\n")

    run(work())


@pytest.mark.parametrize("digits", ["123", "321"])
def test_another_dataset_and_back(lab, run, monkeypatch, digits):
    """A file whose input has another dataset goes on as another source, at its very byte; a restart changes nothing."""
    first, second = lab.dataset, f"{lab.dataset}_b"
    sources = (digit * 16 for digit in digits)  # the state has them in the order of their names
    monkeypatch.setattr("dataplane_tailer.opening.new_source", lambda: next(sources))

    def offsets(tailer) -> list[int]:
        return [file.positions.resolved.offset for file in tailer.tracker.files.values()]

    async def count(dataset: str) -> int:
        lab.dataset = dataset
        return await lab.count()

    async def work() -> None:
        async with lab.tailer() as tailer:
            for number, dataset in enumerate((first, second, first), start=1):
                tailer.reload(lab.config(dataset=dataset))
                await lab.until(lambda: tailer.next_config is None)
                lab.append(f"line {number}\n")
                await lab.until(lambda number=number: offsets(tailer) == [7 * number])
        assert sorted(record.is_final for record in read_snapshot(lab.state_dir).records) == [False, True, True]
        async with lab.tailer(lab.config(dataset=first)) as tailer:
            assert offsets(tailer) == [21]
        assert (await count(first), await count(second)) == (2, 1)

    run(work())


def test_one_text_in_two_datasets(lab, run):
    """A copy that another dataset asks for is shipped there, whatever was shipped of its original."""
    first, second = lab.dataset, f"{lab.dataset}_b"
    copy = lab.folder / "copy.log"

    async def work() -> None:
        before = lab.config()
        more = lab.config(paths=[str(copy)], dataset=second).inputs
        config = msgspec.structs.replace(before, inputs=(*before.inputs, *more))
        lab.append("one" + "x" * 3000 + "\n")
        async with lab.tailer(config) as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
            shutil.copy(lab.log, copy)
            lab.dataset = second
            await lab.messages(1)
            lab.dataset = first
            assert await lab.count() == 1

    run(work())


@pytest.mark.parametrize("grace_s", [0.1, 60.0])
def test_what_is_on_its_way_is_not_sent_as_something_else(lab, own_nats, run, capsys, grace_s):
    """With the bus away a reload waits: what was sent under the old input does not come again under the new one.

    That it waits is said when the grace period is over.
    """
    lab.url = own_nats.url
    quick = {"grace_s": grace_s, "ack_timeout_s": 0.5}
    before = lab.config(delivery=quick)
    after = lab.config(delivery=quick, dataset=f"{lab.dataset}_b")

    async def work() -> None:
        lab.append("one\n")
        async with lab.tailer(before) as tailer:
            await lab.settled(tailer)
            own_nats.pause()
            lab.append("two\n")
            await lab.until(lambda: lab.one(tailer).positions.waiting == 1)
            tailer.reload(after)
            await asyncio.sleep(0.5)  # several times the shorter grace period
            own_nats.resume()
            await lab.until(lambda: tailer.next_config is None)
            lab.append("three\n")
            assert await lab.messages(2) == ["one", "two"]
            lab.dataset = f"{lab.dataset}_b"
            assert await lab.messages(1) == ["three"]
        assert await lab.count() == 1

    run(work())
    assert ("configuration.waits" in capsys.readouterr().out) is (grace_s < 1)


def test_what_a_reload_does_not_take_over_is_said(lab):
    """Whatever else has changed than inputs of files, its keys are named."""
    before = lab.config()
    journal = lab.config_of({"type": "journal", "dataset": "j"}).inputs
    changed = msgspec.structs.replace(before, host="other", inputs=(*before.inputs, *journal))
    assert needs_restart(before, msgspec.structs.replace(before, inputs=before.inputs * 2)) == []
    assert needs_restart(before, changed) == ["host", "inputs.type"]
