"""The command as a user types it: what it says, and how it ends."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataplane_common.local import NatsServer, free_port

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_status_of_a_stack_that_never_ran(run: Run, stack_dir: Path) -> None:
    """Everything is stopped, nothing is made on the way, and the exit code says that it is not well."""
    done = run("status")
    assert done.returncode == 1
    assert done.stdout.count("stopped") == 4
    assert not stack_dir.exists()


def test_status_sees_a_server_of_the_stack(run: Run, stack_dir: Path) -> None:
    """What runs in the stack's folder is found with its version, its address and its health."""
    server = NatsServer(stack_dir / "nats", port=free_port().number)
    server.start()
    try:
        report: dict[str, Any] = json.loads(run("status", "--json").stdout)
        nats = next(each for each in report["components"] if each["name"] == "nats")
        assert (nats["state"], nats["health"], nats["url"]) == ("running", "healthy", server.url)
        assert nats["pid"] == server.process.pid
        assert run("down").returncode == 0
        assert not server.is_running
    finally:
        server.clear()


def test_down_and_clean_without_a_stack_are_fine(run: Run, stack_dir: Path) -> None:
    """What is not there needs no stopping and no removing."""
    for arguments in (["down"], ["clean", "--yes"]):
        assert run(*arguments).returncode == 0
    assert not stack_dir.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["search", "x", "--since", "10x"], 2, "--since"),
        (["search", "x", "--dataset", "No-Such"], 2, 'try "no_such"'),
        (["search", "x", "--elasticsearch", "localhost"], 2, "expected a URL"),
        (["search", "x", "--elasticsearch", "http://127.0.0.1:1"], 1, "cannot be reached"),
        (["tap", "logs..x"], 2, "expected tokens"),
        (["up", "--stack", "cloud"], 2, "cloud"),
        (["no-such-command"], 2, "no-such-command"),
    ],
)
def test_bad_input_is_a_clear_line_and_an_exit_code(run: Run, arguments: list[str], code: int, says: str) -> None:
    """What, where, what to do; never a traceback, and nothing on stdout that a script would read."""
    done = run(*arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_help_shows_examples(run: Run) -> None:
    """Each command explains itself."""
    assert "dataplane search 'timeout' --since 10m" in run("search", "--help").stdout
    assert "native" in run("up", "--help").stdout
    assert run("--version").stdout.startswith("dataplane ")
