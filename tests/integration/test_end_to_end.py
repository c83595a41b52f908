"""The main job on real servers: what is written to a file or logged by a program is searchable, exactly once."""

import re
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def _numbers(plane) -> list[int]:
    return sorted(int(re.fullmatch(r"line (\d+)", document["message"]).group(1)) for document in plane.documents())


def _until(condition, timeout_s=60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.05)


def test_a_file_and_a_program_are_searchable_exactly_once(plane):
    """Lines of a file and records of a program arrive once each, with their envelope, and metrics add up."""
    plane.start_sink()
    plane.start_tailer()
    plane.write_lines(0, 5000)
    plane.wait_for_count(5000)
    assert _numbers(plane) == list(range(5000))
    program = plane.start_program(500, plane.folder / "progress")
    assert program.wait(60) == 0, plane.outputs()
    plane.wait_for_count(5500)
    plane.wait_for_count(1, "metrics")
    from_program = [document for document in plane.documents() if document["service"]["name"] == "program"]
    assert max(document["event"]["sequence"] for document in from_program) >= 500
    assert {document["log"]["level"] for document in from_program} == {"info"}
    points = [document["metric"] for document in plane.documents("metrics")]
    assert sum(point["value"] for point in points if point["name"] == "records") == 500


@pytest.mark.parametrize("victim", ["tailer", "sink"])
def test_a_killed_service_loses_and_doubles_nothing(plane, victim):
    """SIGKILL again and again while lines flow: every line is indexed exactly once."""
    services = {"tailer": plane.start_tailer(), "sink": plane.start_sink()}
    start = {"tailer": plane.start_tailer, "sink": plane.start_sink}
    total, rounds = 60_000, 4
    for round_ in range(rounds):
        before = plane.count()
        plane.write_lines(round_ * total // rounds, total // rounds)
        _until(lambda before=before: plane.count() > before)
        plane.kill(services[victim])
        services[victim] = start[victim]()
    plane.wait_for_count(total)
    assert _numbers(plane) == list(range(total))


def test_a_killed_program_keeps_what_was_acknowledged(plane, tmp_path: Path):
    """What `flush` reported as delivered is indexed exactly once, whatever happens to the program afterwards."""
    plane.start_sink()
    progress = tmp_path / "safe"
    program = plane.start_program(1_000_000, progress)
    _until(lambda: progress.exists() and int(progress.read_text()) >= 500)
    plane.kill(program)
    safe = int(progress.read_text())
    plane.wait_for_count(safe)
    numbers = _numbers(plane)
    assert numbers[:safe] == list(range(safe))
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("way", ["kill", "stop"])
@pytest.mark.parametrize("server", ["nats", "elasticsearch"])
def test_a_restarted_server_loses_and_doubles_nothing(own_plane, own_servers, server, way):
    """Either server ended in mid-flow, by a power cut or in order, and started again: every line exactly once."""
    victim = own_servers[["nats", "elasticsearch"].index(server)]
    own_plane.start_sink()
    own_plane.start_tailer()
    own_plane.write_lines(0, 20_000)
    own_plane.wait_for_count(1)
    getattr(victim, way)()
    own_plane.write_lines(20_000, 20_000)
    victim.start()
    own_plane.write_lines(40_000, 1_000)
    own_plane.wait_for_count(41_000)
    assert _numbers(own_plane) == list(range(41_000))


def test_a_million_lines_are_counted_exactly(plane):
    """`--once` ends with 0 only when every line is acknowledged; Elasticsearch then counts exactly as many."""
    plane.start_sink()
    plane.write_lines(0, 1_000_000)
    options = ("--dataset", plane.dataset, "--namespace", "test", "--nats", plane.nats_url, "--once")
    printed = plane.command("dataplane-tailer", "run", str(plane.log), *options)
    assert '"lines": 1000000' in printed
    plane.wait_for_count(1_000_000, timeout_s=240)
    assert plane.count() == 1_000_000
