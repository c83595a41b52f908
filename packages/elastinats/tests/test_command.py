"""The command as a user runs it: one clear line and the right exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOWHERE = "127.0.0.1:9"


def elastinats(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = str(Path(sys.executable).with_name("elastinats"))
    return subprocess.run([command, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", ["run", "setup", "check", "status"])
def test_a_wrong_configuration_is_one_line_and_2(tmp_path, command):
    """An unknown key names file, key and remedy, whichever command reads it."""
    file = tmp_path / "e.toml"
    file.write_text("[batch]\nmax_byte = 1\n")
    done = elastinats(command, "--config", str(file))
    assert done.returncode == 2
    assert done.stderr == f"error: {file}: batch.max_byte: unknown key; did you mean max_bytes?\n"


def test_a_server_that_is_none_is_one_line_and_2():
    """What no server can be reached by is refused before anything waits for it."""
    done = elastinats("check", "--nats", "natz://bus:4222")
    assert done.returncode == 2
    assert done.stderr.startswith('error: the command line: nats.servers.0: "natz://bus:4222" is no server')
    assert done.stderr.count("\n") == 1


def test_overlapping_routes_are_one_line_and_2(tmp_path):
    """Routes that would read an event twice are refused before anything is connected."""
    file = tmp_path / "e.toml"
    file.write_text('[[routes]]\nname="a"\nsubjects=["logs.>"]\n[[routes]]\nname="b"\nsubjects=["logs.x.>"]\n')
    done = elastinats("run", "--config", str(file))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "overlaps" in done.stderr


def test_a_missing_file_is_one_line_and_2():
    """A configuration that is not there is said so."""
    done = elastinats("run", "--config", "/nowhere/e.toml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_telemetry_address_that_is_none_is_one_line_and_2():
    """A bad listen address ends the start."""
    done = elastinats("run", "--listen", "nowhere")
    assert done.returncode == 2
    assert "expected host:port" in done.stderr


def test_check_says_of_each_end_that_nobody_is_there():
    """Both ends are tried, each with a line of its own; the exit code is 1 and there is no traceback."""
    done = elastinats("check", "--json", "--nats", f"nats://{NOWHERE}", "--elasticsearch", f"http://{NOWHERE}")
    assert done.returncode == 1
    findings = json.loads(done.stdout)["findings"]
    assert [(each["what"], each["is_well"]) for each in findings] == [("nats", False), ("elasticsearch", False)]
    assert all("start the server" in each["text"] for each in findings)
    assert done.stderr == ""


@pytest.mark.parametrize("command", [["setup"], ["status"], ["dlq", "list"], ["dlq", "show", "1"]])
def test_an_absent_bus_is_one_line_and_1(command):
    """Commands that need NATS say where they looked and what to do."""
    done = elastinats(*command, "--nats", f"nats://{NOWHERE}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: NATS at nats://{NOWHERE} cannot be reached")
    assert done.stderr.count("\n") == 1


def test_dead_letters_have_to_be_chosen(nats_url):
    """`replay` and `drop` want numbers or `--all`, not nothing."""
    done = elastinats("dlq", "drop", "--nats", nats_url)
    assert done.returncode == 2
    assert "--all" in done.stderr


def test_an_unknown_dead_letter_is_one_line_and_1(nats_url):
    """A number that is not there is said so."""
    done = elastinats("dlq", "show", "999999", "--nats", nats_url)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("command", [[], ["run"], ["setup"], ["check"], ["status"], ["dlq"], ["dlq", "replay"]])
def test_help_is_there(command):
    """Each command explains itself."""
    done = elastinats(*command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
