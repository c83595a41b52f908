"""The stack's folder, its files, its screen, its choice of servers; nothing is started."""

import contextlib
import io
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from dataplane import agents, backlog, docker, servers, settings, summary
from dataplane.folder import StackFile, StackFolder, current
from dataplane.screen import Screen
from dataplane.servers import Log
from dataplane_common.errors import Fatal
from dataplane_common.local import NatsServer

STACK = StackFile(kind="native", nats_url="nats://127.0.0.1:1", elasticsearch_url="http://127.0.0.1:2")


def test_every_command_finds_the_stack(stack_dir: Path) -> None:
    """What `up` wrote is what the other commands ask, without an option."""
    folder = StackFolder(stack_dir)
    with folder.locked():
        folder.write(STACK)
    assert folder.read() == STACK
    found = settings.load()
    assert found.nats.servers == ("nats://127.0.0.1:1",)
    assert found.elasticsearch.hosts == ("http://127.0.0.1:2",)


def test_the_environment_goes_before_the_stack(stack_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names a server means it, also while a local stack runs; keys that only the sink knows do no harm."""
    stack_dir.mkdir()
    StackFolder(stack_dir).write(STACK)
    monkeypatch.setenv("DATAPLANE_ELASTICSEARCH__HOSTS", "http://a:1,http://b:2")
    monkeypatch.setenv("DATAPLANE_ELASTICSEARCH__REQUEST_TIMEOUT_S", "5")
    assert settings.load().elasticsearch.hosts == ("http://a:1", "http://b:2")


def test_clear_removes_only_what_the_stack_made(stack_dir: Path) -> None:
    """A stack's folder that was set to something precious keeps what is precious."""
    folder = StackFolder(stack_dir)
    with folder.locked():
        folder.write(STACK)
    (folder.part("nats") / "data").mkdir(parents=True)
    (stack_dir / "thesis.txt").write_text("mine")
    folder.clear()
    assert [path.name for path in stack_dir.iterdir()] == ["thesis.txt"]
    (stack_dir / "thesis.txt").unlink()
    folder.clear()
    assert not stack_dir.exists()


def test_a_torn_stack_file_is_none(stack_dir: Path) -> None:
    """Half a file is as good as none to `down` and `status`."""
    stack_dir.mkdir()
    (stack_dir / "stack.toml").write_text("[stack\nkind =")
    assert current().read() is None


def test_the_agents_files_are_valid_and_say_where(stack_dir: Path) -> None:
    """The files are TOML with the keys that users write, whatever is in a path."""
    chosen = servers.native(StackFolder(stack_dir))
    odd = Log(paths=('/var/log/a "quoted" [name]\\x.log',), dataset="x", service='s"', parser="json")
    text = agents.tailer_toml(chosen, Path('/state "1"'), (odd,)) + agents.telemetry_toml({"telemetry": 7})
    tailer = tomllib.loads(text)
    assert tailer["inputs"] == [
        {"paths": list(odd.paths), "dataset": "x", "parser": "json", "fields": {"service.name": 's"'}}
    ]
    assert (tailer["namespace"], tailer["state_dir"]) == ("local", '/state "1"')
    assert tailer["telemetry"]["listen"] == "127.0.0.1:7"
    sink = tomllib.loads(agents.elastinats_toml(chosen))
    assert sink["elasticsearch"]["hosts"] == [chosen.elasticsearch.url]
    assert sink["nats"]["servers"] == tailer["nats"]["servers"] == [chosen.nats.url]


def test_the_stack_ships_its_own_logs(stack_dir: Path) -> None:
    """The NATS server's log, Elasticsearch's JSON log and its garbage collector's log are inputs."""
    logs = {log.dataset: log for log in servers.native(StackFolder(stack_dir)).logs}
    assert set(logs) == {"nats_server", "elasticsearch_server", "elasticsearch_gc"}
    assert logs["elasticsearch_server"].parser == "json"
    assert all(Path(path).is_absolute() for log in logs.values() for path in log.paths)


def test_neither_java_nor_docker_names_the_packages(stack_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says what to install."""
    monkeypatch.setattr(servers, "find_java", lambda _account: None)
    monkeypatch.setenv("PATH", str(stack_dir))
    folder = StackFolder(stack_dir)
    with pytest.raises(Fatal, match=r"openjdk-17-jre-headless.*docker\.io"):
        servers.choose("auto", folder)
    with pytest.raises(Fatal, match="openjdk-17-jre-headless"):
        servers.choose("native", folder)
    with pytest.raises(Fatal, match=r"docker\.io"):
        servers.choose("docker", folder)


def test_the_compose_file_is_the_one_of_the_checkout_and_stays_on_this_machine() -> None:
    """Every port is bound to the loopback interface; `infra/compose.yaml` is the file that is shipped."""
    shipped = Path(docker.__file__).with_name("compose.yaml")
    items = [line.strip(' -"') for line in shipped.read_text().splitlines() if line.strip().startswith('- "')]
    published = [item for item in items if item.rpartition(":")[2].isdigit()]
    assert len(published) == 3
    assert all(item.startswith("127.0.0.1:$") for item in published)
    checkout = shipped.parents[4] / "infra" / "compose.yaml"
    assert not checkout.exists() or checkout.resolve() == shipped.resolve()


def test_containers_keep_their_ports(stack_dir: Path) -> None:
    """Ports that were given once are remembered for both servers, so that addresses outlive a restart."""
    chosen = servers.in_docker(StackFolder(stack_dir), ["docker", "compose"])
    project = docker.Project(StackFolder(stack_dir), ["docker", "compose"])
    assert chosen.nats.url == "nats://127.0.0.1:4222"
    project.remember({"DATAPLANE_NATS_PORT": 1, "DATAPLANE_NATS_MONITOR_PORT": 2})
    project.remember({"DATAPLANE_ELASTICSEARCH_PORT": 3})
    assert (chosen.nats.url, chosen.nats.monitor_url) == ("nats://127.0.0.1:1", "http://127.0.0.1:2")
    assert chosen.elasticsearch.url == "http://127.0.0.1:3"


def test_a_failing_compose_is_one_line(stack_dir: Path) -> None:
    """What compose said is in the error."""
    project = docker.Project(StackFolder(stack_dir), ["sh", "-c", "echo no such image >&2; exit 17"])
    with pytest.raises(Fatal, match="failed: no such image"):
        project.run("up")


def test_what_waits_is_read_from_a_real_server(nats: NatsServer) -> None:
    """A server without streams has no backlog, and tells its version."""
    assert backlog.streams(nats.monitor_url) == []
    assert backlog.server_version(nats.monitor_url)[0].isdigit()


def test_what_waits_is_what_the_slowest_consumer_has_not_settled() -> None:
    """Pending and in flight both wait; streams without consumers have nobody who waits."""
    state = {"messages": 9, "bytes": 99}
    consumers = [{"name": "a", "num_pending": 2, "num_ack_pending": 3}, {"name": "b", "num_pending": 1}]
    streams = [{"name": "LOGS", "state": state, "consumer_detail": consumers}, {"name": "DLQ", "state": state}]
    logs, dead = backlog.parse({"account_details": [{"stream_detail": streams}]})
    assert (logs.name, logs.messages, logs.waiting) == ("LOGS", 9, 5)
    assert (dead.consumers, dead.waiting) == ((), 0)


def test_a_pipe_gets_plain_lines_and_the_log_gets_them_too(tmp_path: Path) -> None:
    """No control characters where nobody can see them; each step is a line with its time, also in the stack's log."""
    out = io.StringIO()
    with Screen(Console(file=out), tmp_path / "up.log") as screen, screen.step("NATS") as step:
        step.say("started")
    assert out.getvalue().split() == ["ok", "0.0", "s", "NATS", "started"]
    assert "\x1b" not in out.getvalue()
    assert '"message": "NATS: started (0.0 s)"' in (tmp_path / "up.log").read_text()


def test_a_step_that_fails_is_shown_and_ends_the_work(tmp_path: Path) -> None:
    """Other steps that go on at the same time come to their end; then the error is raised."""
    out = io.StringIO()
    done = []

    def fail() -> None:
        with screen.step("one"):
            raise Fatal("broken")

    with Screen(Console(file=out), tmp_path / "up.log") as screen, pytest.raises(Fatal, match="broken"):
        screen.together(fail, lambda: done.append(1))
    assert done == [1]
    assert "FAIL" in out.getvalue()


def test_the_command_to_try_next_can_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is printed relative to the folder that the user is in, or as a whole path."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert Path(summary.own_command()).exists()
    with contextlib.chdir("/"):
        assert Path(summary.own_command()).exists()
