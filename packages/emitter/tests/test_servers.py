"""Which texts are servers' URLs."""

from pathlib import Path
from typing import Any

import pytest

from dataplane_emitter import ConfigError, configure, settings

_REMEDY = "give nats://HOST:PORT"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nats//x", ['"nats//x"', "follows the host"]),
        ("http://x", ['"http://x"', "NATS has the schemes nats, tls, ws, wss"]),
        ("nats://x:99999", ["nats://x:99999", "port"]),
        ("nats://x:0", ["port"]),
        ("nats://x:http", ["port"]),
        ("nats://", ["no host"]),
        ("nats:///x", ["no host"]),
        ("nats://:4222", ["no host"]),
        ("nats://a b", ["space"]),
        ("nats://[::1", ["no host"]),
        ("nats://x:4222/logs", ["follows the host"]),
        ("nats://x?tls=1", ["follows the host"]),
    ],
)
def test_what_is_no_servers_url_is_refused_in_one_line(url: str, words: list[str]) -> None:
    """A server that can never be reached is a mistake, not a bus that is away: setting, value, reason, remedy."""
    with pytest.raises(ConfigError) as caught:
        configure(service="x", servers=["nats://127.0.0.1:1", url])
    text = str(caught.value)
    assert text.startswith("configure(): nats.servers.1: ")
    assert "\n" not in text
    for word in [*words, _REMEDY]:
        assert word in text


@pytest.mark.parametrize("servers", [4222, [4222], [None], b"nats://x", {"a": 1}])
def test_servers_of_another_type_are_refused_alike(servers: Any) -> None:
    """What is neither a text nor a list of texts is a `ConfigError`, too."""
    with pytest.raises(ConfigError, match=r"^configure\(\): nats\.servers.*expected"):
        configure(service="x", servers=servers)


@pytest.mark.parametrize("servers", ["", " , ", []])
def test_no_server_at_all_is_refused(servers: str | list[str]) -> None:
    """An empty list of servers can reach nothing."""
    with pytest.raises(ConfigError, match=r"configure\(\): nats\.servers: there is none; give nats://HOST:PORT"):
        settings.load(service="x", nats=settings.servers_setting(servers))


@pytest.mark.parametrize(
    "url",
    [
        "nats://ann:hunter2@x:99999",
        "http://ann:hunter2@x",
        "nats://ann:hunter2/@x",
        "nats://ann:hunter2,@x:4222",
        "nats://ann:#hunter2@x",
        "ann:hunter2@",
        "hunter2@x:http",
        "ann://hunter2@x",
    ],
)
def test_no_part_of_a_password_is_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the error, which says where the URL came from, nor what leads to it has the secret, however it is cut."""
    monkeypatch.setenv("DATAPLANE_NATS__SERVERS", url)
    with pytest.raises(ConfigError, match=r"^the environment: nats\.servers\.\d: ") as caught:
        settings.load(service="x")
    assert "hunter" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_file_is_named_as_the_origin(tmp_path: Path) -> None:
    """The line names the file that has the mistake."""
    file = tmp_path / "emitter.toml"
    file.write_text('service = "x"\n[nats]\nservers = ["nats://x:99999"]\n')
    with pytest.raises(ConfigError) as caught:
        settings.load(file)
    assert str(caught.value).startswith(f"{file}: nats.servers.0: ")


def test_two_ways_to_connect_do_not_mix() -> None:
    """The client speaks to servers over WebSocket or without it, not both."""
    with pytest.raises(ConfigError, match=r"nats\.servers: .*ws://"):
        settings.load(service="x", nats={"servers": ["ws://a", "nats://b"]})


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("nats://a:4222", "nats://a:4222"),
        ("a", "nats://a"),
        ("a:1", "nats://a:1"),
        ("ann:hunter2@a:1", "nats://ann:hunter2@a:1"),
        ("tls://a/", "tls://a/"),
        ("NATS://a", "nats://a"),
        ("wss://a:443", "wss://a:443"),
        ("nats://[::1]:4222", "nats://[::1]:4222"),
        ("nats://t0k-en@bücher.example:4222", "nats://t0k-en@bücher.example:4222"),
    ],
)
def test_a_server_may_be_written_in_short(url: str, meant: str) -> None:
    """Without a scheme it is nats://, so that a password in it is known as one wherever servers are named."""
    config = settings.load(service="x", nats={"servers": [url]})
    assert config.nats.servers == (meant,)
    assert "hunter2" not in repr(config.nats)
