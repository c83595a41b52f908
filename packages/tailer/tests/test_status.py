"""What `status` promises: it tells what is known of each file, and the tailer that it looks at does not notice."""

import asyncio
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_tailer.config import DeliveryConfig
from dataplane_tailer.health import ask, read_reasons
from dataplane_tailer.sight import Sight
from dataplane_tailer.snapshot import Snapshot, read_snapshot
from dataplane_tailer.state import SourceRecord, State
from dataplane_tailer.status import View, rows, update
from dataplane_tailer.status_command import duration
from dataplane_tailer.trend import Look, Trend

NOW = 1_000_000.0
SOURCE = "00000000000000aa"


def _record(path: str = "/var/log/a.log", **changes) -> SourceRecord:
    values = {"source": SOURCE, "path": path, "log_path": path, "dataset": "web", "device": 1, "inode": 2}
    return SourceRecord(**{**values, **changes})


def _view(record: SourceRecord, sight: Sight | None, *, holder: int | None = 7, at: float = NOW, **changes) -> View:
    sights = {} if sight is None else {record.source: sight}
    return View(at, Snapshot(Path("/state"), [record], holder=holder), sights, **changes)


def _row(view: View, trends: dict[str, Trend] | None = None, delivery: DeliveryConfig | None = None):
    [row] = rows(view, trends or {}, delivery or DeliveryConfig())
    return row


SEEN = Sight("/var/log/a.log", 100, written_at=NOW - 1)


@pytest.mark.parametrize(
    ("record", "sight", "holder", "state"),
    [
        (_record(offset=100), SEEN, 7, "following"),
        (_record(offset=50), Sight("/var/log/a.log", 100, written_at=NOW - 3600), 7, "following"),
        (_record(offset=100), Sight("/var/log/a.log", 100, written_at=NOW - 3600), 7, "idle"),
        (_record(offset=100), SEEN, None, "stopped"),
        (_record(offset=100), Sight("/var/log/a.log.1", 100, written_at=NOW), 7, "rotated"),
        (_record(offset=50), Sight(None, 100, is_held=True), 7, "deleted-held"),
        (_record(offset=50), Sight(None, 100), None, "lost"),
        (_record(offset=200), SEEN, 7, "truncated"),
        (_record(), Sight("/var/log/a.log", 100, is_readable=False), 7, "refused"),
        (_record(is_final=True), None, 7, "finished"),
    ],
)
def test_each_state_has_its_name(record, sight, holder, state):
    """The state follows from the checkpoint, from what the disk shows and from whether a tailer runs."""
    assert _row(_view(record, sight, holder=holder)).state == state


def test_a_file_that_the_running_tailer_refuses_has_its_reason():
    """What /readyz says about a file is shown beside it."""
    row = _row(_view(_record(), SEEN, refused={"/var/log/a.log": "Permission denied"}))
    assert (row.state, row.last_error) == ("refused", "Permission denied")


def _trends(*looks: tuple[float, int, int]) -> dict[str, Trend]:
    trend = Trend()
    for look_ in looks:
        trend.add(Look(*look_))
    return {SOURCE: trend}


def test_the_lag_in_seconds_is_the_age_of_the_oldest_byte_that_waits():
    """Known from earlier looks, else estimated by the rate of writing, else at least the time since the last write."""
    assert _trends((NOW - 9, 50, 50), (NOW, 100, 50))[SOURCE].lag_s(NOW) == 9
    assert _trends((NOW - 1, 90, 50), (NOW, 100, 50))[SOURCE].lag_s(NOW) == 5
    assert _trends((NOW - 1, 100, 50), (NOW, 100, 50))[SOURCE].lag_s(NOW - 60) == 60
    assert _trends((NOW - 1, 90, 50), (NOW, 100, 100))[SOURCE].lag_s(NOW - 60) == 0


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=100))
def test_rates_and_lags_are_never_negative(looks):
    """Whatever a file does between looks (truncation included), no figure is below zero."""
    trend = Trend()
    for at, (size, offset) in enumerate(looks):
        trend.add(Look(float(at), size, min(size, offset)))
    assert min(trend.grown_bytes_s, trend.acknowledged_bytes_s, trend.lag_s(0.0)) >= 0


