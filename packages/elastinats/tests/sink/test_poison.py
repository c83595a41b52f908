"""Messages that nobody sends in earnest: none of them ends the sink, and each event is a document or a dead letter."""

import json

import pytest
from msgspec.structs import replace

DEEP, DEEPER = (b'{"a":' * depth + b"1" + b"}" * depth for depth in (300, 1_000))
POISON = {
    "an array of what is nested too deep": (b"[" + DEEPER + b",1]", {}, 1),
    "lines of which one is nested too deep": (b"{}\n" + DEEPER, {}, 2),
    "a count of too many digits": (b"\x00", {"Dp-Version": "7", "Dp-Count": "9" * 5_000}, 1),
    "a count that is none": (b"\x00", {"Dp-Version": "7", "Dp-Count": "\u0665"}, 1),
    "an origin in the far future": (b"text", {"Dp-Origin": f"x-1-{'f' * 40}-0"}, 1),
    "an origin beyond any number": (b"text", {"Dp-Origin": f"x-{'9' * 5_000}-1-0"}, 1),
    "a frame that says more than it has": (b"text", {"Dp-Count": "12"}, 1),
    "headers that leave no room": (b"\x00", {"Dp-Version": "7", "Trace": "t" * 65_400}, 1),
    "zstd with a broken middle": (b"\x28\xb5\x2f\xfd" + b"\x55" * 50, {"Content-Encoding": "zstd"}, 1),
}


@pytest.mark.parametrize("name", POISON)
def test_poison_is_a_document_or_a_dead_letter(bench, scripted, name):
    """And what comes after it is indexed."""
    payload, headers, events = POISON[name]

    async def scenario() -> None:
        async with bench.running():
            await bench.publish(payload, headers)
            await bench.publish_frame(bench.line(0))
            await bench.until_done(events + 1)
            counts = bench.sink.counts
            assert counts.received == events + 1
            assert counts.indexed + len(await bench.letters()) == events + 1

    bench.run(scenario())
    assert bench.exit_code == 0
    assert bench.identity(0) in bench.ids(b"".join(scripted.bodies))


def test_rules_do_no_harm_to_what_is_nested_too_deep(make_bench, scripted):
    """They hold there, too: what is to be removed would be indexed otherwise."""
    bench = make_bench()
    route = replace(bench.config.routes[0], add={"service.environment": "prod"})
    bench.config = replace(bench.config, routes=(route,))
    deep = b'{"_id":"%b","a":%b}\n' % (bench.identity(0).encode(), DEEP)

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(deep, bench.line(1))
            await bench.until_done(2)

    bench.run(scenario())
    documents = [json.loads(line) for line in b"".join(scripted.bodies).splitlines()[1::2]]
    assert [document.get("service.environment") for document in documents] == ["prod", "prod"]
