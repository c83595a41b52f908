"""The README's examples run as printed."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunProgram = Callable[..., Any]
_README = Path(__file__).parent.parent / "README.md"
_EXAMPLES = re.findall(r"```python\n(.*?)```", _README.read_text(), re.DOTALL)


def _example(word: str) -> str:
    return next(example for example in _EXAMPLES if word in example)


def test_there_are_examples() -> None:
    """The README shows logging, structlog, dictConfig, loguru, secrets, limits, metrics and testing."""
    assert len(_EXAMPLES) >= 7


def test_the_ten_lines_run_as_printed(own_bus: Any, run_program: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first example, as it is, brings a log event, a count and a time onto a real server."""
    monkeypatch.setenv("DATAPLANE_NATS__SERVERS", own_bus.url)
    first = _EXAMPLES[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= 10
    done = run_program(first)
    assert "dataplane_emitter" not in done.stderr
    (event,) = own_bus.events("checkout")
    assert (event["message"], event["amount"], event["log"]["level"]) == ("order 4711 paid", 59.9, "warning")
    points = {point["metric"]["name"]: point for point in own_bus.events("checkout", "METRICS")}
    assert points["orders"]["metric"]["value"] == 1
    assert points["orders"]["labels"] == {"shop": "de"}
    assert points["payment"]["metric"]["count"] == 1


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_other_ways_to_log_run_as_printed(
    own_bus: Any, run_program: RunProgram, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Structlog, dictConfig and loguru bring the same event."""
    monkeypatch.setenv("DATAPLANE_NATS__SERVERS", own_bus.url)
    run_program(_EXAMPLES[number])
    (event,) = own_bus.events("checkout")
    assert (event["message"], event["order"], event["amount"]) == ("order paid", 4711, 59.9)


def test_the_secrets_stay_as_printed(own_bus: Any, run_program: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of redaction masks what it says."""
    monkeypatch.setenv("DATAPLANE_NATS__SERVERS", own_bus.url)
    run_program(_example("redact="))
    (event,) = own_bus.events("checkout")
    assert (event["message"], event["mail"], event["pin"]) == ("customer *** paid", "…@example.net", "***")


def test_the_limits_hold_as_printed(own_bus: Any, run_program: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of limits passes a burst and accounts for all the rest."""
    monkeypatch.setenv("DATAPLANE_NATS__SERVERS", own_bus.url)
    run_program(_example("limits="))
    events = own_bus.events("checkout")
    suppressed = sum(event["event"].get("suppressed", 0) for event in events)
    assert suppressed + sum(event["message"] == "stock is low" for event in events) == 5000


def test_the_spool_runs_as_printed(own_bus: Any, run_program: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of a spool logs as any other while the bus is there."""
    monkeypatch.setenv("DATAPLANE_NATS__SERVERS", own_bus.url)
    assert run_program(_example("spool=")).stdout == "0\n"
    assert [event["message"] for event in own_bus.events("checkout")] == ["order paid"]


def test_the_stats_are_told_as_printed(own_bus: Any, run_program: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of `stats` accounts for its one event."""
    monkeypatch.setenv("DATAPLANE_NATS__SERVERS", own_bus.url)
    assert run_program(_example("stats.in_flight")).stdout == "True 1 0 0 {} \n"


def test_the_shell_examples_run_as_printed(own_bus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls of `dataplane-emit` end with 0, and their events are there."""
    monkeypatch.setenv("DATAPLANE_NATS__SERVERS", own_bus.url)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    (script,) = re.findall(r"```sh\n(.*?)```", _README.read_text(), re.DOTALL)
    subprocess.run(["/bin/sh", "-e", "-c", script], check=True, timeout=60, cwd=tmp_path)
    assert [event["message"] for event in own_bus.events("backup")] == ["finished", "one event per line"]
    assert [point["metric"]["value"] for point in own_bus.events("backup", "METRICS")] == [93.5]


def test_the_metrics_run_as_printed(own_bus: Any, run_program: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of metric in the README makes its document."""
    monkeypatch.setenv("DATAPLANE_NATS__SERVERS", own_bus.url)
    run_program(_example("quote") + "\nimport asyncio\nasyncio.run(quote())\n")
    points = {point["metric"]["name"]: point for point in own_bus.events("checkout", "METRICS")}
    assert points.keys() == {"pool_connections", "cart_size", "hits", "quote"}
    assert points["cart_size"]["labels"] == {"region": "eu", "shop": "de"}


def test_the_test_example_passes(run_program: RunProgram) -> None:
    """The example of a test is a test that passes."""
    run_program(_example("capture_events") + "\ntest_an_order_is_logged_and_counted()\n")
    run_program(_example("faulty_bus") + "\ntest_orders_go_on_while_the_bus_is_stalled()\n")
