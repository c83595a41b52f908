"""The sink before an Elasticsearch with passwords, rights, limits, blocks and strict mappings."""

import json
import secrets
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from guarded import HEALTH, MAX_REQUEST_BYTES, RIGHTS, TESTER, TESTERS_PASSWORD, USER, GuardedElasticsearch
from plane import Plane
from test_sink_faults import PER_FRAME, assert_each_once, publish, wait_until
from test_sink_outcomes import frame, letters
from test_sink_outcomes import publish as publish_messages

from dataplane_common import event

#: Servers start in some of these tests, on machines that have other work, too.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[GuardedElasticsearch]:
    """One server for the tests of this module."""
    server = GuardedElasticsearch(tmp_path_factory.mktemp("guarded"))
    server.start()
    yield server
    server.clear()


@pytest.fixture
def plane(tmp_path: Path, nats_url: str, guarded: GuardedElasticsearch, monkeypatch) -> Iterator[Plane]:
    """A plane set up by the tester, whose sink signs its requests with the password in a file."""
    guarded.set_password("first")
    guarded.set_rights(*RIGHTS)
    urllib.request.install_opener(signed(guarded.url, TESTER, TESTERS_PASSWORD))
    (tmp_path / "testers").write_text(TESTERS_PASSWORD)
    monkeypatch.setenv("DATAPLANE_ELASTICSEARCH__USERNAME", TESTER)
    monkeypatch.setenv("DATAPLANE_ELASTICSEARCH__PASSWORD_FILE", str(tmp_path / "testers"))
    with Plane(tmp_path, nats_url, guarded.url, f"t_{secrets.token_hex(6)}") as made:
        monkeypatch.undo()
        file = made.folder / "elastinats.toml"
        own = f'[elasticsearch]\nsetup = false\nusername = "{USER}"\npassword_file = "{tmp_path}/password"'
        file.write_text(file.read_text().replace("[elasticsearch]", own))
        (tmp_path / "password").write_text("first")
        yield made
    urllib.request.install_opener(urllib.request.build_opener())


def signed(url: str, user: str, password: str, *more) -> urllib.request.OpenerDirector:
    """Return what asks a server as a user."""
    manager = urllib.request.HTTPPasswordMgrWithPriorAuth()
    manager.add_password(None, url, user, password, is_authenticated=True)
    return urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager), *more)


def status_of(plane: Plane, password: str, path: str = "/_cluster/health", body: bytes | None = None) -> int:
    """Return what the server answers to the sink's user."""
    opener = signed(plane.elasticsearch_url, USER, password, _Quiet())
    request = urllib.request.Request(plane.elasticsearch_url + path, body, {"Content-Type": "application/json"})
    with opener.open(request, timeout=10) as answer:
        return int(answer.status)


class _Quiet(urllib.request.HTTPErrorProcessor):
    """Takes every status for an answer."""

    def http_response(self, _request, response):
        return response


def put(plane: Plane, path: str, body: dict) -> None:
    """Change something of the server's."""
    request = urllib.request.Request(
        plane.elasticsearch_url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="PUT"
    )
    urllib.request.urlopen(request, timeout=30).close()


def test_a_rotated_password_is_picked_up(plane, guarded):
    """Refused with 401 in mid-run, the sink waits, reads the file again, and goes on: nothing is lost or doubled."""
    sink = plane.start_sink()
    publish(plane, PER_FRAME)
    plane.wait_for_count(PER_FRAME)
    guarded.set_password("second")
    wait_until(lambda: status_of(plane, "first") == 401, plane)
    publish_messages(plane.nats_url, [frame(plane.dataset, {"message": "after"}, source=event.new_source())])
    wait_until(lambda: "401" in plane.outputs(), plane)
    (plane.folder / "password").write_text("second")
    plane.wait_for_count(PER_FRAME + 1)
    assert plane.terminate(sink) == 0
    assert_each_once(plane, PER_FRAME + 1)
    assert letters(plane) == []


def test_a_right_that_is_taken_away_is_waited_for(plane, guarded):
    """403 blames the operator, not the event: when the right is back, everything is indexed once."""
    sink = plane.start_sink()
    publish(plane, PER_FRAME)
    plane.wait_for_count(PER_FRAME)
    guarded.set_rights("read", "view_index_metadata")
    action = b'{"create":{"_index":"logs-%b-test"}}\n{}\n' % plane.dataset.encode()
    wait_until(lambda: status_of(plane, "first", "/_bulk", action) == 403, plane)
    publish_messages(plane.nats_url, [frame(plane.dataset, {"message": "after"}, source=event.new_source())])
    wait_until(lambda: "security_exception" in plane.outputs(), plane)
    guarded.set_rights(*RIGHTS)
    plane.wait_for_count(PER_FRAME + 1)
    assert plane.terminate(sink) == 0
    assert_each_once(plane, PER_FRAME + 1)
    assert letters(plane) == []


