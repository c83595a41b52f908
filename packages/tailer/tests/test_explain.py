"""What `explain` promises: the reason why a file is or is not read is the one that the tailer acts on."""

import gzip
import json
import os
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from dataplane_tailer import config as configuration
from dataplane_tailer.evidence import Evidence, gather
from dataplane_tailer.explain import explain
from dataplane_tailer.identity import guard_of, head_of
from dataplane_tailer.snapshot import Snapshot
from dataplane_tailer.state import SourceRecord

TEXT = b"a line of a log\n" * 200


@pytest.fixture
def config(tmp_path):
    """Two inputs: logs without temporary ones, and one file from its end."""
    return configuration.load(
        None,
        {
            "state_dir": str(tmp_path / "state"),
            "inputs": [
                {"paths": [f"{tmp_path}/**/*.log"], "exclude": ["*.tmp.log", f"{tmp_path}/old/*"], "dataset": "web"},
                {"paths": [f"{tmp_path}/end.txt"], "dataset": "end", "start_at": "end"},
            ],
        },
    )


@pytest.fixture
def log(tmp_path):
    """A file that the first input matches."""
    path = tmp_path / "app.log"
    path.write_bytes(TEXT)
    return path


def _record(path: Path, offset: int, **changes) -> SourceRecord:
    descriptor = os.open(path, os.O_RDONLY)
    seen, head, guard = os.fstat(descriptor), head_of(descriptor), guard_of(descriptor, offset).hex()
    os.close(descriptor)
    values = {"source": "00000000000000aa", "path": str(path), "log_path": str(path), "dataset": "web", "guard": guard}
    values |= {"device": seen.st_dev, "inode": seen.st_ino, "head": head}
    return SourceRecord(**{**values, "offset": offset, "size_seen": seen.st_size, **changes})


def _ask(path: Path, config=None, *records: SourceRecord, holder: int | None = None, texts=None):
    snapshot = Snapshot(Path("/state"), list(records), texts=texts or {}, holder=holder)
    explanation = explain(gather(str(path), config, snapshot))
    return explanation.verdict, " | ".join(explanation.lines)


def test_a_new_file_is_read_from_its_first_byte(log, config):
    """It will be a new source; without a running tailer, at the next start."""
    verdict, text = _ask(log, config)
    assert verdict == "will be read"
    assert "new source" in text
    assert "byte 0" in text
    assert '**/*.log" matches' in text
    assert f"inode {log.stat().st_ino}" in text
    assert "known: no" in text


def test_an_old_file_is_left_alone(log, config):
    """What nobody has written to for long is not begun where the input says so, and the reason is named."""
    entry = msgspec.structs.replace(config.inputs[0], ignore_older_s=3600)
    config = msgspec.structs.replace(config, inputs=(entry,))
    assert _ask(log, config)[0] == "will be read"
    os.utime(log, (time.time() - 7200,) * 2)
    verdict, text = _ask(log, config)
    assert verdict == "not read"
    assert "ignore_older_s = 3600" in text


