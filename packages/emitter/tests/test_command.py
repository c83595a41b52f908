"""`dataplane-emit` as a shell calls it: what arrives, and what its exit code says."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataplane_common.errors import ConfigError
from dataplane_common.local import free_port
from dataplane_emitter import emit

Run = Callable[..., "subprocess.CompletedProcess[str]"]
_COMMAND = str(Path(sys.executable).parent / "dataplane-emit")
AWAY = "nats://127.0.0.1:1"


@pytest.fixture
def run(dataset: str) -> Run:
    """Run the installed command for the test's dataset."""

    def run(*arguments: str, nats: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
        command = [_COMMAND, "--dataset", dataset, "--namespace", "test", "--nats", nats, *arguments]
        return subprocess.run(command, input=text or "", capture_output=True, text=True, timeout=60, check=False)

    return run


def test_a_message_with_fields_is_acknowledged(bus: Any, run: Run, dataset: str) -> None:
    """Exit code 0 means stored: message, level and fields, with numbers and flags as such; nothing is printed."""
    words = ["finished", "size_bytes=123", "ratio=0.5", "ok=true", 'id="007"', "disk=sda", "note=a=b c"]
    done = run("--level", "warning", *words, nats=bus.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (event,) = bus.events(dataset)
    assert (event["message"], event["log"]["level"], event["service"]["name"]) == ("finished", "warning", dataset)
    fields = {name: event[name] for name in ("size_bytes", "ratio", "ok", "id", "disk", "note")}
    assert fields == {"size_bytes": 123, "ratio": 0.5, "ok": True, "id": "007", "disk": "sda", "note": "a=b c"}
    assert bus.accounts(dataset)[-1].final


def test_standard_input_is_sent_line_by_line(bus: Any, run: Run, dataset: str) -> None:
    """Each line is an event, in order, with the given fields; more lines than the queue holds lose nothing."""
    total = 150_000
    lines = "\n".join(f"line {number}" if number else "\ufffd und ü" for number in range(total)) + "\n\n"
    done = run("job=nightly", nats=bus.url, text=lines)
    assert (done.returncode, done.stderr) == (0, "")
    events = bus.events(dataset)
    assert [event["message"] for event in events] == lines.splitlines()[:total]
    assert {event["job"] for event in events} == {"nightly"}


def test_metrics_are_sent(bus: Any, run: Run, dataset: str) -> None:
    """Metrics have their type, unit and labels, and no log event is made."""
    done = run(
        "--metric", "size=123", "--metric", "took=1.5", "--type", "gauge", "--unit", "By", "disk=sda", nats=bus.url
    )
    assert (done.returncode, done.stderr) == (0, "")
    stored = bus.events(dataset, "METRICS")
    assert len(stored) == 2
    points = {point["metric"]["name"]: point for point in stored}
    assert {name: point["metric"]["value"] for name, point in points.items()} == {"size": 123, "took": 1.5}
    assert points["size"]["metric"]["type"] == "gauge"
    assert points["size"]["labels"] == {"disk": "sda"}
    assert bus.events(dataset) == []


def test_without_a_bus_the_exit_code_says_so(end_before: Callable[..., Any]) -> None:
    """Not acknowledged in time is 3, with one line that says how many and why, and what to do; in the time given."""
    command = [_COMMAND, "--nats", AWAY, "--timeout"]
    done, output, errors = end_before([*command, "0.5", "finished"], [*command, "60", "finished"])
    assert (done.returncode, output) == (3, "")
    assert errors == (
        "error: 1 of 1 events were not acknowledged within 0.5 s: connection refused; "
        "start the server, or name another one (--nats, DATAPLANE_NATS__SERVERS)\n"
    )


def test_endless_input_ends_when_the_bus_takes_nothing(dataset: str) -> None:
    """A pipe that never ends is left with 3 once the queue is full and the bus has been away for the time-out."""
    command = [_COMMAND, "--dataset", dataset, "--nats", AWAY, "--timeout", "1"]
    with subprocess.Popen(["/usr/bin/yes"], stdout=subprocess.PIPE) as endless:
        done = subprocess.run(command, stdin=endless.stdout, capture_output=True, text=True, timeout=60, check=False)
        endless.kill()
    assert done.returncode == 3
    assert "events were not acknowledged" in done.stderr


def test_with_a_spool_the_next_call_delivers(bus: Any, run: Run, dataset: str, tmp_path: Path) -> None:
    """What waits on disk is not called delivered; the next call sends it."""
    spool = str(tmp_path / "spool")
    done = run("--spool", spool, "--timeout", "0.5", "first", nats=f"nats://127.0.0.1:{free_port().number}")
    assert done.returncode == 3
    assert f"1 of 1 events wait in {spool}, not acknowledged: " in done.stderr
    assert run("--spool", spool, "second", nats=bus.url).returncode == 0
    assert {event["message"] for event in bus.events(dataset)} == {"first", "second"}
    assert list(Path(spool).iterdir()) == []


def test_a_denied_subject_is_a_failure(make_bus: Callable[..., Any], run: Run) -> None:
    """What the server forbids is 1, with the reason."""
    users = 'users: [{user: u, password: u, permissions: {publish: {deny: ["logs.>"]}}}]'
    denying = make_bus(user="u", extra=f"authorization {{ {users} }}")
    done = run("finished", nats=denying.url)
    assert done.returncode == 1
    assert done.stderr.startswith("error: 1 of 1 events were refused: denied 1; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "b"], '"b": there is a message already'),
        (["--level", "loud", "a"], '--level: "loud" is no level'),
        (["--metric", "x"], '--metric: "x" is no metric'),
        (["--metric", "x=true"], '--metric: "x=true" is no metric'),
        (["--type", "sum", "--metric", "x=1"], '--type: "sum" is no type of metric'),
        (["--namespace", "a b", "x"], "namespace"),
        (["--config", "/nowhere.toml", "x"], "/nowhere.toml: cannot read"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(run: Run, arguments: list[str], words: str) -> None:
    """A wrong call is 2, with one line that names the value and the remedy."""
    done = run(*arguments, nats=AWAY)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_at_a_terminal_nothing_to_send_is_said(dataset: str) -> None:
    """Called without anything at a terminal, it does not wait for lines."""
    leader, follower = pty.openpty()
    done = subprocess.run(
        [_COMMAND, "--dataset", dataset], stdin=follower, capture_output=True, timeout=30, check=False
    )
    os.close(leader)
    os.close(follower)
    assert done.returncode == 2
    assert b"there is nothing to send" in done.stderr


def test_help_has_examples() -> None:
    """`--help` shows how it is called."""
    done = subprocess.run([_COMMAND, "--help"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert "size_bytes=123" in done.stdout


def test_without_typer_one_line_says_what_to_install(run_program: Callable[..., Any]) -> None:
    """Where only the library is installed, the command names its extra."""
    program = """
        import sys
        sys.modules["typer"] = None
        from dataplane_emitter.command import main
        main()
    """
    done = run_program(program, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: typer is missing: install dataplane-emitter[command]\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-1.5e3", -1500.0), ("01", "01"), ("true", True), ("null", None), ('"1"', "1"), ('"', '"'), ("", "")],
)
def test_values_are_read_as_json_has_them(text: str, value: object) -> None:
    """Numbers, flags and quoted texts are what they look like; everything else stays a text."""
    assert emit.read_value(text) == value


def test_a_message_may_look_like_a_field() -> None:
    """`--message` takes what would be read as a field otherwise; a second message is refused."""
    assert emit.split_words(["a=1"], "rc=0") == ("rc=0", {"a": 1})
    with pytest.raises(ConfigError):
        emit.split_words(["again"], "rc=0")
