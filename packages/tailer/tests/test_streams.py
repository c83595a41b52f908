"""What the tailer promises about what is no file: standard input, and the journal."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

from dataplane_tailer.journal import parse_entry


def _options(lab) -> list[str]:
    command = str(Path(sys.executable).parent / "dataplane-tailer")
    return [command, "run", "-", "--dataset", lab.dataset, "--namespace", "test", "--nats", lab.url, "--state-dir",
            str(lab.state_dir)]  # fmt: skip


def test_standard_input_is_shipped_to_its_end(lab, run):
    """A program's output arrives whole, in order, its last line without a newline, too; the exit code says so."""
    text = "".join(f"line {number}\n" for number in range(20_000)) + "last"
    done = subprocess.run(_options(lab), input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    events = run(lab.events(20_001))
    assert [event["message"] for event in events] == [*text.split("\n")]
    assert [event["event"]["sequence"] for event in events] == list(range(1, 20_002))


def test_standard_input_from_a_file_and_again(lab, run):
    """A redirected file works as well; a clean end lets the next run go on with the same source and sequence."""
    lab.append("one\ntwo\n")
    for _ in range(2):
        with lab.log.open() as file:
            assert subprocess.run(_options(lab), stdin=file, timeout=60, check=False).returncode == 0
    events = run(lab.events(4))
    assert [event["message"] for event in events] == ["one", "two", "one", "two"]
    assert len({event["dp"]["source"] for event in events}) == 1


def test_after_a_crash_standard_input_is_a_new_source(lab, run):
    """What a pipe gave is gone with a SIGKILL: no id is ever given to two lines."""
    process = subprocess.Popen(_options(lab), stdin=subprocess.PIPE, text=True)
    process.stdin.write("first\n")
    process.stdin.flush()
    first = run(lab.events(1))
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdin.close()
    subprocess.run(_options(lab), input="second\n", text=True, timeout=60, check=True)
    events = run(lab.events(2))
    assert events[1]["message"] == "second"
    assert events[1]["dp"]["source"] != first[0]["dp"]["source"]


JOURNALCTL = """#!{python}
import json, sys, time
arguments = sys.argv[1:]
start = int(arguments[arguments.index("--after-cursor") + 1][1:]) if "--after-cursor" in arguments else 0
for number in range(start, {total}):
    print(json.dumps({{"__CURSOR": f"c{{number + 1}}", "__REALTIME_TIMESTAMP": str(1_700_000_000_000_000 + number),
                      "MESSAGE": f"entry {{number}}", "PRIORITY": "4", "_SYSTEMD_UNIT": "x.service"}}), flush=True)
time.sleep(600)
"""


def test_the_journal_goes_on_behind_its_cursor(lab, run, monkeypatch):
    """Cursor and sequence are saved together: a restart continues with the same source, and nothing twice."""
    # The journal of a test machine may be empty; what stands in prints what journalctl prints.
    folder = lab.folder / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")  # noqa: TID251 - a test's own
    config = lab.config_of({"dataset": lab.dataset, "type": "journal"})

    async def work(total: int) -> list[dict]:
        command = folder / "journalctl"
        command.write_text(JOURNALCTL.format(python=sys.executable, total=total))
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        async with lab.tailer(config) as tailer:
            events = await lab.events(total)
            await lab.until(lambda: tailer.streams[0].positions.waiting == 0)
            assert tailer.streams[0].saved.cursor == f"c{total}"
        return events

    run(work(5))
    events = run(work(9))
    assert [event["message"] for event in events] == [f"entry {number}" for number in range(9)]
    assert [event["event"]["sequence"] for event in events] == list(range(1, 10))
    assert len({event["dp"]["source"] for event in events}) == 1
    assert events[0]["log"] == {"level": "warning"}
    assert events[0]["@timestamp"] == "2023-11-14T22:13:20.000000Z"


def test_journal_entries_become_fields() -> None:
    """Names with a place in ECS move there; texts that are no UTF-8 stay visible; the rest is under `journal`."""
    parsed = parse_entry(json.dumps({"MESSAGE": [104, 105, 255], "_PID": "7", "PRIORITY": "3", "_FOO": "x"}), "t")
    assert parsed.fields == {"message": "hi\\xff", "process.pid": "7", "log.level": "error", "journal": {"foo": "x"}}
