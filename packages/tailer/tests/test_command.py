"""What the command promises: exit codes that tell the truth, and one clear line for every mistake."""

import gzip
import json

import pytest


def _clean_failure(result, code: int, *words: str) -> None:
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_once_ends_cleanly_only_with_everything_acknowledged(lab, run):
    """`--once` ships what is there, unterminated last line included, and says how much; again, it ships nothing."""
    lab.append("a\nb\nc")
    options = ("run", str(lab.log), "--dataset", lab.dataset, "--namespace", "test", "--nats", lab.url, "--once",
               "--state-dir", str(lab.state_dir))  # fmt: skip
    first, second = lab.command(*options), lab.command(*options)
    assert (first.returncode, json.loads(first.stdout)["lines"]) == (0, 3), first.stderr
    assert (second.returncode, json.loads(second.stdout)["lines"]) == (0, 0), second.stderr
    assert run(lab.messages(3)) == ["a", "b", "c"]


CONFIG = """
namespace = "prod"
[nats]
servers = ["nats://127.0.0.1:1"]
connect_timeout_s = 0.5
[[inputs]]
paths = ["/tmp/none/*.log"]
dataset = "web"
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('namespace = "prod"', 'namespase = "prod"', ["namespase", "did you mean namespace"]),
        ("[nats]", "[nats]\nservrs = []", ["nats.servrs", "did you mean servers"]),
        ('dataset = "web"', 'dataset = "Web-1"', ["inputs.0.dataset", 'try "web_1"']),
        ('namespace = "prod"', "namespace = 3", ["namespace", "expected `str`"]),
        ('dataset = "web"', 'dataset = "web"\nparser = "xml"', ["inputs.0.parser", "json"]),
        ('paths = ["/tmp/none/*.log"]', 'paths = ["x.log"]', ["inputs.0.paths", "relative"]),
        ('dataset = "web"', "", ["inputs.0.dataset", "required"]),
        ("nats://127.0.0.1:1", "nats//bus", ['nats.servers.0: "nats//bus"', "give nats://HOST:PORT"]),
        ("[nats]", "[nats", ["not valid TOML"]),
    ],
)
def test_a_wrong_configuration_is_one_line_and_exit_code_2(lab, tmp_path, old, new, words):
    """The line names the file, the key, the wrong value and the remedy."""
    file = tmp_path / "tailer.toml"
    file.write_text(CONFIG.replace(old, new))
    _clean_failure(lab.command("run", "--config", str(file)), 2, str(file), *words)
    _clean_failure(lab.command("check", "--config", str(file)), 2, *words)


def test_a_missing_configuration_is_one_line(lab):
    """A file that is not there is named."""
    _clean_failure(lab.command("run", "--config", "/nowhere/tailer.toml"), 2, "/nowhere/tailer.toml", "No such file")


def test_a_bus_that_is_away_is_one_line(lab):
    """A one-off run gives up with the address and the remedy; `check` says the same."""
    lab.append("x\n")
    options = ("--dataset", "d", "--nats", "nats://127.0.0.1:1", "--once", "--state-dir", str(lab.state_dir))
    _clean_failure(lab.command("run", str(lab.log), *options), 1, "127.0.0.1:1", "start the server")


def test_check_says_what_would_happen(lab, tmp_path):
    """`check` shows the effective configuration and findings, and fails where the bus is away."""
    file = tmp_path / "tailer.toml"
    file.write_text(CONFIG)
    result = lab.command("check", "--config", str(file), "--json")
    report = json.loads(result.stdout)
    assert result.returncode == 1
    assert report["config"]["delivery"]["linger_ms"] == 100
    assert {finding["level"] for finding in report["findings"]} == {"warning", "error"}


def test_no_file_is_one_line(lab):
    """A pattern that matches nothing is an error for a one-off run."""
    options = ("--dataset", "d", "--nats", lab.url, "--once", "--state-dir", str(lab.state_dir))
    _clean_failure(lab.command("run", str(lab.folder / "nothing*"), *options), 1, "no file matches")


def test_a_forbidden_file_is_one_line(lab):
    """A file that may not be read is named, with the remedy; root is held to the file's mode for this."""
    lab.append("secret\n")
    lab.log.chmod(0o000)
    options = ("--dataset", "d", "--nats", lab.url, "--once", "--state-dir", str(lab.state_dir))
    result = lab.command("run", str(lab.log), *options, without_privileges=True)
    _clean_failure(result, 1, str(lab.log), "Permission denied")


def test_once_ships_compressed_files_to_their_end(lab, run):
    """A one-off run waits until everything compressed is unpacked, and counts its lines."""
    for number in range(3):
        lines = "".join(f"{number} {line}\n" for line in range(1000))
        (lab.folder / f"app.log.{number}.gz").write_bytes(gzip.compress(lines.encode()))
    options = ("--dataset", lab.dataset, "--nats", lab.url, "--state-dir", str(lab.state_dir), "--namespace", "test")
    done = lab.command("run", str(lab.folder / "app.log*"), "--once", *options)
    assert done.returncode == 0, done.stderr
    assert '"lines": 3000' in done.stdout
    assert run(lab.count()) == 3000
