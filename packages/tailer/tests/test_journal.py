"""What the tailer promises about the systemd journal.

The journal of a test machine may be empty: what stands in for journalctl prints what that would.
"""

import asyncio
import json

import pytest

from dataplane_common.errors import Fatal
from dataplane_tailer.journal import parse_entry
from dataplane_tailer.pipeline import create
from dataplane_tailer.state import State

JOURNALCTL = """
import json, sys, time
arguments = sys.argv[1:]
start = int(arguments[arguments.index("--after-cursor") + 1][1:]) if "--after-cursor" in arguments else 0
for number in range(start, {total}):
    print(json.dumps({{"__CURSOR": f"c{{number + 1}}", "__REALTIME_TIMESTAMP": str(1_700_000_000_000_000 + number),
                      "MESSAGE": f"entry {{number}}", "PRIORITY": "4", "_SYSTEMD_UNIT": "x.service"}}), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("meanwhile", ["a stop", "a crash", "a move to another host"])
def test_the_journal_goes_on_behind_its_cursor(lab, run, monkeypatch, journalctl, meanwhile):
    """Cursor and sequence are saved together: a restart continues or repeats; another host is a source of its own."""
    config = lab.config_of({"dataset": lab.dataset, "type": "journal"})

    async def work(total: int) -> list[dict]:
        journalctl(JOURNALCTL.format(total=total))
        async with lab.tailer(config) as tailer:
            if meanwhile == "a crash":
                monkeypatch.setattr(tailer.state, "put", lambda *_: None)
            events = await lab.events(total)
            await lab.until(lambda: tailer.streams[0].positions.waiting == 0)
            assert tailer.streams[0].saved.cursor == f"c{total}"
        return events

    run(work(5))
    if meanwhile == "a move to another host":
        state = State(lab.state_dir)
        state.put("machine", "another")
        state.close()
    events = run(work(9))
    assert [event["message"] for event in events] == [f"entry {number}" for number in range(9)]
    sequences = [1, 2, 3, 4, 5, 1, 2, 3, 4] if "another" in meanwhile else [*range(1, 10)]
    assert [event["event"]["sequence"] for event in events] == sequences
    assert events[0]["log"] == {"level": "warning"}
    assert events[0]["@timestamp"] == "2023-11-14T22:13:20.000000Z"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "--output json --all --follow --lines all"),
        ({"start_at": "end"}, "--output json --all --follow --lines 0"),
        ({"units": ["a.service", "b"]}, "--output json --all --follow --lines all --unit a.service --unit b"),
    ],
)
def test_the_journal_is_asked_for_what_the_input_says(lab, run, journalctl, entry, words):
    """Units and start reach journalctl; fields of any size are asked for, and it goes on until it is stopped."""
    journalctl("import json, sys, time; print(json.dumps({'MESSAGE': ' '.join(sys.argv[1:])}))")
    config = lab.config_of({"dataset": lab.dataset, "type": "journal", **entry})

    async def work() -> None:
        tailer = create(config)
        await tailer.start()
        with pytest.raises(Fatal, match="journalctl ended with 0"):
            await tailer.run(asyncio.Event())
        await tailer.close()
        assert await lab.messages(1) == [words]

    run(work())


def test_without_journalctl_there_is_one_line(lab, tmp_path, monkeypatch):
    """A host without systemd says what it lacks."""
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "tailer.toml"
    file.write_text(f'state_dir = "{lab.state_dir}"\n[[inputs]]\ntype = "journal"\ndataset = "x"\n')
    done = lab.command("run", "--config", str(file))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: journalctl: No such file")


@pytest.mark.parametrize(
    ("entry", "fields", "problem"),
    [
        (
            {"MESSAGE": [104, 105, 255], "_PID": "7", "PRIORITY": "3", "_FOO": "x"},
            {"message": "hi\\xff", "process.pid": 7, "log.level": "error", "journal": {"foo": "x"}},
            "",
        ),
        ({"MESSAGE": "a\nb", "CODE_LINE": "9"}, {"message": "a\nb", "log.origin.file.line": 9}, ""),
        ({"MESSAGE": ["one", [116, 119, 111]]}, {"message": "one\ntwo"}, ""),
        ({"MESSAGE": []}, {"message": ""}, ""),
        ({"MESSAGE": None, "BLOB": None}, {"message": "", "journal": {"blob": "(left out)"}}, "left out"),
        ({"UNIT": "a", "_UNIT": "b"}, {"message": "", "journal": {"unit": "b", "unit_": "a"}}, ""),
        ({"_PID": "?", "PRIORITY": "9"}, {"message": "", "journal": {"pid": "?", "priority": "9"}}, ""),
        ({"MESSAGE": [1, 256]}, {"message": "1\n256"}, ""),
    ],
)
def test_journal_entries_become_fields(entry, fields, problem) -> None:
    """Names with a place in ECS move there; bytes, repeated and missing values are shown; `journal` has the rest."""
    parsed = parse_entry(json.dumps({"__CURSOR": "c", "__MONOTONIC_TIMESTAMP": "1", **entry}), "t")
    assert parsed.fields == fields
    assert problem in parsed.problem
    assert bool(parsed.problem) is bool(problem)


@pytest.mark.parametrize("line", ["no", "[1]", "null", '"x"'])
def test_what_is_no_journal_entry_is_kept(line) -> None:
    """A line of another kind is shipped as it is."""
    parsed = parse_entry(line, "t")
    assert (parsed.fields, bool(parsed.problem)) == ({"message": line}, True)
