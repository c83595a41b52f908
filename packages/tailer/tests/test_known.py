"""How long a finished source is remembered: as long as anything of it is there, and a day longer."""

from collections.abc import Callable
from typing import Any

import pytest

from dataplane_tailer import known
from dataplane_tailer.identity import FileKey
from dataplane_tailer.state import SourceRecord, State

FIRST_S, DAY_S = 1_800_000_000.0, 86_400.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that it is, to be set."""
    now_s = [FIRST_S]
    monkeypatch.setattr("dataplane_tailer.known.time.time", lambda: now_s[0])
    return now_s


@pytest.fixture
def remembered(lab: Any) -> Any:
    """What makes a memory of these finished records."""
    states: list[State] = []

    def remember(*records: SourceRecord) -> known.Known:
        states.append(State(lab.state_dir))
        states[-1].save(records)
        memory = known.Known(states[-1])
        for record in records:
            memory.remember(record)
        return memory

    yield remember
    for state in states:
        state.close()


def _finished(name: str, key: FileKey, **attributes: Any) -> SourceRecord:
    path = f"/var/log/{name}"
    return SourceRecord(name * 16, path, path, "d", *key, head=name.encode(), is_final=True, **attributes)


def _sources(memory: known.Known) -> list[str]:
    return [record.source[0] for records in memory.by_key().values() for record in records]


def test_a_day_after_the_last_of_it_is_gone(clock: list[float], remembered: Callable[..., known.Known]) -> None:
    """The day begins when nothing was there for the first time; that is written down, so that a restart counts on."""
    memory = remembered(_finished("a", FileKey(1, 2)))
    for now_s in (FIRST_S, FIRST_S + DAY_S / 2, FIRST_S + DAY_S):
        clock[0] = now_s
        memory.forget_gone(())
        assert [record.gone_at for record in memory.state.sources()] == [FIRST_S]
    clock[0] += 1
    memory.forget_gone(())
    assert (memory.state.sources(), _sources(memory)) == ([], [])


def test_a_copy_is_something_of_it(clock: list[float], remembered: Callable[..., known.Known]) -> None:
    """While a copy is there, its original has to be known, or the copy would be shipped."""
    memory = remembered(_finished("a", FileKey(1, 2), copies=[(1, 3, 100)]))
    for now_s in (FIRST_S, FIRST_S + 3 * DAY_S):
        clock[0] = now_s
        memory.forget_gone({FileKey(1, 3)})
    assert _sources(memory) == ["a"]


def test_an_inode_is_that_of_its_latest_file(clock: list[float], remembered: Callable[..., known.Known]) -> None:
    """What had the inode before is gone, although a file of that inode is there."""
    memory = remembered(_finished("a", FileKey(1, 2)), _finished("b", FileKey(1, 2)))
    for now_s in (FIRST_S, FIRST_S + 2 * DAY_S):
        clock[0] = now_s
        memory.forget_gone({FileKey(1, 2)})
    assert _sources(memory) == ["b"]


def test_of_too_many_the_first_gone_are_forgotten(
    clock: list[float], remembered: Callable[..., known.Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that went last are the likeliest to come again as a copy."""
    monkeypatch.setattr(known, "_KEEP_GONE", 1)
    memory = remembered(_finished("a", FileKey(1, 2), gone_at=FIRST_S), _finished("b", FileKey(1, 3), gone_at=1.0))
    clock[0] = FIRST_S + 1
    memory.forget_gone({FileKey(1, 3)})  # of b something is there
    assert sorted(_sources(memory)) == ["a", "b"]
    clock[0] = 2.0
    memory.forget_gone(())
    assert _sources(memory) == ["a"]
