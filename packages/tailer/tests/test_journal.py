"""What the tailer promises about the systemd journal.

The journal of a test machine may be empty: what stands in for journalctl prints what that would.
"""

import json
import time
from pathlib import Path

import msgspec
import pytest

from dataplane_common.retry import Backoff
from dataplane_tailer.journal import parse_entry
from dataplane_tailer.serve import not_ready
from dataplane_tailer.snapshot import read_snapshot
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

SAY_ARGUMENTS = """
import json, os, sys, time
print(json.dumps({"MESSAGE": " ".join(sys.argv[1:]), "_PID": os.getpid()}), flush=True)
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
    assert set(run(lab.replays())) == {"1"}  # any of them may have come before
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
    """Units and start reach journalctl; fields of any size are asked for, and it goes on until the tailer stops it."""
    journalctl(SAY_ARGUMENTS)
    config = lab.config_of({"dataset": lab.dataset, "type": "journal", **entry})

    async def work() -> None:
        async with lab.tailer(config):
            (event,) = await lab.events(1)
        assert event["message"] == words
        assert not Path(f"/proc/{event['process']['pid']}").exists()

    run(work())


def test_without_journalctl_there_is_one_line(lab, tmp_path, monkeypatch):
    """A host without systemd says what it lacks."""
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "tailer.toml"
    file.write_text(f'state_dir = "{lab.state_dir}"\n[[inputs]]\ntype = "journal"\ndataset = "x"\n')
    done = lab.command("run", "--config", str(file))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: journalctl: No such file")


def test_a_journalctl_that_dies_is_started_again(lab, run, journalctl):
    """It goes on behind the last entry; half an entry is none; status and /readyz say why, other inputs go on."""
    journalctl(
        f"""
import json, os, sys
arguments = sys.argv[1:]
start = int(arguments[arguments.index("--after-cursor") + 1]) if "--after-cursor" in arguments else 0
if start == 4 and not os.path.exists({str(lab.folder / "go")!r}):
    sys.exit(3)
for number in range(start, start + 2):
    print(json.dumps({{"__CURSOR": str(number + 1), "MESSAGE": f"entry {{number}}"}}), flush=True)
print('{{"__CURSOR": "9', end="", flush=True)
if start == 4:
    import time
    time.sleep(600)
""",
    )
    entries = [{"dataset": lab.dataset, "type": "journal"}, {"dataset": lab.dataset, "paths": [str(lab.log)]}]
    config = lab.config_of(entries[0], {"linger_ms": 5})
    config = msgspec.structs.replace(config, inputs=(*config.inputs, *lab.config_of(entries[1]).inputs))

    async def work() -> list[dict]:
        async with lab.tailer(config) as tailer:
            await lab.until(lambda: "ended with 3" in tailer.streams[0].saved.last_error)
            assert "ended with 3" in not_ready(tailer)[0]
            tailer.streams[0].save()
            assert "ended with 3" in read_snapshot(lab.state_dir).streams[0].last_error
            lab.append("a line\n")
            await lab.events(5)
            (lab.folder / "go").touch()
            await lab.events(7)
            assert not_ready(tailer) == []
            return await lab.everything()

    events = run(work())
    journal = [event for event in events if event["message"] != "a line"]
    assert [event["message"] for event in journal] == [f"entry {number}" for number in range(6)]
    assert [event["event"]["sequence"] for event in journal] == list(range(1, 7))


def test_a_journalctl_that_is_away_for_a_while(lab, run, tmp_path, monkeypatch, journalctl):
    """While it is replaced nothing stops; where no entry has come yet, those since the start are asked for."""
    monkeypatch.setattr("dataplane_tailer.stream._BACKOFF", Backoff(initial_s=0.05, max_s=0.1))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))  # that of this machine is not meant
    journalctl("import os; os.unlink(__file__)")
    config = lab.config_of({"dataset": lab.dataset, "type": "journal", "start_at": "end"})

    async def work() -> None:
        started_at = int(time.time())
        async with lab.tailer(config) as tailer:
            await lab.until(lambda: "install systemd" in tailer.streams[0].saved.last_error)
            began_at = int(time.time())
            journalctl(SAY_ARGUMENTS)
            (words,) = await lab.messages(1)
        since = words.removeprefix("--output json --all --follow --since @")
        assert started_at <= int(since) <= began_at

    run(work())


def test_an_entry_of_any_length_arrives_in_pieces(lab, run, journalctl):
    """What no message can hold is split and marked, and what comes behind it goes on; its cursor is passed."""
    journalctl(
        """
