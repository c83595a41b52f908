"""What the systemd units promise, and what the running tailer tells the service manager."""

import configparser
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dataplane_tailer import config as configuration
from dataplane_tailer.config import DeliveryConfig

UNITS = Path(__file__).parents[3] / "infra" / "systemd"
NAMES = ["dataplane-tailer", "elastinats"]


def _unit(name: str) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str
    parser.read(UNITS / f"{name}.service")
    return {section: dict(parser[section]) for section in parser.sections()}


@pytest.mark.parametrize("name", NAMES)
def test_systemd_takes_the_unit(name, tmp_path):
    """`systemd-analyze verify` has nothing to say about it, its program being there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = (UNITS / f"{name}.service").read_text()
    unit = tmp_path / f"{name}.service"
    unit.write_text(text.replace(f"/opt/dataplane/bin/{name}", sys.executable))
    result = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in result.stderr.splitlines() if name in line] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_is_shut_in(name):
    """It gains no privileges, writes nowhere but where it says, and has a user of its own."""
    service = _unit(name)["Service"]
    for key in ("NoNewPrivileges", "DynamicUser", "PrivateDevices", "RestrictNamespaces", "MemoryDenyWriteExecute"):
        assert service[key] == "yes", key
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] in ("", "CAP_DAC_READ_SEARCH")
    assert "ReadWritePaths" not in service
    assert service["SystemCallFilter"] == "@system-service"


@pytest.mark.parametrize("name", NAMES)
def test_a_stop_has_time_to_drain(name):
    """The manager waits longer than the drain takes, and does not try a bad configuration again."""
    service = _unit(name)["Service"]
    assert int(service["TimeoutStopSec"]) > DeliveryConfig().grace_s + 10
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2")


def test_the_tailers_unit_reads_logs_and_keeps_its_state(monkeypatch):
    """It is of the groups that may read logs, is watched, reloads on HUP, and its state is where it may write."""
    service = _unit("dataplane-tailer")["Service"]
    assert service["SupplementaryGroups"].split() == ["adm", "systemd-journal"]
    assert (service["Type"], service["ExecReload"]) == ("notify", "/bin/kill -HUP $MAINPID")
    assert int(service["WatchdogSec"]) > 60
    name, _, value = service["Environment"].partition("=")
    assert value == f"%S/{service['StateDirectory']}"
    monkeypatch.setenv(name, "/var/lib/dataplane-tailer")
    loaded = configuration.load(None, {"inputs": [{"paths": ["/a"], "dataset": "web"}]})
    assert str(loaded.state_dir) == "/var/lib/dataplane-tailer"


def test_the_service_manager_hears_of_the_tailers_life(lab, tmp_path, monkeypatch):
    """Ready, alive, reloading and ready again on HUP, stopping on TERM; in this order, on a real socket."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    lab.append("one\n")
    file = tmp_path / "tailer.toml"
    file.write_text(
        f'namespace = "test"\nstate_dir = "{lab.state_dir}"\n[nats]\nservers = ["{lab.url}"]\n'
        f'[[inputs]]\npaths = ["{lab.folder}/*.log"]\ndataset = "{lab.dataset}"\n'
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)

        def hear(word: str) -> str:
            while word not in (text := manager.recv(4096).decode()):
                assert text == "WATCHDOG=1", text
            return text

        process = lab.spawn("run", "--config", str(file))
        assert hear("READY=1") == "READY=1\nSTATUS=1 files"
        hear("WATCHDOG=1")
        status = lab.command("status", "--config", str(file), "--json")
        assert json.loads(status.stdout)["pid"] == process.pid
        process.send_signal(1)
        hear("RELOADING=1")
        hear("READY=1")
        process.terminate()
        hear("STOPPING=1")
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
