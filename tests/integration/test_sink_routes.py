"""Routes with their own wishes, and set-up, on real servers."""

import json
import urllib.request

import pytest
from test_sink_outcomes import frame, hits, letters, publish, wait_until

from dataplane_common import event

#: Servers start in some of these tests, on machines that have other work, too.
pytestmark = pytest.mark.timeout(300)


def route(plane, text: str) -> None:
    """Give the plane's one route more settings."""
    file = plane.folder / "elastinats.toml"
    file.write_text(f"{file.read_text()}{text}\n")


def put(plane, path: str, body: dict) -> None:
    request = urllib.request.Request(
        plane.elasticsearch_url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="PUT"
    )
    urllib.request.urlopen(request, timeout=30).close()


def test_fields_are_changed_on_the_way(plane):
    """Renamed, removed and added fields are what can be searched; a letter has what was sent."""
    route(plane, 'rename = { "user" = "user.name" }\nremove = ["secret"]\nadd = { "service.environment" = "prod" }')
    plane.start_sink()
    publish(plane.nats_url, [frame(plane.dataset, {"user": "u", "secret": 1}, source=event.new_source())])
    publish(plane.nats_url, [(f"logs.test.{plane.dataset}.h", b'{"user":"v","secret":2}', {})])
    plane.wait_for_count(2)
    assert plane._ask(f"/logs-{plane.dataset}-test/_search?q=service.environment:prod")["hits"]["total"]["value"] == 2
    assert plane._ask(f"/logs-{plane.dataset}-test/_search?q=user.name:u")["hits"]["total"]["value"] == 1
    assert all("secret" not in hit["_source"] for hit in hits(plane))


def test_ids_of_elasticsearchs_own(plane):
    """Documents get ids that are not the events'."""
    route(plane, 'id = "auto"')
    source = event.new_source()
    plane.start_sink()
    publish(plane.nats_url, [frame(plane.dataset, {"message": "one"}, {"message": "two"}, source=source)])
    plane.wait_for_count(2)
    assert not any(hit["_id"].startswith(source) for hit in hits(plane))


def test_an_index_that_is_no_data_stream_is_overwritten(plane):
    """With `op = "index"` the last one of an id stays."""
    route(plane, f'op = "index"\ntarget = "plain-{plane.dataset}"')
    source = event.new_source()
    sink = plane.start_sink()
    publish(plane.nats_url, [frame(plane.dataset, {"message": "one"}, source=source)])
    publish(plane.nats_url, [frame(plane.dataset, {"message": "two"}, source=source)])
    search = f"/plain-{plane.dataset}/_search?ignore_unavailable=true&q=message:two"
    wait_until(lambda: plane._ask(search).get("hits", {}).get("total", {}).get("value"), plane)
    assert plane.terminate(sink) == 0
    assert plane._ask(f"/plain-{plane.dataset}/_count")["count"] == 1


def test_without_a_template_nothing_makes_a_plain_index(plane):
    """An index of that name could never become a data stream: the events wait for the template."""
    target = f"other-{plane.dataset}"
    route(plane, f'target = "{target}"')
    sink = plane.start_sink()
    publish(plane.nats_url, [frame(plane.dataset, {"message": "one"}, source=event.new_source())])
    wait_until(lambda: "requires a data stream" in plane.outputs(), plane)
    assert plane._ask(f"/{target}/_count") == {}
    template = {"settings": {"number_of_replicas": 0}}
    named = {"index_patterns": [f"{target}*"], "priority": 500, "data_stream": {}, "template": template}
    put(plane, f"/_index_template/{target}", named)
    wait_until(lambda: plane._ask(f"/{target}/_count").get("count") == 1, plane)
    assert plane.terminate(sink) == 0
    (backing,) = plane._ask(f"/{target}/_settings")
    assert backing.startswith(".ds-")
    assert letters(plane) == []


def test_what_a_route_drops_is_gone(plane):
    """Acknowledged, never indexed, no dead letter."""
    route(plane, "drop = true")
    sink = plane.start_sink()
    publish(plane.nats_url, [frame(plane.dataset, {"message": "one"}, source=event.new_source())])
    config = str(plane.folder / "elastinats.toml")

    def waiting() -> int:
        told = json.loads(plane.command("elastinats", "status", "--json", "--config", config))
        return sum(feed["waiting"] + feed["in_flight"] for feed in told["feeds"] if not feed["problem"])

    wait_until(lambda: waiting() == 0, plane)
    assert plane.terminate(sink) == 0
    assert plane.count() == 0
    assert letters(plane) == []


def test_set_up_tells_first_what_it_changes(plane):
    """A dry run shows each difference and changes nothing; then it is done; what others made stays."""
    config, path = str(plane.folder / "elastinats.toml"), "/_index_template/dataplane-metrics"
    ours = plane._ask(path)["index_templates"][0]["index_template"]
    try:
        put(plane, path, {**ours, "priority": 140, "_meta": {**ours["_meta"], "fingerprint": "old"}})
        told = plane.command("elastinats", "setup", "--dry-run", "--config", config)
        assert "- priority: 140" in told
        assert "+ priority: 150" in told
        assert told.splitlines()[-1] == "nothing was changed"
        assert plane._ask(path)["index_templates"][0]["index_template"]["priority"] == 140
        assert "dataplane-metrics: updated" in plane.command("elastinats", "setup", "--config", config)
        put(plane, path, {**ours, "priority": 140, "_meta": {"made_by": "them"}})
        assert "dataplane-metrics: left alone" in plane.command("elastinats", "setup", "--config", config)
        assert plane._ask(path)["index_templates"][0]["index_template"]["priority"] == 140
    finally:
        put(plane, path, ours)
