"""The server accepts every configuration of `infra/nats`, and each role may do what it must and nothing else."""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataplane_common.bus import Connection, Publisher, ensure_streams
from dataplane_common.bus.streams import stream_info
from dataplane_common.config import NatsConfig, TlsConfig
from dataplane_common.errors import Transient
from dataplane_common.local.nats_server import NatsServer, binary

FOLDER = Path(__file__).parents[1] / "infra" / "nats"
VARIABLES = {
    "SERVER_NAME": "one",
    "LEAF_DOMAIN": "site",
    "HUB_URL": "nats-leaf://127.0.0.1:7422",
    "EMIT_PASSWORD": "e",
    "COLLECT_PASSWORD": "c",
    "TAP_PASSWORD": "t",
}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a server's certificate for 127.0.0.1, which is its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "server-key.pem"), "-out", str(folder / "server.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "ca.pem").write_bytes((folder / "server.pem").read_bytes())
    return folder


def _text(name: str, certificate: Path) -> str:
    return (FOLDER / name).read_text().replace("/etc/dataplane/tls", str(certificate))


@pytest.mark.parametrize("name", [file.name for file in FOLDER.glob("*.conf")])
def test_the_server_accepts_the_configuration(name: str, certificate: Path, tmp_path: Path) -> None:
    """`nats-server -t` has no complaint."""
    file = tmp_path / name
    file.write_text(_text(name, certificate))
    environment = {**os.environ, **VARIABLES}  # noqa: TID251 - the file takes its variables from there
    done = subprocess.run(
        [str(binary()), "-t", "-c", str(file)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def secure(certificate: Path, tmp_path: Path) -> Iterator[NatsServer]:
    """A server with the roles and the TLS of `secure.conf`, on free ports."""
    text = _text("secure.conf", certificate)
    for variable, value in VARIABLES.items():
        text = text.replace(f"${variable}", value)
    blocks = [text[text.index(f"\n{block} {{") :].split("\n}\n", 1)[0] + "\n}\n" for block in ("tls", "authorization")]
    server = NatsServer(tmp_path / "nats", extra="".join(blocks))
    server.start()
    yield server
    server.clear()


def _connection(server: NatsServer, certificate: Path, user: str, tmp_path: Path, *, tls: bool = True) -> Connection:
    secret = tmp_path / f"{user}.password"
    secret.write_text(user[0])
    return Connection(
        NatsConfig(
            servers=(server.url,),
            user=user,
            password_file=secret,
            inbox_prefix=f"_INBOX_{user}",
            tls=TlsConfig(ca_file=certificate / "ca.pem") if tls else None,
        ),
        name=user,
    )


def test_each_role_may_do_what_it_must_and_nothing_else(secure: NatsServer, certificate: Path, tmp_path: Path) -> None:
    """Emitters publish and are acknowledged; collectors set up and write dead letters; taps only listen."""

    async def work() -> None:
        emit, collect, tap = (_connection(secure, certificate, user, tmp_path) for user in ("emit", "collect", "tap"))
        for connection in (emit, collect, tap):
            connection.start()
            await connection.wait_ready(10)
        assert await ensure_streams(collect) == ["LOGS", "METRICS", "DLQ", "LEDGER"]
        heard: list[str] = []
        await tap.subscribe("logs.>", lambda message: heard.append(message.subject))
        await tap.flush(5)
        assert await _is_stored(emit, "logs.prod.web.h")
        assert not await _is_stored(emit, "dlq.logs.prod.web.h")
        assert await _is_stored(collect, "dlq.logs.prod.web.h")
        assert not await _is_stored(collect, "logs.prod.web.h")
        assert not await _is_stored(tap, "logs.prod.web.h")
        assert await stream_info(emit, "LOGS") is not None
        with pytest.raises(Transient):
            await emit.request("$JS.API.STREAM.DELETE.LOGS", timeout_s=0.5)
        deadline = asyncio.get_running_loop().time() + 10
        while heard != ["logs.prod.web.h"]:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        for connection in (emit, collect, tap):
            await connection.close()

    asyncio.run(work())


async def _is_stored(connection: Connection, subject: str) -> bool:
    publisher = Publisher(connection, ack_timeout_s=30, report=lambda _text: None)
    await publisher.start()
    await publisher.publish(subject, b"{}\n", {"Nats-Msg-Id": subject})
    stored = await publisher.drain(1.0)
    await publisher.close()
    return stored


def test_strangers_are_refused(secure: NatsServer, certificate: Path, tmp_path: Path) -> None:
    """An unknown user is told so; a client that does not know the authority does not trust the server."""

    async def work() -> None:
        unknown = _connection(secure, certificate, "nobody", tmp_path)
        distrusting = _connection(secure, certificate, "emit", tmp_path, tls=False)
        for connection, reason in ((unknown, r"[Aa]uthorization"), (distrusting, r"certificate verify failed")):
            connection.start()
            deadline_s = asyncio.get_running_loop().time() + 30
            while not re.search(reason, connection.last_error):
                assert asyncio.get_running_loop().time() < deadline_s, connection.last_error
                await asyncio.sleep(0.01)
            with pytest.raises(Transient, match="cannot be reached"):
                await connection.wait_ready(0.1)
            await connection.close()

    asyncio.run(work())