def test_only_the_first_start_reads_from_the_end(tmp_path, config):
    """`start_at = "end"` counts until the input has been looked at once."""
    path = tmp_path / "end.txt"
    path.write_bytes(TEXT)
    assert "its end" in _ask(path, config)[1]
    assert "byte 0" in _ask(path, config, texts={f"input end {path}": "2026"})[1]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("app.txt", "no input's paths match"),
        ("a.tmp.log", 'exclude "*.tmp.log" of input web stops it'),
        ("old/a.log", "/old/*"),
    ],
)
def test_a_pattern_or_an_exclude_stops_a_file(tmp_path, config, name, reason):
    """The one that stops it is named."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(TEXT)
    verdict, text = _ask(path, config)
    assert verdict == "not read"
    assert reason in text


def test_what_is_no_regular_file_is_never_opened(tmp_path, config):
    """A folder, a pipe, a dangling link, a circle of links, a missing file: each has its reason."""
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "folder.log").mkdir()
    (tmp_path / "dangling.log").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.log").symlink_to(tmp_path / "loop.log")
    for name, reason in (
        ("pipe.log", "pipe"),
        ("folder.log", "folder"),
        ("dangling.log", "leads nowhere"),
        ("loop.log", "circle"),
        ("missing.log", "once it appears"),
    ):
        verdict, text = _ask(tmp_path / name, config)
        assert (verdict, reason in text) == ("not read", True), text
    assert "appears" not in _ask(tmp_path / "missing.txt", config)[1]


def test_a_forbidden_file_has_its_mode_and_the_remedy(lab, tmp_path):
    """Who may not read it sees the mode, the owner and what to do; root is held to the mode for this."""
    path = tmp_path / "app.log"
    path.write_bytes(TEXT)
    path.chmod(0o000)
    file = tmp_path / "tailer.toml"
    file.write_text(f'state_dir = "{tmp_path}/state"\n[[inputs]]\npaths = ["{tmp_path}/*.log"]\ndataset = "web"\n')
    result = lab.command("explain", str(path), "--config", str(file), without_privileges=True)
    assert result.returncode == 0, result.stderr
    assert ": not read" in result.stdout
    assert "Permission denied (mode 0000" in result.stdout
    assert "adm" in result.stdout


def test_a_chain_of_links_is_shown_and_its_end_is_read_once(tmp_path, log, config):
    """Content that has several names is read under one of them."""
    (tmp_path / "b.log").symlink_to(log)
    (tmp_path / "c.log").symlink_to(tmp_path / "b.log")
    verdict, text = _ask(tmp_path / "c.log", config)
    assert verdict == "will be read"
    assert f"{tmp_path}/c.log → {tmp_path}/b.log → {log}" in text
    assert f"under the name {log}" in text


def test_a_known_file_goes_on_at_its_checkpoint(log, config):
    """By its inode, whether a tailer runs or not."""
    verdict, text = _ask(log, config, _record(log, 160), holder=7)
    assert verdict == "read"
    assert "goes on at byte 160" in text
    assert f"{len(TEXT) - 160:,} bytes are not acknowledged" in text
    assert "next rescan" in text
    assert _ask(log, config, _record(log, 160))[0] == "will be read"


def test_a_file_that_is_done_says_so(log, config):
    """All bytes acknowledged, followed still; or final."""
    assert "bytes are acknowledged" in _ask(log, config, _record(log, len(TEXT)), holder=7)[1]
    verdict, text = _ask(log, config, _record(log, len(TEXT), is_final=True))
    assert verdict == "finished"
    assert "only if it grows" in text


def test_a_file_written_anew_is_a_new_source(log, config):
    """Its inode is known, and its content is another: the old rest is lost, and the number of bytes is told."""
    record = _record(log, 160)
    log.write_bytes(b"something else entirely\n" * 50)
    verdict, text = _ask(log, config, record)
    assert verdict == "will be read"
    assert "written anew" in text
    assert f"{len(TEXT) - 160:,} bytes" in text


def test_a_copy_of_a_living_file_is_held_back(tmp_path, log, config):
    """Its content is shipped under the original's name; under a name of its own it may be another program's."""
    for name, rest in (("app.1.log", "only if it grows"), ("copy.log", "a log of its own")):
        copy = Path(shutil.copy(log, tmp_path / name))
        verdict, text = _ask(copy, config, _record(log, 160))
        assert verdict == "held back"
        assert str(log) in text
        assert rest in text


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_copy_of_a_file_that_is_gone_goes_on_under_its_source(tmp_path, log, suffix):
    """Copied, or compressed: content decides."""
    config = configuration.load(None, {"inputs": [{"paths": [f"{tmp_path}/copy*"], "dataset": "web"}]})
    record = _record(log, 160)
    copy = tmp_path / f"copy.log{suffix}"
    copy.write_bytes(gzip.compress(TEXT) if suffix else TEXT)
    log.unlink()
    verdict, text = _ask(copy, config, record)
    assert verdict == "will be read"
    assert f"that of source {record.source}" in text
    assert ("compressed" in text) is bool(suffix)


def test_a_damaged_archive_is_named(tmp_path):
    """What cannot be unpacked is not read, and the reason is told."""
    config = configuration.load(None, {"inputs": [{"paths": [f"{tmp_path}/*.gz"], "dataset": "web"}]})
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(TEXT)[:-12])
    verdict, text = _ask(path, config)
    assert verdict == "not read"
    assert "cannot be unpacked" in text


def test_a_rotated_file_outside_the_patterns_is_still_followed(tmp_path, log, config):
    """A rename out of the pattern ends nothing: the rest is read."""
    record = _record(log, 160)
    moved = log.rename(tmp_path / "app.log.1")
    verdict, text = _ask(moved, config, record, holder=7)
    assert verdict == "read"
    assert f"what became of {log}" in text


def test_an_empty_file_is_a_source_with_nothing_to_send(tmp_path, config):
    """It is read, and there is nothing yet."""
    path = tmp_path / "empty.log"
    path.touch()
    verdict, text = _ask(path, config)
    assert verdict == "will be read"
    assert "empty" in text


def test_without_a_configuration_the_state_speaks_alone(log):
    """What the inputs say is then not known, and said to be so."""
    verdict, text = _ask(log, None, _record(log, 160))
    assert verdict == "will be read"
    assert "no configuration was given" in text


def test_deciding_needs_no_disk():
    """The decision is a function of the evidence alone."""
    evidence = Evidence("/nowhere/a.log", "folder")
    assert explain(evidence) == explain(evidence)
    assert explain(evidence).verdict == "not read"


def test_the_command_agrees_with_the_tailer(lab, run):
    """For a file that was shipped it shows the source and the checkpoint that the events have."""

    async def work():
        lab.append("one\ntwo\n")
        async with lab.tailer():
            return await lab.events(2)

    source = run(work())[0]["dp"]["source"]
    result = lab.command("explain", str(lab.log), "--state-dir", str(lab.state_dir), "--json")
    report = json.loads(result.stdout)
    assert (report["verdict"], report["kin"][0]["record"]["source"]) == ("will be read", source)
    assert report["kin"][0]["record"]["offset"] == 8
