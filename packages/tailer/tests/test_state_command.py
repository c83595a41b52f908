"""What `state` promises: it shows and moves checkpoints, all or nothing, and never under a running tailer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.errors import Fatal
from dataplane_tailer.snapshot import Snapshot, read_snapshot
from dataplane_tailer.state import Boundary, SourceRecord, State
from dataplane_tailer.transfer import Entry, Header, export_lines, parse_import

SOURCE = "00000000000000aa"


def _record(number: int = 1, **changes) -> SourceRecord:
    path = f"/var/log/{number}.log"
    values = {
        "source": f"{number:016x}",
        "path": path,
        "log_path": path,
        "dataset": "web",
        "device": 1,
        "inode": number,
    }
    return SourceRecord(**{**values, **changes})


@pytest.fixture
def state_dir(tmp_path):
    """A state with two sources, a boundary and an input that has been looked at."""
    state = State(tmp_path / "state")
    state.save([_record(1, offset=10, sequence=2), _record(2, offset=7, guard="0a")])
    state.add_boundary(f"{1:016x}", Boundary(10, 14, 10, 0, ends_line=False))
    state.put("machine", "here")
    state.put("input web /var/log/*.log", "2026-01-01")
    state.put("stream journal nginx web", '{"source":"00000000000000ff","sequence":7,"cursor":"s=1"}')
    state.close()
    return tmp_path / "state"


def _command(*arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    program = str(Path(sys.executable).parent / "dataplane-tailer")
    return subprocess.run([program, "state", *arguments], input=stdin, capture_output=True, check=False, timeout=60)


def _refused(result: "subprocess.CompletedProcess[bytes]", *words: str) -> None:
    assert result.returncode == 1, result.stdout
    [line] = result.stderr.decode().splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_show_lists_sources_with_their_checkpoints(state_dir):
    """The table has a line a source; JSON has all of it; a file that is not known is an error."""
    table = _command("show", "--state-dir", str(state_dir)).stdout.decode()
    assert [line.split()[:2] for line in table.splitlines()[1:4]] == [
        ["/var/log/1.log", f"{1:016x}"],
        ["/var/log/2.log", f"{2:016x}"],
        ["journal", "nginx"],
    ]
    streams = json.loads(_command("show", "--state-dir", str(state_dir), "--json").stdout)["streams"]
    assert [(stream["name"], stream["dataset"], stream["sequence"]) for stream in streams] == [
        ("journal nginx", "web", 7)
    ]
    report = json.loads(_command("show", "/var/log/1.log", "--state-dir", str(state_dir), "--json").stdout)
    [source] = report["sources"]
    assert (report["running_pid"], source["offset"], source["boundaries"][0]["end"]) == (None, 10, 14)
    _refused(_command("show", "/var/log/3.log", "--state-dir", str(state_dir)), "/var/log/3.log", "state show")


def test_an_export_imported_elsewhere_is_the_same_state(state_dir, tmp_path):
    """Sources, boundaries, inputs, streams and the machine that made them are moved; a second import is the same."""
    exported = _command("export", "--state-dir", str(state_dir)).stdout
    for _ in range(2):
        result = _command("import", "--state-dir", str(tmp_path / "new"), stdin=exported)
        assert result.returncode == 0, result.stderr
    old, new = read_snapshot(state_dir), read_snapshot(tmp_path / "new")
    assert (old.records, old.boundaries, old.texts) == (new.records, new.boundaries, new.texts)


records = st.builds(
    _record,
    st.integers(1, 10**6),
    offset=st.integers(0, 2**63),
    guard=st.binary(max_size=64).map(bytes.hex),
    abandoned_bytes=st.dictionaries(st.sampled_from(["deleted_unread", "truncated_unread"]), st.integers(0, 2**40)),
    is_final=st.booleans(),
)


@given(st.lists(records, unique_by=lambda record: record.source))
def test_what_is_exported_can_be_imported(exported):
    """Every state survives the way through lines of JSON."""
    snapshot = Snapshot(Path("/state"), exported, {}, {"machine": "m", "input web /a": "t", "version": "1"})
    wanted = parse_import(export_lines(snapshot))
    assert [entry.source for entry in wanted.entries] == exported
    assert wanted.header == Header(1, "m", {"input web /a": "t"})


def _lines(*entries: Entry) -> bytes:
    return b"".join(msgspec.json.encode(value) + b"\n" for value in (Header(1, "here"), *entries))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ["nothing to import", "state export"]),
        (b"hello\n", ["line 1", "not the first line"]),
        (b'{"tailer_state":99}\n', ["line 1", "version 99"]),
        (b'{"tailer_state":1,"texts":{"version":"9"}}\n', ["line 1", '"version" is no input']),
        (b'{"tailer_state":1,"texts":{"stream - web":"{}"}}\n', ["line 1", "texts", "`source`"]),
        (_lines() + b'{"source":{"source":1}}\n', ["line 2", "Expected `str`"]),
        (_lines() + b'{"sauce":1}\n', ["line 2", "unknown field"]),
        (_lines(Entry(_record(source="zz"))), ["line 2", '"zz"', "16 hexadecimal"]),
        (_lines(Entry(_record(path="a.log"))), ["line 2", '"a.log"', "path from the root"]),
        (_lines(Entry(_record(offset=-1))), ["line 2", "offset: -1"]),
        (_lines(Entry(_record(guard="xyz"))), ["line 2", "guard"]),
        (_lines(Entry(_record()), Entry(_record())), ["line 3", "comes twice"]),
        (_lines(Entry(_record(), (Boundary(9, 5, 0, 0, ends_line=True),))), ["line 2", "9 to 5"]),
    ],
)
def test_a_wrong_line_imports_nothing(state_dir, text, words):
    """The line's number and what is wrong with it are told, and the state stays as it was."""
    before = read_snapshot(state_dir)
    result = _command("import", "--state-dir", str(state_dir), stdin=text)
    _refused(result, *words)
    assert read_snapshot(state_dir) == before


