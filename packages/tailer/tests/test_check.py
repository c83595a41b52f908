"""What `check` promises: it warns before any loss, and each warning says what to do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.bus.streams import load_streams
from dataplane_tailer import config as configuration
from dataplane_tailer.check_bus import judge_max_payload, judge_stream
from dataplane_tailer.check_host import (
    check_state_dir,
    count_folders,
    count_inotify,
    descriptor_limit,
    file_system,
    inotify_limits,
    judge_descriptors,
    judge_file_system,
    judge_instances,
    judge_watches,
)
from dataplane_tailer.check_rotation import check_rotation, find_writers, judge_rules
from dataplane_tailer.discover import find
from dataplane_tailer.logrotate import Block, read_rules, statements

DEBIAN = """\
# see "man logrotate" for details
weekly
rotate 4
create
#dateext
include /etc/logrotate.d
"""
NGINX = """\
/var/log/nginx/*.log {
	daily
	missingok
	rotate 14
	compress
	delaycompress
	sharedscripts
	prerotate
		if [ -d /etc/logrotate.d/httpd-prerotate ]; then { run-parts /etc/logrotate.d/httpd-prerotate; }; fi
	endscript
	postrotate
		invoke-rc.d nginx rotate >/dev/null 2>&1
		/bin/echo copytruncate } /var/log/app/a.log {
	endscript
}
"""
VENDOR = """\
"/var/log/app/a log.log" /var/log/app/*.log
/var/log/vendor/deep.log{
    copytruncate   # the vendor cannot reopen
    olddir ../archive
    rotate 0 }
"""


@pytest.fixture
def root(tmp_path):
    """A host's root with a logrotate configuration as Debian has it."""
    folder = tmp_path / "root" / "etc" / "logrotate.d"
    folder.mkdir(parents=True)
    (folder.parent / "logrotate.conf").write_text(DEBIAN)
    (folder / "nginx").write_text(NGINX)
    (folder / "vendor").write_text(VENDOR)
    (folder / "vendor.dpkg-old").write_text("/var/log/old.log { copytruncate }")
    return tmp_path / "root"


def test_logrotates_syntax_is_read_as_logrotate_reads_it(root):
    """Scripts, comments, quotes, several patterns, includes; names that are taboo are passed over."""
    nginx, vendor = read_rules(root)
    assert nginx.patterns == ("/var/log/nginx/*.log",)
    assert (nginx.options.copytruncate, nginx.options.rotate, nginx.options.olddir) == (False, 14, "")
    assert (nginx.options.compress, nginx.options.delaycompress) == (True, True)
    assert nginx.place == "/etc/logrotate.d/nginx:1"
    assert vendor.patterns == ("/var/log/app/a log.log", "/var/log/app/*.log", "/var/log/vendor/deep.log")
    assert (vendor.options.copytruncate, vendor.options.rotate, vendor.options.olddir) == (True, 0, "../archive")
    assert vendor.concerns("/var/log/app/a log.log")
    assert not vendor.concerns("/var/log/app/deeper/x.log")


def test_options_outside_of_blocks_hold_for_the_blocks_behind_them(tmp_path):
    """A global copytruncate counts, a block may take it back."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "logrotate.conf").write_text(
        "/a.log {\n}\ncopytruncate\n/b.log {\n}\n/c.log {\n nocopytruncate\n}\ninclude /etc/logrotate.conf\n"
    )
    by_pattern = {rule.patterns[0]: rule.options.copytruncate for rule in reversed(read_rules(tmp_path))}
    assert by_pattern == {"/a.log": False, "/b.log": True, "/c.log": False}


def test_without_logrotate_there_are_no_rules(tmp_path):
    """A host without it, or with an empty configuration, gives no findings."""
    assert read_rules(tmp_path) == []


@given(st.text(alphabet="/a*{}\"\\# \n'copytruncatepostrotateendscript", max_size=200))
def test_any_text_is_read_to_its_end(text):
    """Whatever stands in the file, reading it ends and raises nothing; blocks have patterns that were written."""
    for statement in statements(text):
        assert isinstance(statement, Block) or statement


def _config(paths: list[str]):
    return configuration.load(None, {"inputs": [{"paths": paths, "dataset": "web"}]})


def _about(findings) -> str:
    return " | ".join(f"{finding.level} {finding.about}: {finding.text}" for finding in findings)


def test_copytruncate_is_warned_of_for_files_that_are_shipped(root):
    """The warning names the rule's place and the remedy; rotation by rename is no finding."""
    inputs = _config(["/var/log/**/*.log"]).inputs
    rules = read_rules(root)
    text = _about(judge_rules(rules, ["/var/log/app/x.log"], list(inputs)))
    assert "warning /var/log/app/x.log: logrotate copies and truncates it (/etc/logrotate.d/vendor:2)" in text
    assert "rotate 0" in text
    assert "`create`" in text
    assert judge_rules(rules, ["/var/log/nginx/access.log", "/srv/other.log"], list(inputs)) == []


