"""What the kernel says about processes, and how it is read."""

import os
import subprocess

from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.local import process_table
from dataplane_common.local.process_table import parse_stat


@given(name=st.text(max_size=15), group=st.integers(1, 2**22), ticks=st.integers(0, 2**63))
def test_any_command_name_can_be_read(name: str, group: int, ticks: int) -> None:
    """A program may be named `a) S 1 (b`: the fields begin behind the last bracket."""
    fields = ["S", "1", str(group), *["0"] * 14, "7", "0", str(ticks), "0", "0"]
    stat = parse_stat(f"42 ({name}) {' '.join(fields)}\n")
    assert stat == ("S", group, 7, str(ticks))


def test_a_leader_that_ended_before_its_threads_has_not_ended() -> None:
    """A process is a zombie while its other threads still end and hold its ports: it lives until they are gone."""
    assert not process_table.Stat("Z", 1, 3, "0").has_ended
    assert process_table.Stat("Z", 1, 1, "0").has_ended
    assert process_table.Stat("Z", 1, 0, "0").has_ended


def test_this_process_is_found() -> None:
    """A living process has an entry, and is among its group's."""
    entry = process_table.find(os.getpid())
    assert entry is not None
    assert entry.group == os.getpgid(0)
    assert entry in process_table.living_in_group(entry.group)


def test_a_process_that_ended_is_not_found() -> None:
    """A number that nobody has, has no entry."""
    child = subprocess.Popen(["true"])
    child.wait()
    assert process_table.find(child.pid) is None


def test_ps_says_the_same_where_there_is_no_proc() -> None:
    """Systems without /proc are asked through ps: the same process, the same group, a start that stays the same."""
    (first,) = process_table._from_ps("-p", str(os.getpid()))
    (second,) = process_table._from_ps("-p", str(os.getpid()))
    assert (first.pid, first.group) == (os.getpid(), os.getpgid(0))
    assert first == second
    assert first.start
