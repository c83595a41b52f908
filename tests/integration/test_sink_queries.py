"""The README's questions to metrics, asked as they stand there."""

import json
import re
from itertools import accumulate
from pathlib import Path

import pytest

from dataplane_emitter import configure

README = Path(__file__).parents[2] / "packages" / "elastinats" / "README.md"


def questions() -> list[tuple[str, dict | None]]:
    """Return (path, body) of each question in the README."""
    found = re.findall(r"^```\nGET (\S+)\n(.*?)```", README.read_text(), re.MULTILINE | re.DOTALL)
    return [(path, json.loads(body) if body.strip() else None) for path, body in found]


@pytest.fixture
def ask(plane):
    """Ask a question of the README about this test's metrics."""
    publish(plane)
    plane.start_sink()
    plane.wait_for_count(3, "metrics")
    return lambda path, body: plane._ask("/" + path.replace("metrics-*-prod", f"metrics-{plane.dataset}-test"), body)


def publish(plane) -> None:
    """Measure through the emitter: five orders in two shops, four payments."""
    emitter = configure(service="shop", namespace="test", dataset=plane.dataset, servers=[plane.nats_url])
    emitter.counter("orders", unit="1", labels={"shop": "de"}).inc(3)
    emitter.counter("orders", unit="1", labels={"shop": "fr"}).inc(2)
    for seconds in (0.02, 0.02, 0.03, 0.12):
        emitter.timer("payment").observe(seconds)
    assert emitter.flush(timeout_s=20)
    emitter.close(timeout_s=20)


def test_the_questions_to_metrics_have_right_answers(ask):
    """The rate of a counter by a dimension, the buckets that there are, percentiles of a timer from them."""
    rate, bounds, percentiles = questions()
    minutes = ask(*rate)["aggregations"]["per_minute"]["buckets"]
    assert sum(minute["orders"]["value"] for minute in minutes) == 5
    shops = [(shop["key"], shop["orders"]["value"]) for minute in minutes for shop in minute["shops"]["buckets"]]
    assert sorted(shops) == [("de", 3), ("fr", 2)]
    there = {name.removeprefix("metric.buckets.") for name in ask(*bounds)["fields"]}
    assert there == {"22e-3", "33e-3", "15e-2"}
    answer = {name: each["value"] for name, each in ask(*percentiles)["aggregations"].items()}
    total = answer.pop("all")
    assert total == 4
    by_bound = sorted(answer.items(), key=lambda item: float(item[0]))
    reached = list(zip([bound for bound, _ in by_bound], accumulate(count for _, count in by_bound), strict=True))
    assert [next(bound for bound, n in reached if n >= share * total) for share in (0.5, 0.75, 0.99)] == [
        "22e-3",
        "33e-3",
        "15e-2",
    ]
