"""What a SIGKILL at any step leaves behind: nothing lost, and one content for each id.

Flows in: a fault point, that is, a function and the number of its call at which the process kills itself. Flows out:
the same lines, after the next start, as if nothing had happened.
"""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

#: Runs the command with one function wrapped: SIGKILL before or after its n-th call.
DRIVER = """
import functools, importlib, inspect, os, sys
place, when, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
module, owner, name = place.split(":")
holder = importlib.import_module(module)
holder = getattr(holder, owner) if owner else holder
original, calls = getattr(holder, name), [0]
def die():
    os.kill(os.getpid(), 9)
def is_it():
    calls[0] += 1
    return calls[0] == count
if inspect.iscoroutinefunction(original):
    @functools.wraps(original)
    async def wrapped(*args, **kwargs):
        now = is_it()
        if now and when == "before":
            die()
        result = await original(*args, **kwargs)
        if now:
            die()
        return result
else:
    @functools.wraps(original)
    def wrapped(*args, **kwargs):
        now = is_it()
        if now and when == "before":
            die()
        result = original(*args, **kwargs)
        if now:
            die()
        return result
setattr(holder, name, wrapped)
sys.argv[1:4] = []
from dataplane_tailer.cli import main
main()
"""

STATE, SHIP, BUS = "dataplane_tailer.state:State", "dataplane_tailer.ship:Shipper", "dataplane_common.bus:Publisher"
TRACKER, OPENER = "dataplane_tailer.tracker:Tracker", "dataplane_tailer.opening:Opener"
POINTS = [
    *[(f"{STATE}:save", when, n) for when in ("before", "after") for n in (1, 2)],
    *[(f"{STATE}:add_boundary", when, n) for when in ("before", "after") for n in (1, 4)],
    (f"{STATE}:_drop_boundaries", "after", 1),
    *[(f"{BUS}:publish", when, n) for when in ("before", "after") for n in (1, 3, 30)],
    *[(f"{BUS}:_settle", when, n) for when in ("before", "after") for n in (1, 20)],
    (f"{SHIP}:_on_settled", "before", 4),
    *[(f"{SHIP}:_extend_lease", when, 2) for when in ("before", "after")],
    *[(f"{OPENER}:_new_record", when, 2) for when in ("before", "after")],
    (f"{OPENER}:_start", "after", 2),
    ("dataplane_tailer.pipeline:Tailer:_save_checkpoints", "before", 1),
    ("dataplane_tailer.pipeline:Tailer:close", "before", 1),
]


def _write(lab) -> list[str]:
    """Write two files: whole lines, lines above the limit, and an end without a newline; return the whole lines."""
    lines = [f"{number:05d} " + "x" * (number % 90) for number in range(3000)]
    lab.append("".join(f"{line}\n" for line in lines[:1500]), lab.folder / "app.log.1")
    lab.append("".join(f"{line}\n" for line in lines[1500:]))
    lab.append("long " + "y" * 1000 + "\n" + "end", lab.log)
    return lines


def _config(lab, tmp_path: Path) -> Path:
    file = tmp_path / "tailer.toml"
    file.write_text(
        f'namespace = "test"\nhost = "host-1"\nstate_dir = "{lab.state_dir}"\n[nats]\nservers = ["{lab.url}"]\n'
        "[delivery]\nmax_line_bytes = 256\nidle_flush_ms = 100\nlinger_ms = 1\nrescan_ms = 100\ngrace_s = 5\n"
        f'[[inputs]]\npaths = ["{lab.folder}/app.log*"]\ndataset = "{lab.dataset}"\n'
    )
    return file


def _run(lab, tmp_path: Path, point: tuple[str, str, int]) -> int:
    """Run until the fault, or as long as it may take to come by; return the exit code."""
    place, when, count = point
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    process = subprocess.Popen(
        [sys.executable, str(driver), place, when, str(count), "run", "--config", str(_config(lab, tmp_path))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        process.communicate(timeout=4 if place.endswith("close") else 60)  # all is done long before
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # the points on the way out
        process.communicate(timeout=60)
    return process.returncode


def _check(events: list[dict], lines: list[str]) -> None:
    whole = [event["message"] for event in events if "tags" not in event and event["message"] != "end"]
    assert sorted(whole) == lines
    pieces = [event["message"] for event in events if "split_line" in event.get("tags", [])]
    assert "".join(pieces) == "long " + "y" * 1000
    assert [event["message"] for event in events].count("end") == 1
    for source in {event["dp"]["source"] for event in events}:
        sequences = sorted(event["event"]["sequence"] for event in events if event["dp"]["source"] == source)
        assert sequences == list(range(1, len(sequences) + 1))


@pytest.mark.parametrize("point", POINTS, ids=lambda point: "-".join(map(str, point)).rpartition(":")[2])
def test_killed_at_a_fault_point(lab, run, tmp_path, point):
    """Whatever the step, the next start ships what is missing and repeats only the same content under the same id."""
    lines = _write(lab)
    assert _run(lab, tmp_path, point) == -signal.SIGKILL, "the fault point was never reached"
    _finish(lab, run, tmp_path, lines)


def _finish(lab, run, tmp_path, lines) -> None:
    again = lab.command("run", "--config", str(_config(lab, tmp_path)), "--once")
    assert again.returncode == 0, again.stderr
    _check(run(lab.everything()), lines)


@pytest.mark.parametrize("point", [POINTS[0], (f"{BUS}:publish", "after", 3), (f"{STATE}:save", "after", 2)])
def test_killed_at_a_fault_point_and_rotated_meanwhile(lab, run, tmp_path, point):
    """A rotation by copy between the crash and the next start changes nothing."""
    lines = _write(lab)
    assert _run(lab, tmp_path, point) == -signal.SIGKILL, "the fault point was never reached"
    (lab.folder / "app.log.1").rename(lab.folder / "app.log.2")
    shutil.copy(lab.log, lab.folder / "app.log.1")
    lab.log.write_text("")
    _finish(lab, run, tmp_path, lines)


@pytest.mark.parametrize("point", [(f"{BUS}:publish", "after", 2), (f"{SHIP}:_on_settled", "after", 2)])
def test_killed_again_and_again(lab, run, tmp_path, point):
    """Crashes in a row add up to nothing."""
    lines = _write(lab)
    for _ in range(3):
        _run(lab, tmp_path, point)
    _finish(lab, run, tmp_path, lines)
