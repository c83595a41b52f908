"""The sink as a service manager and an operator see it: notifications, SIGHUP, its numbers."""

import os
import re
import signal
import socket
import time
import urllib.request

from dataplane_common.local import free_port

DEADLINE_S = 30.0


def wait_until(condition, plane) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, plane.outputs()
        time.sleep(0.05)


def test_the_service_manager_and_the_metrics_are_told(plane, tmp_path, monkeypatch):
    """READY after the start, RELOADING and READY around a SIGHUP, WATCHDOG in between, STOPPING at the end."""
    address = tmp_path / "notify"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(address))
    manager.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(address))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    listen = f"127.0.0.1:{free_port().number}"
    file = plane.folder / "elastinats.toml"
    file.write_text(file.read_text() + f'[telemetry]\nlisten = "{listen}"\n')
    told: list[str] = []

    def heard(word: str, count: int = 1) -> bool:
        try:
            while True:
                told.append(manager.recv(4096).decode())
        except BlockingIOError:
            return sum(word in text for text in told) >= count

    def page() -> str:
        with urllib.request.urlopen(f"http://{listen}/metrics", timeout=5) as answer:
            return answer.read().decode()

    sink = plane.start_sink()
    wait_until(lambda: heard("READY=1") and heard("WATCHDOG=1"), plane)
    os.kill(sink.pid, signal.SIGHUP)
    wait_until(lambda: heard("RELOADING=1") and heard("READY=1", 2), plane)
    consumer = f'{{consumer="LOGS/sink_{plane.dataset}_all"}}'
    wait_until(lambda: f"elastinats_lag_seconds{consumer} 0.0" in page(), plane)
    assert f"elastinats_expired_unread_messages_total{consumer} 0.0" in page()
    assert f"elastinats_retention_seconds{consumer} +Inf" in page()
    assert re.search(r"^elastinats_allowed_bulks 3.0$", page(), re.MULTILINE)
    assert re.search(r'^elastinats_bulk_seconds_bucket\{le="0.1"\} ', page(), re.MULTILINE)
    assert plane.terminate(sink) == 0
    assert heard("STOPPING=1")
    manager.close()
