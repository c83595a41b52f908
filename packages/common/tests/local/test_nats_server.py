"""A real NATS server as a local process."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from dataplane_common.bus import Connection, ensure_streams
from dataplane_common.bus.streams import stream_info
from dataplane_common.config import NatsConfig
from dataplane_common.errors import Fatal
from dataplane_common.local import NatsServer, probe


async def _connected(url: str) -> Connection:
    connection = Connection(NatsConfig(servers=(url,)), name="test")
    connection.start()
    await connection.wait_ready(10)
    return connection


async def _publish(url: str) -> dict[str, Any]:
    connection = await _connected(url)
    try:
        await ensure_streams(connection)
        answer: dict[str, Any] = json.loads(await connection.request("logs.test.x.host", b"{}"))
        return answer
    finally:
        await connection.close()


async def _messages(url: str) -> int:
    connection = await _connected(url)
    try:
        info = await stream_info(connection, "LOGS")
        return int(info["state"]["messages"]) if info else 0
    finally:
        await connection.close()


def test_a_started_server_answers_and_runs_jetstream(nats: NatsServer) -> None:
    """`start` returns when the server takes messages into a stream."""
    assert nats.start()
    assert asyncio.run(_publish(nats.url))["seq"] == 1


def test_starting_twice_changes_nothing(nats: NatsServer) -> None:
    """A second start, also by another object, finds the server running and leaves it alone."""
    nats.start()
    pid = nats.process.pid
    again = NatsServer(nats.directory)
    assert not again.start()
    assert (again.process.pid, again.url) == (pid, nats.url)


def test_a_kill_and_restart_keeps_port_and_data(nats: NatsServer) -> None:
    """After SIGKILL the server comes back on its port with every acknowledged message."""
    nats.start()
    url = nats.url
    asyncio.run(_publish(url))
    nats.kill()
    assert not nats.is_running
    assert nats.start()
    assert nats.url == url
    assert asyncio.run(_messages(url)) == 1


def test_a_stop_is_clean_and_keeps_data(nats: NatsServer) -> None:
    """A stopped server has said goodbye in its log, and a new object starts it again with its data."""
    nats.start()
    asyncio.run(_publish(nats.url))
    assert nats.stop()
    assert "Server Exiting" in nats.log_file.read_text()
    again = NatsServer(nats.directory)
    again.start()
    assert asyncio.run(_messages(again.url)) == 1


def test_a_taken_port_is_replaced_and_said(tmp_path: Path) -> None:
    """Somebody else's port is left to him; `moved` names it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        server = NatsServer(tmp_path / "nats", port=taken)
        try:
            server.start()
            assert server.port("client") != taken
            assert [port.wished for port in server.moved] == [taken]
            assert asyncio.run(_publish(server.url))["seq"] == 1
        finally:
            server.clear()


def test_a_server_that_hangs_is_replaced(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that runs and does not answer is killed and started again."""
    monkeypatch.setattr("dataplane_common.local.service._ANSWER_TIMEOUT_S", 0.2)
    nats.start()
    pid = nats.process.pid
    nats.pause()
    assert nats.start()
    assert nats.process.pid != pid
    assert nats.is_ready()


def test_a_bad_configuration_shows_the_servers_words(nats: NatsServer) -> None:
    """A server that refuses its configuration says so in the error."""
    nats.extra = "no_such_key_here: {"
    with pytest.raises(Fatal, match=r"(?s)nats-server ended while it started.*Parse error"):
        nats.start()


def test_a_server_that_dies_later_shows_its_log(nats: NatsServer) -> None:
    """Once the server writes to its log file, its last words are there, and in the error."""
    (nats.directory / "data").mkdir(parents=True)
    (nats.directory / "data" / "jetstream").write_text("a file where the folder of the streams should be")
    with pytest.raises(Fatal, match=r"(?s)nats-server ended while it started.*nats-server\.log.*\[FTL\]"):
        nats.start()


def test_the_servers_limits_are_as_asked(nats: NatsServer) -> None:
    """`max_payload_bytes` and `extra` reach the server."""
    nats.max_payload_bytes = 65_536
    nats.extra = "max_connections: 7"
    nats.start()
    told = probe.get_json(f"{nats.monitor_url}/varz")
    assert (told["max_payload"], told["max_connections"]) == (65_536, 7)


def test_clear_leaves_nothing(nats: NatsServer) -> None:
    """`clear` kills the server and removes its folder."""
    nats.start()
    nats.clear()
    assert not nats.is_running
    assert not nats.directory.exists()
