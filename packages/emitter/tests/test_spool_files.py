"""The spool's files: torn, damaged, refused, locked."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.errors import ConfigError
from dataplane_common.frame import Frame, FrameEncoder
from dataplane_common.ledger import SourceAccount
from dataplane_emitter import Emitter, configure, segment
from dataplane_emitter.home import Home
from dataplane_emitter.settings import SpoolConfig
from dataplane_emitter.spool import Spool
from dataplane_emitter.spooling import LeftAccount

MakeEmitter = Callable[..., Emitter]
WaitUntil = Callable[..., None]
AWAY = "nats://127.0.0.1:1"


def _frame(number: int, text: bytes = b"x") -> Frame:
    line = b'{"_id":"a-%x","n":"%b"}\n' % (number, text)
    return FrameEncoder().encode("logs.a.b.c", "a" * 16, line, first=number, end=number + 1, count=1)


def _account(**counts: Any) -> SourceAccount:
    return SourceAccount(source="a" * 16, dataset="d", namespace="n", host="h", **counts)


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.segment"))


@given(st.lists(st.binary(max_size=50), max_size=8), st.data())
def test_a_torn_or_damaged_file_gives_what_is_whole(texts: list[bytes], data: st.DataObject) -> None:
    """Cut anywhere, or with a byte changed, every record that is still whole is read, in order, and no other."""
    frames = [_frame(number, text.hex().encode()) for number, text in enumerate(texts, 1)]
    records = [segment.encode(frame) for frame in frames]
    whole = b"".join(records)
    assert [frame.payload for frame in segment.decode(whole).frames] == [frame.payload for frame in frames]
    assert segment.decode(whole).damaged_bytes == 0
    cut = data.draw(st.integers(0, len(whole)))
    complete = sum(sum(map(len, records[: number + 1])) <= cut for number in range(len(records)))
    torn = segment.decode(whole[:cut])
    assert [frame.first for frame in torn.frames] == [frame.first for frame in frames[:complete]]
    assert torn.damaged_bytes == cut - sum(map(len, records[:complete]))
    if whole:
        place = data.draw(st.integers(0, len(whole) - 1))
        changed = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        hit = next(n for n in range(len(records)) if place < sum(map(len, records[: n + 1])))
        left = [frame.first for number, frame in enumerate(frames) if number != hit]
        assert [frame.first for frame in segment.decode(changed).frames] == left


def test_a_disk_that_refuses_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails in the middle, as on a full disk, is undone: the next one follows the last whole record."""
    said: list[str] = []
    spool = Spool(SpoolConfig(dir=tmp_path), "a" * 16, said.append)
    assert spool.store([_frame(1)], _account(spooled=1))
    write = os.write

    def fill_up(descriptor: int, data: Any) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".segment"):
            if len(data) < 20:
                raise OSError(28, "No space left on device")
            return write(descriptor, bytes(data)[:-10])
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fill_up)
        assert not spool.store([_frame(2)], _account(spooled=2))
    assert not spool.is_open
    assert said == [f"the spool {tmp_path} cannot be written: No space left on device; events wait in memory"]
    monkeypatch.setattr(Spool, "is_open", True)
    assert spool.store([_frame(3)], _account(spooled=2))
    (path,) = _segments(tmp_path)
    contents = segment.decode(path.read_bytes())
    assert ([frame.first for frame in contents.frames], contents.damaged_bytes) == ([1, 3], 0)


def test_no_two_processes_share_a_folder(tmp_path: Path) -> None:
    """A folder that somebody works in cannot be entered; one whose process has gone can; each is its own after fork."""
    first = Spool(SpoolConfig(dir=tmp_path), "a" * 16, print)
    second = Spool(SpoolConfig(dir=tmp_path), "b" * 16, print)
    assert first.store([_frame(1)], _account(spooled=1))
    assert list(second.left()) == []
    pid = os.fork()
    if pid == 0:
        first.let_go()
        os._exit(0 if Home.enter(tmp_path / ("a" * 16)) is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert list(second.left()) == []
    first.close()
    (home,) = second.left()
    assert [path.name for path in home.segments()] == ["00000001.segment"]
    assert list(Spool(SpoolConfig(dir=tmp_path), "c" * 16, print).left()) == []
    home.leave()


def test_what_is_missing_or_too_much_is_in_the_account() -> None:
    """Events that a crash took from the spool are dropped as `spool_damaged`; ones sent before count once."""
    damaged = LeftAccount(_account(accepted=10, acknowledged=2, spooled=8), found=5).figures()
    assert (damaged.spooled, damaged.dropped) == (5, {"spool_damaged": 3})
    again = LeftAccount(_account(accepted=10, acknowledged=6, spooled=4), found=6).figures()
    assert (again.spooled, again.acknowledged, again.dropped) == (6, 4, {})
    for account in (damaged, again):
        assert account.accepted == account.acknowledged + account.spooled + sum(account.dropped.values())


def test_a_spool_that_cannot_work_is_refused(tmp_path: Path) -> None:
    """No folder, too small a bound, or a delivery that nobody confirms: one line at the start."""
    (tmp_path / "file").write_text("")
    for settings, words in (
        ({"spool": {"dir": tmp_path / "file"}}, "spool.dir: cannot write to"),
        ({"spool": {"dir": tmp_path, "max_bytes": 10}}, "spool.max_bytes: 10 is too small"),
        ({"spool": {"dir": tmp_path}, "delivery": "core"}, 'spool.dir: with delivery "core"'),
    ):
        with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
            configure(service="x", **settings)


def test_a_disk_that_refuses_in_the_middle_of_a_write_hurts_nobody(
    run_program: Callable[..., Any], tmp_path: Path
) -> None:
    """Calls go on, the account adds up, and what counts as stored is stored whole."""
    program = """
        import resource, sys, time
        from dataplane_emitter import configure
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))  # the kernel's own refusal, as of a full disk
        emitter = configure(
            service="x", servers=sys.argv[1], spool={"dir": sys.argv[2]}, compression="none", stderr=False, linger_ms=10
        )
        for number in range(10_000):
            emitter.processor()(None, "info", {"event": "x" * 200, "number": number})
        while emitter.pipeline.spool.is_open:
            time.sleep(0.01)
        stats = emitter.stats()
        assert stats.accepted == stats.spooled + stats.in_flight == 10_000, stats
        print(stats.spooled, flush=True)
        emitter.close(0)
    """
    spooled = int(run_program(program, AWAY, str(tmp_path), timeout_s=60).stdout)
    contents = [segment.decode(path.read_bytes()) for path in tmp_path.glob("*/*.segment")]
    assert 0 < spooled == sum(found.count for found in contents) < 10_000
    assert sum(found.damaged_bytes for found in contents) == 0
