"""What the examples promise: each can be used as it is, and reads what it says that it reads."""

from pathlib import Path

import msgspec
import pytest

from dataplane_tailer import config as configuration
from dataplane_tailer.discover import entry_for
from dataplane_tailer.multiline import cutter
from dataplane_tailer.render import Origin, Tally, renderer

FOLDER = Path(__file__).parents[1] / "examples"
COMBINED = '192.0.2.7 - ann [22/Nov/2026:10:15:30 +0000] "GET /a HTTP/1.1" 200 512 "-" "curl/8.5"'
JAVA = (
    "2026-11-22 10:15:30,123 ERROR [main] com.example.Shop - no stock\n"
    "java.lang.IllegalStateException: no stock\n\tat com.example.Shop.sell(Shop.java:42)"
)

#: example → a path that it reads, a line there, fields that the event has.
SAMPLES = [
    ("nginx", "/var/log/nginx/shop.access.log", COMBINED, {"http": {"response": {"status_code": 200}}}),
    (
        "nginx",
        "/var/log/nginx/error.log",
        '2026/11/22 10:15:30 [error] 12#13: *7 open() "/x" failed (2: No such file or directory)',
        {"log": {"level": "error"}, "process": {"pid": "12"}},
    ),
    ("apache", "/var/log/apache2/access.log", COMBINED, {"service": {"name": "apache"}}),
    (
        "apache",
        "/var/log/httpd/error_log",
        "[Sun Nov 22 10:15:30.123456 2026] [core:notice] [pid 1:tid 2] AH00094: Command line",
        {"event": {"dataset": "apache_error"}},
    ),
    (
        "traffic_server",
        "/var/log/trafficserver/squid.log",
        "1763806530.123 7 192.0.2.7 TCP_HIT/200 512 GET http://example.net/a - NONE/- text/html",
        {"http": {"response": {"status_code": 200}}},
    ),
    (
        "traffic_server",
        "/var/log/trafficserver/custom.log",
        '1763806530.123 192.0.2.7 GET "http://example.net/a b" TCP_HIT/200 512 7 "curl/8.5 (x)"',
        {"http": {"response": {"status_code": 200}}, "user_agent": {"original": "curl/8.5 (x)"}},
    ),
    ("traffic_server", "/var/log/trafficserver/diags.log", "[Nov 22 10:15:30.123] NOTE: ready", {}),
    ("java", "/var/log/shop/app.log", JAVA, {"log": {"level": "ERROR", "logger": "com.example.Shop"}}),
    (
        "json_application",
        "/srv/checkout/log/a.jsonl",
        '{"ts":"2026-11-22T10:15:30Z","lvl":"info","msg":"paid","req_id":"r1"}',
        {"@timestamp": "2026-11-22T10:15:30.000000Z", "trace": {"id": "r1"}, "log": {"level": "info"}},
    ),
    (
        "kubernetes",
        "/var/log/pods/shop_web-1_uid/nginx/0.log",
        '2026-11-22T10:15:30.123456789Z stdout F {"level":"info","user":"ann"}',
        {"@timestamp": "2026-11-22T10:15:30.123456Z", "user": {"name": "ann"}},
    ),
    (
        "docker",
        "/var/lib/docker/containers/abc/abc-json.log",
        '{"log":"hello\\n","stream":"stdout","time":"2026-11-22T10:15:30.123456789Z"}',
        {"message": "hello"},
    ),
]


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.toml")), ids=lambda file: file.stem)
def test_each_example_is_a_configuration(file):
    """It loads as it is, keeps its state in the usual place, and serves its own health."""
    loaded = configuration.load(file, {})
    assert str(loaded.state_dir) == "/var/lib/dataplane-tailer"
    assert loaded.telemetry.listen is not None
    assert file.name in (FOLDER / "README.md").read_text()


def test_no_example_is_missing():
    """What is promised is there."""
    promised = {"nginx", "apache", "traffic_server", "java", "json_application", "kubernetes", "docker", "journal"}
    assert {file.stem for file in FOLDER.glob("*.toml")} == promised


@pytest.mark.parametrize(("name", "path", "line", "fields"), SAMPLES)
def test_each_example_reads_what_it_says(name, path, line, fields):
    """A line of the kind is one event, parsed, with the fields that the example promises."""
    entry = entry_for(path, configuration.load(FOLDER / f"{name}.toml", {}).inputs)
    assert entry is not None
    cut = cutter(entry, entry.multiline)
    if cut is not None:
        lines = line.encode().split(b"\n")
        assert cut(lines, True) == [len(lines)]
    tally = Tally()
    origin = Origin("00000000000000aa", path, entry.dataset, "host-1", dict(entry.fields))
    events = b"".join(renderer(origin, entry, tally)([line.encode()], 0, 1, "2026-11-22T11:00:00.000000Z"))
    event = msgspec.json.decode(events)
    assert (tally.unparsed, tally.dropped.total(), "error" in event) == (0, 0, False), event
    assert _within(fields, event), event


def _within(expected, found) -> bool:
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(_within(value, found.get(key)) for key, value in expected.items())
    return expected == found or str(expected) == str(found)


@pytest.mark.parametrize(
    ("name", "path", "line"),
    [
        ("nginx", "/var/log/nginx/access.log", COMBINED.replace("GET /a", "GET /healthz")),
        ("json_application", "/srv/checkout/log/a.jsonl", '{"ts":"2026-11-22T10:15:30Z","lvl":"debug","msg":"x"}'),
    ],
)
def test_what_an_example_drops_is_counted(name, path, line):
    """A filter takes the line that it is meant for."""
    entry = entry_for(path, configuration.load(FOLDER / f"{name}.toml", {}).inputs)
    tally = Tally()
    origin = Origin("00000000000000aa", path, entry.dataset, "host-1")
    assert b"".join(renderer(origin, entry, tally)([line.encode()], 0, 1, "2026-11-22T11:00:00.000000Z")) == b""
    assert tally.dropped.total() == 1