def test_a_folder_for_old_files_must_be_one_that_is_looked_at(root):
    """`olddir` outside the inputs hides the rest of a file; inside them it does not."""
    rules = read_rules(root)
    outside = _about(judge_rules(rules, ["/var/log/app/x.log"], list(_config(["/var/log/app/*.log"]).inputs)))
    assert "/var/log/archive" in outside
    assert "which no input matches" in outside
    inside = _about(judge_rules(rules, ["/var/log/app/x.log"], list(_config(["/var/log/**/*.log*"]).inputs)))
    assert "which no input matches" not in inside


def _writer(path: Path, flags: str) -> "subprocess.Popen[bytes]":
    program = f"import os, sys\nos.open(sys.argv[1], {flags})\nprint('open', flush=True)\nsys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"open\n"
    return process


@pytest.mark.parametrize(
    ("flags", "warned"),
    [("os.O_WRONLY", True), ("os.O_RDWR", True), ("os.O_WRONLY | os.O_APPEND", False), ("os.O_RDONLY", False)],
)
def test_a_writer_without_append_is_named(tmp_path, flags, warned):
    """Of the processes that have a file open, those that write without O_APPEND are told by name and pid."""
    path = tmp_path / "app.log"
    path.touch()
    config = _config([str(tmp_path / "*.log")])
    process = _writer(path, flags)
    try:
        text = _about(check_rotation(find(config.inputs), config.inputs, tmp_path))
    finally:
        process.communicate()
    assert (f"(pid {process.pid}) writes it without O_APPEND" in text) is warned
    assert find_writers(find(config.inputs)) == []


def test_more_files_than_descriptors_are_warned_of():
    """The limit is compared with the files that match and the room for all else."""
    assert judge_descriptors(10, 1024) == []
    assert judge_descriptors(100_000, -1) == []
    [finding] = judge_descriptors(1000, 1024)
    assert "LimitNOFILE=2256" in finding.text


def test_the_limit_that_counts_is_the_running_tailers(tmp_path):
    """A unit's limit differs from a shell's."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "limits").write_text("Max open files            77              4096              files\n")
    assert descriptor_limit(7, tmp_path) == 77
    assert descriptor_limit(8, tmp_path) == descriptor_limit(None)


def test_inotify_limits_are_warned_of(tmp_path):
    """Too few watches or instances mean that changes are seen late."""
    folder = tmp_path / "sys" / "fs" / "inotify"
    folder.mkdir(parents=True)
    (folder / "max_user_watches").write_text("8\n")
    assert inotify_limits(tmp_path) == (8, None)
    assert judge_watches(7, 8) == []
    assert "max_user_watches=400" in _about(judge_watches(100, 8))
    assert judge_watches(100, None) == []
    assert judge_instances(1, 128) == []
    assert "max_user_instances=512" in _about(judge_instances(128, 128))
    assert count_inotify() >= 0


def test_folders_are_counted_as_deep_as_they_are_watched(tmp_path):
    """A watch is needed for each folder below, if any pattern goes below."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert count_folders({str(tmp_path): False}) == 1
    assert count_folders({str(tmp_path): True}) == 3


MOUNTS = ["/dev/sda1 / ext4 rw 0 0", "tmpfs /run tmpfs rw 0 0", r"nas:/x /mnt/my\040disk nfs4 rw 0 0", "garbage"]


@pytest.mark.parametrize(
    ("path", "kind", "word"),
    [
        ("/var/lib/x", "ext4", None),
        ("/run/x", "tmpfs", "reboot"),
        ("/running", "ext4", None),
        ("/mnt/my disk/x", "nfs4", "local folder"),
    ],
)
def test_the_state_belongs_on_a_local_disk(path, kind, word):
    """Memory forgets, and remote file systems cannot share memory; the longest mount above a path counts."""
    assert file_system(path, MOUNTS) == kind
    findings = judge_file_system(Path(path), kind)
    assert (word in _about(findings)) if word else (findings == [])