DELETED = Sight(None, 100, changed_at=NOW - 600, is_held=True, free_bytes=1_000)


def test_nothing_that_has_a_name_or_is_acknowledged_can_be_lost():
    """A file that can still be opened has no time to loss, nor has one whose bytes are all acknowledged."""
    assert _row(_view(_record(offset=50), SEEN)).time_to_loss_s is None
    assert _row(_view(_record(offset=100), DELETED)).time_to_loss_s is None


def test_the_time_to_loss_is_the_hold_policys_age_bytes_or_the_disks_room():
    """The first of the three limits that is passed at this rate counts."""
    view, aged = _view(_record(offset=50), DELETED), DeliveryConfig(hold_deleted_s=3_600)
    assert _row(view, delivery=aged).time_to_loss_s == 3_000
    growing = _trends((NOW - 10, 0, 50), (NOW, 100, 50))
    assert _row(view, growing, DeliveryConfig(hold_deleted_bytes=600)).time_to_loss_s == 50
    assert _row(view, growing, aged).time_to_loss_s == 100


def test_what_is_acknowledged_in_time_is_not_lost():
    """A backlog that drains before the limit has no time to loss."""
    draining = _trends((NOW - 10, 100, 0), (NOW, 100, 50))
    assert _row(_view(_record(offset=50), DELETED), draining).time_to_loss_s is None
    assert _row(_view(_record(offset=50), DELETED), draining, DeliveryConfig(hold_deleted_s=605)).time_to_loss_s == 5


def test_what_is_gone_and_unread_is_lost_now():
    """Without a tailer that holds it, an unread rest is lost at once, and a finished one is not."""
    assert _row(_view(_record(offset=50), Sight(None, 100), holder=None)).time_to_loss_s == 0
    assert _row(_view(_record(offset=100), Sight(None, 100), holder=None)).time_to_loss_s is None


def test_trends_are_kept_for_what_is_there_only():
    """A long watch does not remember every source that ever was."""
    trends: dict[str, Trend] = {}
    update(trends, _view(_record(), SEEN))
    assert trends.keys() == {SOURCE}
    update(trends, _view(_record(is_final=True), None))
    assert trends == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "now"), (12, "12 s"), (300, "5 min"), (9_000, "2.5 h"), (864_000, "10.0 d")],
)
def test_times_read_as_a_person_says_them(seconds, text):
    """A table has no figures to be divided in the head."""
    assert duration(seconds) == text