def test_an_import_never_takes_a_source_back(state_dir):
    """An old export does not make what was acknowledged since be sent again."""
    old = _lines(Entry(_record(1, offset=4)), Entry(_record(3)))
    before = read_snapshot(state_dir)
    _refused(_command("import", "--state-dir", str(state_dir), stdin=old), "at 10 here", "go back")
    stream = '{"source":"00000000000000ff","sequence":5}'
    header = msgspec.json.encode(Header(1, "here", {"stream journal nginx web": stream}))
    _refused(_command("import", "--state-dir", str(state_dir), stdin=header), "journal nginx", "at 7 here", "go back")
    assert read_snapshot(state_dir) == before


def test_an_import_from_another_machine_needs_an_empty_state(state_dir):
    """Which sources were made elsewhere is known per state, so two machines' sources are not mixed."""
    strange = msgspec.json.encode(Header(1, "there")) + b"\n" + msgspec.json.encode(Entry(_record(3))) + b"\n"
    before = read_snapshot(state_dir)
    _refused(_command("import", "--state-dir", str(state_dir), stdin=strange), "there", "empty")
    assert read_snapshot(state_dir) == before


def test_reset_forgets_files_once_it_is_sure(state_dir):
    """Without a terminal it does nothing unless told to do it unasked; then the named files are forgotten, or all."""
    where = ("--state-dir", str(state_dir))
    _refused(_command("reset", "/var/log/1.log", *where), "--yes")
    assert len(read_snapshot(state_dir).records) == 2
    assert _command("reset", "/var/log/1.log", "--yes", *where).returncode == 0
    seen = read_snapshot(state_dir)
    assert ([record.path for record in seen.records], seen.boundaries) == (["/var/log/2.log"], {})
    assert _command("reset", "--all", "--yes", *where).returncode == 0
    assert (read_snapshot(state_dir).records, read_snapshot(state_dir).streams) == ([], [])


def test_reset_says_what_it_needs(state_dir, tmp_path):
    """Neither files nor --all, both of them, an unknown file, a folder without a state: one line each, nothing done."""
    where = ("--yes", "--state-dir", str(state_dir))
    _refused(_command("reset", *where), "--all")
    _refused(_command("reset", "--all", "/var/log/1.log", *where), "--all")
    _refused(_command("reset", "/var/log/1.log", "/var/log/9.log", *where), "/var/log/9.log")
    _refused(_command("reset", "--all", "--yes", "--state-dir", str(tmp_path / "none")), "no state")
    assert len(read_snapshot(state_dir).records) == 2
    assert not (tmp_path / "none").exists()


def test_a_state_in_use_is_shown_and_not_changed(state_dir):
    """Show and export work beside a running tailer; import and reset refuse, naming its pid."""
    exported = _command("export", "--state-dir", str(state_dir)).stdout
    state = State(state_dir)
    try:
        where = ("--state-dir", str(state_dir))
        assert _command("export", *where).stdout == exported
        assert json.loads(_command("show", "--json", *where).stdout)["running_pid"] == os.getpid()
        _refused(_command("import", *where, stdin=exported), f"pid {os.getpid()}", "stop it")
        _refused(_command("reset", "--all", "--yes", *where), f"pid {os.getpid()}", "stop it")
    finally:
        state.close()
    assert len(read_snapshot(state_dir).records) == 2


def test_a_moved_state_goes_on_where_it_was(lab, run, tmp_path):
    """A tailer on an imported state ships the rest of a file and nothing twice; after a reset it ships all again."""

    async def ship(count: int) -> None:
        async with lab.tailer():
            await lab.messages(count)

    lab.append("one\n")
    run(ship(1))
    exported = _command("export", "--state-dir", str(lab.state_dir)).stdout
    lab.state_dir = tmp_path / "moved"
    assert _command("import", "--state-dir", str(lab.state_dir), stdin=exported).returncode == 0
    lab.append("two\n")
    run(ship(2))
    assert run(lab.count()) == 2
    assert _command("reset", str(lab.log), "--yes", "--state-dir", str(lab.state_dir)).returncode == 0
    run(ship(4))
    assert sorted(run(lab.messages(4))) == ["one", "one", "two", "two"]


def test_parsing_raises_before_anything_is_taken():
    """The parser gives all of an import or none."""
    with pytest.raises(Fatal, match="line 4"):
        parse_import([*_lines(Entry(_record(1)), Entry(_record(2))).splitlines(), b"{"])
