"""A configuration of the original elastinats becomes one that can be run, and says what was left out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dataplane_common.errors import ConfigError
from elastinats.config import load_config
from elastinats.original import translate
from elastinats.routes import feeds

ORIGINAL = {
    "nats_conf": {"servers": ["nats://bus:4222"], "ca_files": ["a.pem", "b.pem"], "cert_file": "c", "key_file": "k"},
    "subjects": [
        {
            "subject": "logs.>",
            "group": "shared",
            "elastic_conf": {
                "hosts": ["search-1", "search-2"],
                "port": 9201,
                "index": 'web-{{.Format "2006.01.02"}}',
                "type": "log",
                "batch_size": 5000,
                "batch_timeout_sec": 5,
            },
        },
        {"subject": "streamer.>", "group": "other", "elastic_conf": {"hosts": ["search-3"], "index": "old"}},
    ],
    "report_sec": 10,
}


@pytest.fixture
def written(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(ORIGINAL))
    return file


def test_the_result_can_be_run(written, tmp_path):
    """What the command prints loads, and its routes are those of the original."""
    command = str(Path(sys.executable).with_name("elastinats"))
    done = subprocess.run([command, "check", "--from-original", str(written)], capture_output=True, check=True)
    toml = tmp_path / "elastinats.toml"
    toml.write_bytes(done.stdout)
    config = load_config(toml)
    assert config.name == "shared"
    assert config.nats.servers == ("nats://bus:4222",)
    assert str(config.nats.tls.ca_file) == "a.pem"
    assert config.elasticsearch.hosts == ("http://search-1:9201", "http://search-2:9201")
    assert (config.batch.max_count, config.batch.linger_ms) == (5000, 5000)
    assert [(feed.stream, feed.filter_subjects, feed.plan.target) for feed in feeds(config)] == [
        ("LOGS", (), "logs-web-default"),
        ("ORIGINAL", ("streamer.>",), "logs-old-default"),
    ]


def test_what_has_no_equivalent_is_a_comment(written):
    """Nothing is passed over in silence."""
    comments = " ".join(line for line in translate(written) if line.startswith("#"))
    for said in ("report_sec", "types", "search-3:9200", "b.pem", "shared, other", "2006.01.02"):
        assert said in comments


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"subjects": []}', '{"subjects": [1]}'])
def test_what_is_no_such_configuration_is_said(tmp_path, text):
    """A file that is something else is one clear error."""
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json: "):
        translate(file)


def test_a_missing_file_is_said(tmp_path):
    """The path is named."""
    with pytest.raises(ConfigError, match="nowhere"):
        translate(tmp_path / "nowhere")