@pytest.fixture
def telemetry():
    """An address on which /readyz gives two reasons."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"reasons": ["bus: refused", "/var/log/a: b.log: Permission denied"]}).encode()
            self.send_response(503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_running_tailer_is_asked_what_troubles_it(telemetry):
    """Reasons about files are kept apart from the others; no address is no trouble, no answer is one."""
    health = ask(telemetry)
    assert (health.answers, health.troubles) == (True, ("bus: refused",))
    assert health.refused == {"/var/log/a": "b.log: Permission denied"}
    assert ask(None).answers is None
    silent = ask("127.0.0.1:1")
    assert (silent.answers, len(silent.troubles)) == (False, 1)
    assert read_reasons([]).troubles == ()


def _status(lab, *options: str) -> dict:
    result = lab.command("status", "--state-dir", str(lab.state_dir), "--json", *options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_status_of_a_running_tailer(lab, run):
    """It shows each file with its checkpoint; a deleted one that is held open is told from one that has a name."""

    async def work():
        lab.append("one\ntwo\n")
        lab.append("other\n", lab.folder / "app.log.other")
        delivery = {"close_rotated_after_ms": 60_000}
        async with lab.tailer(lab.config(delivery=delivery)) as tailer:
            await lab.messages(3)
            (lab.folder / "app.log.other").unlink()

            def is_saved():
                seen = read_snapshot(lab.state_dir)
                return sorted(record.offset for record in seen.records) == [6, 8]

            await lab.until(is_saved)
            report = await asyncio.to_thread(_status, lab)
            lab.append("three\n")
            await lab.messages(4)
            assert len(tailer.tracker.files) == 2
        assert (report["running"], report["pid"]) == (True, os.getpid())
        by_name = {Path(row["file"]).name: row for row in report["files"]}
        assert by_name["app.log"]["state"] == "following"
        assert (by_name["app.log"]["offset"], by_name["app.log"]["size"], by_name["app.log"]["lag_bytes"]) == (8, 8, 0)
        assert by_name["app.log.other"]["state"] == "deleted-held"
        assert by_name["app.log.other"]["time_to_loss_s"] is None
        assert all(record.last_at for record in read_snapshot(lab.state_dir).records)

    run(work())


def test_status_of_a_stopped_tailer(lab, run):
    """What was written since is the lag; a file that went away unread is lost now."""

    async def work():
        lab.append("one\n")
        lab.append("other\n", lab.folder / "app.log.other")
        async with lab.tailer():
            await lab.messages(2)

    run(work())
    lab.append("two\n")
    report = _status(lab)
    [row] = [row for row in report["files"] if row["file"] == str(lab.log)]
    assert (report["running"], row["state"], row["lag_bytes"]) == (False, "stopped", 4)
    with (lab.folder / "app.log.other").open("ab"):
        (lab.folder / "app.log.other").unlink()
    [row] = [row for row in _status(lab)["files"] if row["file"].endswith("other")]
    assert (row["state"], row["last_error"]) == ("lost", "no longer there")


def test_a_table_in_a_pipe_is_one_line_a_file(lab, run):
    """Without a terminal nothing is folded or coloured, and brackets in names are no markup."""

    async def work():
        lab.append("one\n", lab.folder / "app.log.[red]x")
        async with lab.tailer():
            await lab.messages(1)

    run(work())
    result = lab.command("status", "--state-dir", str(lab.state_dir))
    [line] = [line for line in result.stdout.splitlines() if "app.log.[red]x" in line]
    assert str(lab.folder / "app.log.[red]x") in line
    assert "stopped" in line
    assert "\x1b" not in result.stdout


def test_files_that_nobody_has_read_are_shown_with_a_configuration(lab, tmp_path):
    """A file that an input matches and no source is made of yet is new."""
    State(lab.state_dir).close()
    lab.append("one\n")
    config = tmp_path / "tailer.toml"
    config.write_text(
        f'state_dir = "{lab.state_dir}"\n[[inputs]]\npaths = ["{lab.folder}/*.log"]\ndataset = "{lab.dataset}"\n'
    )
    result = lab.command("status", "--config", str(config), "--json")
    [row] = json.loads(result.stdout)["files"]
    assert (row["state"], row["lag_bytes"], row["source"]) == ("new", 4, "")


def test_standard_input_and_the_journal_are_shown_beside_files():
    """A source that is no file has its events counted; it has no offsets."""
    texts = {"stream - web": '{"source":"00000000000000ff","sequence":7}', "stream journal web": ""}
    view = View(NOW, Snapshot(Path("/state"), [], texts=texts, holder=7), {})
    [row] = rows(view, {}, DeliveryConfig())
    assert (row.file, row.source, row.dataset, row.state, row.sequence) == ("-", f"{255:016x}", "web", "following", 7)


def test_watch_looks_again_until_it_is_interrupted(lab):
    """Each second one report; an interrupt ends it cleanly."""
    State(lab.state_dir).close()
    process = lab.spawn("status", "--state-dir", str(lab.state_dir), "--watch", "--json")
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(2)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert [json.loads(line)["running"] for line in lines] == [False, False]


def test_without_a_state_there_is_one_line(lab):
    """A folder that no tailer has used is named."""
    result = lab.command("status", "--state-dir", str(lab.folder))
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {lab.folder}: ")
    assert len(result.stderr.splitlines()) == 1


def test_status_prints_help_with_an_example(lab):
    """`--help` shows how it is used."""
    result = lab.command("status", "--help")
    assert "--watch" in result.stdout
    assert "Examples" in result.stdout