import json, time
for cursor, text in (("a", "x" * 3_000_000), ("b", "short"), ("c", "\\x01" * 400_000)):
    print(json.dumps({"__CURSOR": cursor, "MESSAGE": text}), flush=True)
time.sleep(600)
""",
    )
    config = lab.config_of({"dataset": lab.dataset, "type": "journal"})

    async def work() -> list[dict]:
        async with lab.tailer(config) as tailer:
            await lab.until(lambda: tailer.streams[0].saved.cursor == "c")
            return await lab.everything()

    events = run(work())
    assert [event["event"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    whole = [event["message"] for event in events if "tags" not in event]
    assert whole == ["short"]
    pieces = [event for event in events if event.get("tags") == ["split_line"]]
    assert len(pieces) == len(events) - 1
    first = [event["message"] for event in pieces if event["event"]["sequence"] < events[-1]["event"]["sequence"]]
    assert "".join(first).count("x") >= 3_000_000
    assert sum(event["message"].count("\\u0001") for event in pieces) >= 399_000  # each is six bytes: some lie in two
    assert len({event["_id"] for event in events}) == len(events)
    assert events[0]["_id"].endswith("-1.1")


def test_an_entry_whose_pieces_were_cut_off_ends_with_them(lab, run, monkeypatch, journalctl):
    """A journalctl that dies within a long entry: the next one's first entry is not taken for the rest of that."""
    monkeypatch.setattr("dataplane_tailer.stream._BACKOFF", Backoff(initial_s=0.05, max_s=0.1))
    monkeypatch.setattr("dataplane_tailer.journal._LONGEST_ENTRY_BYTES", 1000)
    (lab.folder / "long").touch()
    journalctl(
        f"""
import os, sys, time
if os.path.exists({str(lab.folder / "long")!r}):
    sys.stdout.write("x" * 2500)
    sys.stdout.flush()
    os.unlink({str(lab.folder / "long")!r})
    sys.exit(1)
print('{{"MESSAGE": "short"}}', flush=True)
time.sleep(600)
""",
    )

    async def work() -> None:
        async with lab.tailer(lab.config_of({"dataset": lab.dataset, "type": "journal"})):
            events = await lab.events(3)
        assert [event["message"] for event in events] == ["x" * 1000, "x" * 1000, "short"]
        assert "tags" not in events[2]

    run(work())


def test_what_became_too_large_is_cut_again(own_nats, lab, run, journalctl):
    """The server takes less after a restart: frames are halved, one event is shortened and says so; nothing stalls."""
    lab.url = own_nats.url
    journalctl(
        f"""
import json, os, sys, time
while not os.path.exists({str(lab.folder / "go")!r}):
    time.sleep(0.01)
for number in range(200):
    text = "x" * (100_000 if number == 50 else 1_000)
    print(json.dumps({{"__CURSOR": str(number), "MESSAGE": f"{{number}} {{text}}"}}))
sys.stdout.flush()
time.sleep(600)
""",
    )
    config = lab.config_of({"dataset": lab.dataset, "type": "journal"}, {"compression": "none"})

    async def work() -> list[dict]:
        async with lab.tailer(config) as tailer:
            stream = tailer.streams[0]
            stream.reader.is_repeatable = False  # that what is cut is a re-send is said of standard input, too
            own_nats.stop()
            (lab.folder / "go").touch()
            await lab.until(lambda: stream.account().in_flight == 200)
            own_nats.max_payload_bytes = 32 * 1024
            own_nats.start()
            await lab.until(lambda: stream.saved.cursor == "199")
            assert "1" in await lab.replays()
            return await lab.everything()

    events = sorted(run(work()), key=lambda event: event["event"]["sequence"])
    assert [event["event"]["sequence"] for event in events] == list(range(1, 201))
    assert [event["message"].split()[0] for event in events] == [str(number) for number in range(200)]
    assert [event["event"].get("original_size", 0) > 100_000 for event in events] == [n == 50 for n in range(200)]
    assert events[50]["tags"] == ["truncated"]
    assert len(events[50]["message"]) > 15_000


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
