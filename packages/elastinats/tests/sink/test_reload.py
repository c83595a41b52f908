"""A running sink takes over changed routes and secrets without losing or repeating what it holds."""

import json

import pytest
from msgspec.structs import replace

from dataplane_common.errors import ConfigError
from elastinats.config import RouteConfig


def targets(scripted) -> list[str]:
    return [json.loads(line)["create"]["_index"] for body in scripted.bodies for line in body.splitlines()[::2]]


def routes(bench, *names: str, target: str) -> tuple[RouteConfig, ...]:
    return tuple(RouteConfig(name=name, subjects=(f"{name}.test.{bench.dataset}.>",), target=target) for name in names)


def test_a_changed_target_counts_from_the_next_message_on(make_bench, scripted):
    """The same consumer goes on; only the place changes."""
    bench = make_bench()

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)
            route = replace(bench.config.routes[0], target="logs-other-test")
            await bench.sink.reload(replace(bench.config, routes=(route,)))
            await bench.publish_frame(bench.line(1))
            await bench.until_done(2)

    bench.run(scenario())
    assert targets(scripted) == [f"logs-{bench.dataset}-test", "logs-other-test"]
    assert bench.exit_code == 0


def test_routes_come_and_go(make_bench, scripted):
    """A new route is read, one that is gone is not; changed subjects change the consumer."""
    bench = make_bench()

    async def scenario() -> None:
        async with bench.running():
            await bench.sink.reload(replace(bench.config, routes=routes(bench, "metrics", target="metrics-a-test")))
            await bench.publish_frame(bench.line(0))
            await bench.sink.connection.publish(f"metrics.test.{bench.dataset}.h", b"{}", headers={})
            await bench.until_done(1)
            everything = replace(bench.config.routes[0], name="r", target="logs-b-test")
            await bench.sink.reload(replace(bench.config, routes=(everything,)))
            await bench.until_done(2)

    bench.run(scenario())
    assert targets(scripted) == ["metrics-a-test", "logs-b-test"]


def test_changed_subjects_change_the_consumer(make_bench, scripted):
    """A route that keeps its name reads its new subjects."""
    bench = make_bench()

    async def scenario() -> None:
        async with bench.running():
            narrow = replace(bench.config.routes[0], subjects=(f"logs.test.{bench.dataset}.other",))
            await bench.sink.reload(replace(bench.config, routes=(narrow,)))
            await bench.sink.connection.publish(f"logs.test.{bench.dataset}.other", b"x", headers={})
            await bench.until_done(1)
            await bench.publish_frame(bench.line(0))
            await bench.sink.reload(bench.config)
            await bench.until_done(2)

    bench.run(scenario())
    assert len(targets(scripted)) == 2


def test_secrets_are_read_again(make_bench, scripted, tmp_path):
    """A rotated key is used after a reload, before any server refuses the old one."""
    key = tmp_path / "key"
    key.write_text("old")
    bench = make_bench(elasticsearch={"api_key_file": key})

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)
            key.write_text("new")
            await bench.sink.reload(bench.config)
            await bench.publish_frame(bench.line(1))
            await bench.until_done(2)

    bench.run(scenario())
    assert scripted.authorizations == ["ApiKey old", "ApiKey new"]


def test_what_cannot_be_used_changes_nothing(make_bench):
    """Overlapping routes are refused, and the old ones stay."""
    bench = make_bench()

    async def scenario() -> None:
        async with bench.running():
            with pytest.raises(ConfigError, match="overlaps"):
                await bench.sink.reload(replace(bench.config, routes=bench.config.routes * 2))
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)

    bench.run(scenario())


def test_backlogs_are_among_the_metrics(make_bench):
    """Lag, what waits, the time until retention and what expired unread are told per consumer."""
    bench = make_bench()
    name = f"LOGS/{bench.dataset}_r"

    async def scenario() -> None:
        async with bench.running():
            await bench.until(lambda: name in bench.sink.metrics.backlogs)
            for sample in ("waiting_messages", "lag_seconds", "retention_seconds", "expired_unread_messages_total"):
                told = bench.sink.metrics.registry.get_sample_value(f"elastinats_{sample}", {"consumer": name})
                assert told is not None

    bench.run(scenario())