def test_a_state_dir_that_cannot_be_made_is_an_error(tmp_path):
    """What is in the way is named."""
    (tmp_path / "file").touch()
    [finding] = check_state_dir(tmp_path / "file" / "state")
    assert (finding.level, str(tmp_path / "file") in finding.text) == ("error", True)
    assert [finding.level for finding in check_state_dir(tmp_path / "new" / "state")] in ([], ["warning"])
    assert not (tmp_path / "new").exists()


def _stream(**config) -> str:
    good = {**load_streams()[0].as_api(), **config}
    return _about(judge_stream({"config": good, "state": {"messages": 3, "bytes": 950}}))


@pytest.mark.parametrize(
    ("config", "level", "word"),
    [
        ({"no_ack": True}, "error", "no_ack"),
        ({"sealed": True}, "error", "sealed"),
        ({"retention": "workqueue"}, "warning", "workqueue"),
        ({"max_age": 3_600_000_000_000}, "warning", "1.0 hours"),
        ({"storage": "memory"}, "warning", "memory"),
        ({"max_msg_size": 1000}, "warning", "max_msg_size"),
        ({"max_msgs_per_subject": 5}, "warning", "max_msgs_per_subject"),
        ({"duplicate_window": 1_000_000_000}, "warning", "duplicate_window"),
        ({"max_bytes": 1000}, "warning", "95% full: its oldest"),
        ({"max_bytes": 1000, "discard": "new"}, "warning", "95% full and refuses"),
    ],
)
def test_a_stream_that_would_lose_messages_is_warned_of(config, level, word):
    """Each setting that loses messages, or acknowledges none, is told with the remedy; our own streams are well."""
    found = _stream(**config)
    assert f"{level} stream LOGS: " in found
    assert word in found
    assert "warning" not in _stream()
    assert "keeps 72 hours and 21,474,836,480 bytes" in _stream()


def test_small_messages_are_warned_of():
    """Below a full frame of 256 KiB the server's limit costs speed and splits lines."""
    assert [finding.level for finding in judge_max_payload(256 * 1024)] == ["ok"]
    [finding] = judge_max_payload(64 * 1024)
    assert (finding.level, "max_payload" in finding.text) == ("warning", True)


def test_the_command_warns_of_all_of_it(lab, tmp_path, root):
    """On real servers: a file under copytruncate, and a dataset and a ledger that streams take; exit code 0."""
    lab.append("one\n")
    (root / "etc" / "logrotate.d" / "lab").write_text(f"{lab.folder}/*.log {{\n copytruncate\n rotate 2\n}}\n")
    file = tmp_path / "tailer.toml"
    file.write_text(
        f'namespace = "test"\nstate_dir = "{lab.state_dir}"\n[nats]\nservers = ["{lab.url}"]\n'
        f'[[inputs]]\npaths = ["{lab.folder}/*.log"]\ndataset = "{lab.dataset}"\n'
    )
    result = lab.command("check", "--config", str(file), "--root", str(root), "--json")
    assert result.returncode == 0, result.stderr
    findings = json.loads(result.stdout)["findings"]
    assert [finding["about"] for finding in findings if "copies and truncates" in finding["text"]] == [str(lab.log)]
    stored = [finding["text"] for finding in findings if "is stored in stream" in finding["text"]]
    assert stored == ["is stored in stream LOGS", "is stored in stream LEDGER"]
    assert [finding["about"] for finding in findings if finding["text"].startswith("keeps ")] == [
        "stream LOGS",
        "stream LEDGER",
    ]
    assert not lab.state_dir.exists()
    plain = lab.command("check", "--config", str(file), "--root", str(root))
    assert "warning" in plain.stdout
    assert "\x1b" not in plain.stdout


def test_an_input_whose_files_another_has_says_so(tmp_path, lab):
    """The first input that matches a file ships it; the second one is told why it has none."""
    (tmp_path / "a.log").touch()
    file = tmp_path / "tailer.toml"
    entry = f'[[inputs]]\npaths = ["{tmp_path}/%s"]\ndataset = "web"\n'
    file.write_text(f'[nats]\nservers = ["{lab.url}"]\n' + entry % "*.log" + entry % "a.log")
    result = lab.command("check", "--config", str(file), "--json")
    assert "an earlier input has all files" in result.stdout
