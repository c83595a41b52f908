"""Names in the environment that look like misspelt settings."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataplane_emitter import spelling

_PROGRAM = """
    from dataplane_emitter import configure
    for _ in range(2):
        emitter = configure(service="checkout", servers="nats://127.0.0.1:1", exit_timeout_s=0.1)
        print(emitter.config.dataset)
        emitter.close(0)
"""


def test_a_misspelt_name_is_said_once_and_stops_nobody(
    run_program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line per name and process says what, where and what to do, never the value; the application starts."""
    monkeypatch.setenv("DATAPLANE_DATASETT", "hunter2")
    done = run_program(_PROGRAM)
    assert done.stdout == "checkout\ncheckout\n"
    (said,) = [line for line in done.stderr.splitlines() if "DATASETT" in line]
    assert said == (
        "dataplane_emitter: checkout: the environment: DATAPLANE_DATASETT: unknown setting, ignored; "
        "did you mean DATAPLANE_DATASET?"
    )
    assert "hunter2" not in done.stderr


def test_an_emitter_that_keeps_off_stderr_says_nothing(
    run_program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `stderr=False` there is no line."""
    monkeypatch.setenv("DATAPLANE_DATASETT", "x")
    assert run_program(_PROGRAM.replace("exit_timeout_s=0.1", "stderr=False")).stderr == ""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DATAPLANE_SERVCE", "DATAPLANE_SERVICE"),
        ("DATAPLANE_NAMESPCE", "DATAPLANE_NAMESPACE"),
        ("DATAPLANE_NATS_SERVER", "DATAPLANE_NATS__SERVERS"),
        ("DATAPLANE_NATS_SERVERS", "DATAPLANE_NATS__SERVERS"),
        ("DATAPLANE_QUEUE_MAX_EVENTS", "DATAPLANE_QUEUE__MAX_EVENTS"),
        ("DATAPLANE_QUEU__MAX_EVENTS", "DATAPLANE_QUEUE__MAX_EVENTS"),
        ("DATAPLANE_FEILDS__REGION", "DATAPLANE_FIELDS__REGION"),
        ("DATAPLANE_NATS_TLS_CA_FILE", "DATAPLANE_NATS__TLS__CA_FILE"),
    ],
)
def test_the_nearest_setting_is_named(name: str, meant: str) -> None:
    """A name that is nearly a setting's is doubtful, whatever its sections are."""
    assert spelling.doubtful([name]) == {name: meant}


def test_names_of_others_are_nobodys_business() -> None:
    """Settings, names of the product's other programs, and names unlike ours are no doubt's."""
    names = ["SERVICE", "NATS__SERVERS", "NATS__SERVRS", "FIELDS__TEAM", "STACK_DIR", "NATS_USER", "TEST_SERVERS", "X"]
    assert spelling.doubtful([f"DATAPLANE_{name}" for name in names]) == {}
    assert spelling.doubtful(["DATAPLANE_SERVICES\nx"]) == {}


def test_the_command_says_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dataplane-emit` says a misspelt name before its own result, and its exit code stays."""
    monkeypatch.setenv("DATAPLANE_NAMESPAC", "x")
    command = [str(Path(sys.executable).parent / "dataplane-emit"), "--nats", "nats://127.0.0.1:1", "--timeout", "0.1"]
    done = subprocess.run([*command, "x"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    first, second = done.stderr.splitlines()
    assert first == (
        "warning: the environment: DATAPLANE_NAMESPAC: unknown setting, ignored; did you mean DATAPLANE_NAMESPACE?"
    )
    assert second.startswith("error: ")
