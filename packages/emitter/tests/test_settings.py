"""The emitter's configuration."""

from pathlib import Path

import pytest

from dataplane_emitter import ConfigError, settings


def test_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container needs no file and no argument."""
    monkeypatch.setenv("DATAPLANE_SERVICE", "checkout")
    monkeypatch.setenv("DATAPLANE_NAMESPACE", "prod")
    monkeypatch.setenv("DATAPLANE_NATS__SERVERS", "nats://a:1, nats://b:2")
    monkeypatch.setenv("DATAPLANE_QUEUE__MAX_EVENTS", "500")
    config = settings.load()
    assert (config.service, config.namespace, config.dataset) == ("checkout", "prod", "checkout")
    assert config.nats.servers == ("nats://a:1", "nats://b:2")
    assert config.queue.max_events == 500


def test_arguments_count_before_the_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Precedence: defaults < file < environment < arguments."""
    file = tmp_path / "emitter.toml"
    file.write_text('service = "file"\nnamespace = "file"\ndataset = "file"\nlinger_ms = 7\n')
    monkeypatch.setenv("DATAPLANE_NAMESPACE", "env")
    monkeypatch.setenv("DATAPLANE_SERVICE", "env")
    config = settings.load(file, service="argument")
    assert (config.service, config.namespace, config.dataset, config.linger_ms) == ("argument", "env", "file", 7)


def test_the_dataset_comes_from_the_service() -> None:
    """Without a dataset, it is the service's name as a token."""
    assert settings.load(service="Check-Out.API").dataset == "check_out_api"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ["service", "required"]),
        ({"service": " "}, ["service", "DATAPLANE_SERVICE"]),
        ({"service": "x", "namespace": "Prod"}, ["namespace", "prod"]),
        ({"service": "x", "dataset": "a-b"}, ["dataset", "a_b"]),
        ({"service": "x", "datasets": {"app": "A"}}, ["datasets.app"]),
        ({"service": "x", "delivery": "pigeon"}, ["configure()", "delivery"]),
        ({"service": "x", "lingerms": 5}, ["configure()", "lingerms", "linger_ms"]),
        ({"service": "x", "queue": {"max_event": 5}}, ["queue.max_event", "max_events"]),
        ({"service": "x", "queue": {"max_events": 0}}, ["queue.max_events", "at least 1"]),
        ({"service": "x", "queue": {"max_bytes": 10}}, ["queue.max_bytes"]),
        ({"service": "x", "metrics": {"interval_s": 0}}, ["metrics.interval_s"]),
        ({"service": "x", "levels": {"app": "loud"}}, ["levels.app", "loud"]),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(given: dict[str, object], words: list[str]) -> None:
    """A wrong configuration names the place, the value and the remedy."""
    with pytest.raises(ConfigError) as caught:
        settings.load(**given)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.mark.parametrize("given", ["nats://a:1, nats://b:2", ["nats://a:1", "nats://b:2"]])
def test_servers_may_be_one_text_or_several(given: str | list[str]) -> None:
    """One URL, several with commas, or a sequence mean the same."""
    assert settings.servers_setting(given) == {"servers": ["nats://a:1", "nats://b:2"]}
    assert settings.servers_setting(None) is None
