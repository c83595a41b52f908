"""What an answer of Elasticsearch means, and what is sent to it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from dataplane.elastic import Elastic, _judged, data_stream_of
from dataplane.elastic_request import Request
from dataplane.settings import ElasticsearchConfig
from dataplane_common.errors import ConfigError, DataPlaneError, Fatal, Permanent, Transient
from dataplane_common.local import free_port

PARSE_ERROR = {
    "error": {
        "root_cause": [{"type": "query_shard_exception", "reason": "Failed to parse query [/index]"}],
        "type": "search_phase_execution_exception",
        "reason": "all shards failed",
        "failed_shards": [
            {
                "reason": {
                    "type": "query_shard_exception",
                    "reason": "Failed to parse query [/index]",
                    "caused_by": {"type": "parse_exception", "reason": "Cannot parse '/index': Lexical error\nmore"},
                }
            }
        ],
    },
    "status": 400,
}


def test_a_success_is_the_answer() -> None:
    """A 200 is decoded and given back."""
    assert _judged(200, b'{"a":1}', "h") == {"a": 1}


@pytest.mark.parametrize(
    ("status", "meaning"),
    [(400, Permanent), (404, Permanent), (401, ConfigError), (403, ConfigError), (429, Transient), (503, Transient)],
)
def test_a_refusal_has_one_of_our_meanings(status: int, meaning: type[DataPlaneError]) -> None:
    """What can succeed later is transient, credentials are configuration, a bad question is permanent."""
    with pytest.raises(meaning, match="why"):
        _judged(status, b'{"error":{"type":"x","reason":"why"}}', "h")


def test_the_innermost_cause_is_told_in_one_line() -> None:
    """`all shards failed` helps nobody: the reason at the bottom does, without its further lines."""
    with pytest.raises(Permanent) as caught:
        _judged(400, msgspec.json.encode(PARSE_ERROR), "h")
    assert str(caught.value) == "Cannot parse '/index': Lexical error"


@pytest.mark.parametrize("answer", [b"", b"<html>", b"\xff"])
def test_another_server_is_named(answer: bytes) -> None:
    """What does not answer JSON is no Elasticsearch."""
    with pytest.raises(Fatal, match="is this an Elasticsearch"):
        _judged(200, answer, "http://h:1")


@pytest.mark.parametrize("answer", [b"[]", b'{"error":"x"}', b'{"error":{}}', b"null", b'{"error":{"root_cause":[]}}'])
def test_an_unusual_error_is_still_one_of_ours(answer: bytes) -> None:
    """Proxies answer errors in shapes of their own; none of them may crash the command."""
    with pytest.raises(Transient, match="502"):
        _judged(502, answer, "h")


def test_an_absent_server_is_named_with_the_remedy() -> None:
    """Every host is tried, and the message says what to start or what to set."""
    hosts = tuple(f"http://user:secret@127.0.0.1:{free_port().number}" for _ in range(2))
    with pytest.raises(Transient, match=r"cannot be reached .*refused.*refused.*dataplane up") as caught:
        Elastic(ElasticsearchConfig(hosts=hosts)).health()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1:9200", "ftp://h", "http://", "http://h:99999", "http://h:port"])
def test_an_address_that_is_none_is_refused(host: str) -> None:
    """The message shows what an address looks like."""
    with pytest.raises(ConfigError, match=r"elasticsearch\.hosts: .*http://127\.0\.0\.1:9200"):
        Elastic(ElasticsearchConfig(hosts=(host,))).health()


@pytest.mark.parametrize(
    ("keys", "sent"),
    [
        ({}, {}),
        ({"api_key_file": "k\n"}, {"Authorization": "ApiKey k"}),
        ({"bearer_token_file": "t\n"}, {"Authorization": "Bearer t"}),
        ({"username": "u", "password_file": "p\n"}, {"Authorization": "Basic dTpw"}),
    ],
)
def test_credentials_are_sent_as_configured(keys: dict[str, str], sent: dict[str, str], tmp_path: Path) -> None:
    """Secrets are read from their files, without the newline that editors put at the end."""
    settings: dict[str, Any] = {}
    for key, value in keys.items():
        settings[key] = value
        if key.endswith("_file"):
            settings[key] = tmp_path / key
            settings[key].write_text(value)
    request = Request(ElasticsearchConfig(**settings), 1.0)
    assert request._authorization(_parts("http://h:1")) == sent


def test_credentials_in_the_address_are_sent(tmp_path: Path) -> None:
    """`http://user:pass@host` works as in every other tool, escapes included."""
    assert Request(ElasticsearchConfig(), 1.0)._authorization(_parts("http://u:p%40@h:1")) == {
        "Authorization": "Basic dTpwQA=="
    }
    missing = ElasticsearchConfig(username="u", password_file=tmp_path / "absent")
    with pytest.raises(ConfigError, match="absent: cannot read this secret"):
        Request(missing, 1.0)._authorization(_parts("http://h:1"))


def test_a_certificate_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    """The file is in the message, before anything is sent."""
    (tmp_path / "ca.pem").write_text("no certificate")
    config = ElasticsearchConfig(hosts=("https://127.0.0.1:1",), ca_file=tmp_path / "ca.pem")
    with pytest.raises(ConfigError, match=r"cannot be loaded \(.*ca\.pem\)"):
        Elastic(config).health()


@pytest.mark.parametrize("index", ["logs-x-y", ".ds-logs-x", "my-index-2026.11.22-000001"])
def test_another_index_is_its_own(index: str) -> None:
    """Only names of backing indices are shortened."""
    assert data_stream_of(index) == index


def _parts(host: str) -> Any:
    from urllib.parse import urlsplit  # noqa: PLC0415

    return urlsplit(host)