@pytest.mark.parametrize("cluster", ["monitor", HEALTH])
def test_the_rights_of_the_readme_are_enough_after_a_rollover(plane, guarded, cluster):
    """A replay is looked up in older backing indices with no other rights than those, `monitor` or not."""
    guarded.set_rights(*RIGHTS, cluster=cluster)
    wait_until(lambda: (status_of(plane, "first", "/_tasks") == 200) is (cluster == "monitor"), plane)
    source = event.new_source()
    sink = plane.start_sink()
    publish_messages(plane.nats_url, [frame(plane.dataset, {"message": "one"}, source=source)])
    plane.wait_for_count(1)
    assert plane._ask(f"/logs-{plane.dataset}-test/_rollover", {})["rolled_over"]
    again = frame(plane.dataset, {"message": "one"}, {"message": "two"}, source=source, **{"Dp-Replay": "1"})
    publish_messages(plane.nats_url, [again])
    plane.wait_for_count(2)
    assert plane.terminate(sink) == 0
    assert_each_once(plane, 2)


def test_a_document_above_what_the_server_takes_is_a_dead_letter(plane):
    """Too large requests are halved: one document above `http.max_content_length` dies alone, with its own bytes."""
    documents = [{"message": f"line {n} " + "x" * 150_000} for n in range(9)]
    documents[4] = {"message": "y" * (MAX_REQUEST_BYTES + 1)}
    sent = frame(plane.dataset, *documents, source=event.new_source())
    compressed = zstandard.ZstdCompressor().compress(sent[1])
    sink = plane.start_sink()
    publish_messages(plane.nats_url, [(sent[0], compressed, {**sent[2], "Content-Encoding": "zstd"})])
    plane.wait_for_count(8)
    wait_until(lambda: letters(plane), plane)
    (letter,) = letters(plane)
    assert (letter["reason"], letter["bytes"] > MAX_REQUEST_BYTES) == ("too_large", True)
    assert plane.terminate(sink) == 0
    assert_each_once(plane, 8)


def test_a_flood_of_the_disk_is_waited_out(plane):
    """Indices that became read-only stall their route; when the block is lifted, everything is indexed once."""
    sink = plane.start_sink()
    publish(plane, PER_FRAME)
    plane.wait_for_count(PER_FRAME)
    settings = f"/logs-{plane.dataset}-test/_settings"
    put(plane, settings, {"index.blocks.read_only_allow_delete": True})
    publish_messages(plane.nats_url, [frame(plane.dataset, {"message": "after"}, source=event.new_source())])
    wait_until(lambda: "cluster_block_exception" in plane.outputs(), plane)
    assert plane.count() == PER_FRAME
    put(plane, settings, {"index.blocks.read_only_allow_delete": None})
    plane.wait_for_count(PER_FRAME + 1)
    assert plane.terminate(sink) == 0
    assert_each_once(plane, PER_FRAME + 1)
    assert letters(plane) == []


def test_what_a_strict_mapping_refuses_is_kept_with_its_cause(plane):
    """A type conflict and a field beyond the limit are dead letters that name field and cause; the rest is indexed."""
    strict = {
        "index_patterns": [f"logs-{plane.dataset}-*"],
        "priority": 500,
        "data_stream": {},
        "template": {
            "settings": {"index.mapping.total_fields.limit": 8, "number_of_replicas": 0},
            "mappings": {"properties": {"n": {"type": "long"}, "message": {"type": "keyword"}}},
        },
    }
    put(plane, f"/_index_template/{plane.dataset}", strict)
    many = {f"field_{number}": 1 for number in range(20)}
    documents = [{"message": "a", "n": 1}, {"message": "b", "n": "many"}, {"message": "c", **many}]
    sink = plane.start_sink()
    publish_messages(plane.nats_url, [frame(plane.dataset, *documents, source=event.new_source())])
    plane.wait_for_count(1)
    wait_until(lambda: len(letters(plane)) == 2, plane)
    causes = sorted(letter["cause"] for letter in letters(plane))
    assert "failed to parse field [n] of type [long]" in causes[0]
    assert "; caused by " in causes[0]
    assert "Limit of total fields [8]" in causes[1]
    assert {letter["reason"] for letter in letters(plane)} == {"rejected"}
    assert plane.terminate(sink) == 0
    assert_each_once(plane, 1)


@pytest.mark.parametrize(
    ("rights", "cluster", "lacking"),
    [
        ((*RIGHTS, "delete"), "monitor", []),
        (RIGHTS, "monitor", ["privilege delete"]),
        ((*RIGHTS, "delete"), HEALTH, ["privilege monitor"]),
        (RIGHTS, HEALTH, ["privilege monitor", "privilege delete"]),
    ],
)
def test_check_warns_of_optional_rights_that_are_missing(plane, guarded, rights, cluster, lacking):
    """One line for each, which says what is lost; it is no error."""
    guarded.set_rights(*rights, cluster=cluster)
    config = str(plane.folder / "elastinats.toml")

    def warned() -> list[str]:
        told = json.loads(plane.command("elastinats", "check", "--config", config, "--json"))
        return [finding["what"] for finding in told["findings"] if finding["is_warning"]]

    wait_until(lambda: warned() == lacking, plane)
    printed = plane.command("elastinats", "check", "--config", config).splitlines()
    lines = [line for line in printed if line.startswith("warn ")]
    assert [line.split(":")[0] for line in lines] == [f"warn {what}" for what in lacking]
    assert all("rollover" in line for line in lines)
