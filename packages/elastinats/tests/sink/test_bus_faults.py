"""The sink on a bus that restarts, elects leaders, and forgets what it was told."""

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dataplane_common.local import NatsServer, free_port

CLUSTER = 3
#: A first election takes seconds, and minutes where servers get no processor.
ELECTION_S = 150.0


@pytest.fixture
def own_server(tmp_path) -> Iterator[NatsServer]:
    """A server that the test may end."""
    server = NatsServer(tmp_path / "own")
    server.start()
    yield server
    server.clear()


@pytest.fixture
def cluster(tmp_path) -> Iterator[list[NatsServer]]:
    """Three servers that replicate each other's streams."""
    ports = [free_port().number for _ in range(CLUSTER)]
    routes = ", ".join(f"nats://127.0.0.1:{port}" for port in ports)
    servers = []
    for number, port in enumerate(ports):
        extra = f'cluster {{\n name: test\n listen: "127.0.0.1:{port}"\n routes: [{routes}]\n}}\n'
        server = _Named(tmp_path / f"n{number}", extra=extra)
        servers.append(server)
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.clear)
            server.process.start(server.prepare(server._take_ports()))
        for server in servers:
            server.process.wait_for(server.is_ready, timeout_s=ELECTION_S)
        yield servers


class _Named(NatsServer):
    """A server with a name of its own, as a cluster needs it."""

    def config_text(self, ports):
        return super().config_text(ports).replace("server_name: dataplane-local", f"server_name: {self.directory.name}")


@pytest.mark.parametrize("lost", ["obs/*", "obs/*/o.dat"])
def test_a_bus_that_restarts_and_forgets_doubles_nothing(make_bench, scripted, own_server, lost):
    """Killed, its consumers or their state lost: everything is delivered again as if for the first time, and found."""
    bench, frames = make_bench(nats_url=own_server.url), 20
    scripted.keeps = True

    async def scenario() -> None:
        async with bench.running():
            for number in range(frames):
                await bench.publish_acknowledged(bench.line(number))
            await bench.until_done(frames)
            await asyncio.to_thread(own_server.kill)
            for state in own_server.directory.glob(f"data/**/{lost}"):
                shutil.rmtree(state) if state.is_dir() else state.unlink()
            scripted.indices = [".ds-1", ".ds-2"]
            await asyncio.to_thread(own_server.start)
            await bench.until_done(2 * frames)
            assert (bench.sink.counts.indexed, bench.sink.counts.duplicate) == (frames, frames)

    bench.run(scenario())
    assert {index for index, _ in scripted.documents} == {".ds-1"}


def test_what_is_held_over_a_restart_is_no_longer_ours_alone(make_bench, scripted, own_server):
    """The new session may give it to anyone, who may have indexed it before a rollover: it is looked up."""
    bench = make_bench(nats_url=own_server.url)

    def busy(lines):
        scripted.bulks.append(busy)
        return bench.fails(429)(lines)

    scripted.bulks.append(busy)

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_acknowledged(bench.line(0))
            await bench.until(lambda: bool(scripted.bodies))
            await asyncio.to_thread(own_server.kill)
            await asyncio.to_thread(own_server.start)
            await bench.until(lambda: bench.sink.connection.sessions > 1)
            scripted.documents[".ds-1", bench.identity(0)] = {"message": "hello"}
            scripted.indices = [".ds-1", ".ds-2"]
            scripted.bulks.clear()
            await bench.until(lambda: bench.sink.counts.duplicate > 0)
            assert bench.sink.counts.indexed == 0

    bench.run(scenario())


def test_an_answer_that_the_bus_could_not_take_is_given_when_it_is_back(make_bench, scripted, own_server):
    """Indexed while the bus is away, a message is acknowledged afterwards, and is not kept alive for ever."""
    bench, away = make_bench(nats_url=own_server.url), threading.Event()

    def held(lines):
        assert away.wait(20)
        return bench.created(lines)

    scripted.bulks.append(held)

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_acknowledged(bench.line(0))
            await bench.until(lambda: bool(scripted.bodies))
            await asyncio.to_thread(own_server.kill)
            await bench.until(lambda: not bench.sink.connection.is_connected)
            away.set()
            await bench.until(lambda: bench.sink.counts.indexed == 1)
            assert bench.sink.settler.open_claims == 1
            await asyncio.to_thread(own_server.start)
            await bench.until(lambda: bench.sink.settler.open_claims == 0)

    bench.run(scenario())


@pytest.mark.timeout(300)
def test_a_change_of_leaders_loses_and_doubles_nothing(make_bench, scripted, cluster):
    """Leaders of stream and consumer step down while events flow, then the server that the sink talks to dies."""
    bench = make_bench(nats_url=",".join(server.url for server in cluster), ack_wait_s=2.0)
    scripted.keeps, frames = True, 300

    async def scenario() -> None:
        async with bench.running():
            ask = bench.sink.connection.request
            config = json.loads(await ask("$JS.API.STREAM.INFO.LOGS"))["config"]
            await ask("$JS.API.STREAM.UPDATE.LOGS", json.dumps({**config, "num_replicas": CLUSTER}).encode())
            for number in range(frames):
                await bench.publish_acknowledged(bench.line(number))
                if number == frames // 3:
                    await ask("$JS.API.STREAM.LEADER.STEPDOWN.LOGS")
                if number == frames // 2:
                    await ask(f"$JS.API.CONSUMER.LEADER.STEPDOWN.LOGS.{bench.config.name}_r")
                if number == frames * 2 // 3:
                    await asyncio.to_thread(connected_to(bench, cluster).kill)
            await bench.until(lambda: bench.sink.counts.indexed == frames and bench.sink.counts.in_flight == 0)

    bench.run(scenario())
    assert {identity for _, identity in scripted.documents} == {bench.identity(number) for number in range(frames)}


def connected_to(bench, cluster: list[NatsServer]) -> NatsServer:
    """Return the server that the sink's session is with."""
    port = bench.sink.connection._client.connected_url.port
    (server,) = [each for each in cluster if each.port("client") == port]
    return server
