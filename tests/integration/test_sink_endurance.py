"""The sink over a long outage, beside a host that dies, beside sinks that freeze and die."""

import json
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from fault_proxy import Fault, FaultProxy, no_faults
from test_sink_faults import PER_FRAME, assert_each_once, publish, wait_until
from test_sink_outcomes import frame
from test_sink_outcomes import publish as publish_messages

from dataplane_common import event

#: Servers start in some of these tests, on machines that have other work, too.
pytestmark = pytest.mark.timeout(300)

#: What the README's formula gives for the defaults, on top of what an idle sink has (`[batch]`, pulls).
MOST_MB = 2 * 5 * (3 + 1) + 2 * 4 + 20
LARGE = 50_000
#: Three processes start at once, on a machine that has other work, too.
START_S = 120.0


def resident_mb(process, field: str) -> float:
    """Return a figure of the kernel's about a process's memory."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise AssertionError(field)


def point_at(plane, *urls: str) -> None:
    """Let the plane's sink use these hosts."""
    file = plane.folder / "elastinats.toml"
    hosts = ", ".join(f'"{url}"' for url in urls)
    file.write_text(file.read_text().replace(f'hosts = ["{plane.elasticsearch_url}"]', f"hosts = [{hosts}]"))


def large_frames(dataset: str, count: int) -> list:
    """Return frames of five events, 250 KB each."""
    documents = [{"message": f"{n} " + "x" * LARGE} for n in range(5)]
    return [frame(dataset, *documents, source=event.new_source()) for _ in range(count)]


def test_memory_stays_flat_over_an_outage(plane):
    """With Elasticsearch away and thousands of events waiting, the sink holds what its configuration allows.

    That takes many times longer than `ack_wait`, for all of which what it holds is kept alive.
    """
    frames = 600
    file = plane.folder / "elastinats.toml"
    file.write_text("ack_wait_s = 3\n" + file.read_text())
    with FaultProxy(plane.elasticsearch_url, lambda: Fault.DOWN) as proxy:
        point_at(plane, proxy.url)
        sink = plane.start_sink()
        wait_until(lambda: "sink.started" in plane.outputs(), plane)
        publish_messages(plane.nats_url, large_frames(plane.dataset, 1))
        wait_until(lambda: proxy.met[Fault.DOWN], plane)
        idle_mb = resident_mb(sink, "VmRSS")
        publish_messages(plane.nats_url, large_frames(plane.dataset, frames - 1))
        before = proxy.met[Fault.DOWN]
        wait_until(lambda: proxy.met[Fault.DOWN] > before + 8, plane)
        assert resident_mb(sink, "VmHWM") < idle_mb + MOST_MB
        proxy.plan = no_faults
        plane.wait_for_count(5 * frames)
        assert resident_mb(sink, "VmHWM") < idle_mb + MOST_MB
        assert plane.terminate(sink) == 0
    assert plane.count() == 5 * frames


def test_one_of_two_hosts_may_die_and_come_back(plane):
    """What one host does not take goes to the other one; when it is back, it gets its share again."""
    total = 10 * PER_FRAME
    with FaultProxy(plane.elasticsearch_url) as staying:
        leaving = FaultProxy(plane.elasticsearch_url)
        with leaving:
            point_at(plane, leaving.url, staying.url)
            sink = plane.start_sink()
            wait_until(lambda: publish(plane, PER_FRAME) or (leaving.met.total() and staying.met.total()), plane)
        before = staying.met.total()
        publish(plane, total)
        wait_until(lambda: staying.met.total() > before, plane)
        with FaultProxy(plane.elasticsearch_url, port=leaving.port) as back:
            wait_until(lambda: publish(plane, PER_FRAME) or back.met.total(), plane)
            wait_until(lambda: settled(plane), plane)
            assert plane.terminate(sink) == 0
    documents = plane.documents()
    identities = {(each["dp"]["source"], each["message"]) for each in documents}
    assert len(identities) == len(documents)
    assert len(documents) % PER_FRAME == 0


def settled(plane) -> bool:
    """Tell whether nothing waits any more."""
    told = json.loads(
        plane.command("elastinats", "status", "--json", "--config", str(plane.folder / "elastinats.toml"))
    )
    return all(feed["waiting"] == feed["in_flight"] == 0 for feed in told["feeds"])


def test_a_frozen_sink_and_its_heir_double_nothing(plane):
    """Frozen beyond `ack_wait` with requests on their way, over a rollover, while another sink gets its messages."""
    file = plane.folder / "elastinats.toml"
    file.write_text("ack_wait_s = 2\n" + file.read_text())
    with FaultProxy(plane.elasticsearch_url, lambda: Fault.BUSY) as proxy:
        unhindered = file.read_text()
        point_at(plane, proxy.url)
        frozen = plane.start_sink()
        publish(plane, PER_FRAME)
        wait_until(lambda: proxy.met[Fault.BUSY] > 1, plane)
        frozen.send_signal(signal.SIGSTOP)
        file.write_text(unhindered)
        heir = plane.start_sink()
        plane.wait_for_count(PER_FRAME)
        assert plane._ask(f"/logs-{plane.dataset}-test/_rollover", {})["rolled_over"]
        proxy.plan = no_faults
        frozen.send_signal(signal.SIGCONT)
        wait_until(lambda: settled(plane), plane)
        assert plane.terminate(frozen) == 0
        assert plane.terminate(heir) == 0
    assert_each_once(plane, PER_FRAME)


@pytest.mark.timeout(600)
def test_of_three_sinks_one_may_die_and_one_freeze(plane):
    """Each has its share and requests on their way; what the two leave goes to the third, also over a rollover."""
    published: list[int] = []

    def publish_more(events: int = 20 * PER_FRAME) -> None:
        publish(plane, events)
        published.append(events)

    with ExitStack() as stack:
        proxies = [stack.enter_context(FaultProxy(plane.elasticsearch_url, lambda: Fault.SLOW)) for _ in range(3)]
        sinks = [sink_behind(plane, proxy, number) for number, proxy in enumerate(proxies)]
        wait_until(lambda: plane.outputs().count("sink.started") == len(sinks), plane, START_S)
        wait_until(lambda: publish_more(PER_FRAME) or all(proxy.met.total() for proxy in proxies), plane, START_S)
        plane.wait_for_count(1)
        publish_more()
        wait_until(lambda: proxies[0].running, plane, START_S)
        plane.kill(sinks[0])
        publish_more()
        wait_until(lambda: proxies[1].running, plane, START_S)
        sinks[1].send_signal(signal.SIGSTOP)
        assert plane._ask(f"/logs-{plane.dataset}-test/_rollover", {})["rolled_over"]
        publish_more()
        plane.wait_for_count(sum(published))
        sinks[1].send_signal(signal.SIGCONT)
        publish_more(PER_FRAME)
        wait_until(lambda: settled(plane), plane, START_S)
        assert [plane.terminate(sink) for sink in sinks[1:]] == [0, 0]
    identities = [(each["dp"]["source"], each["message"]) for each in plane.documents()]
    assert len(identities) == len(set(identities)) == sum(published)


def sink_behind(plane, proxy: FaultProxy, number: int):
    """Start a sink of the plane's name behind a proxy of its own, in small requests."""
    text = (plane.folder / "elastinats.toml").read_text().replace(plane.elasticsearch_url, proxy.url)
    file = plane.folder / f"elastinats-{number}.toml"
    file.write_text("ack_wait_s = 2\n" + text.replace("linger_ms = 50", "linger_ms = 50\nmax_count = 100"))
    return plane.spawn("elastinats", "run", "--config", str(file))
