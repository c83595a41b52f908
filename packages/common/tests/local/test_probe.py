"""Questions to local servers over HTTP."""

import pytest

from dataplane_common.errors import Transient
from dataplane_common.local import NatsServer, free_port, probe


def test_an_absent_server_is_transient() -> None:
    """Nobody listens: the error names the address, and `is_ok` is simply False."""
    url = f"http://127.0.0.1:{free_port().number}/healthz"
    with pytest.raises(Transient, match="does not answer"):
        probe.get(url)
    assert not probe.is_ok(url)


def test_a_proxy_is_passed_by(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is for the network, not for this machine's own servers."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    nats.start()
    assert probe.is_ok(f"{nats.monitor_url}/healthz")


def test_an_answer_that_is_no_json_or_no_success_is_transient(nats: NatsServer) -> None:
    """`get_json` promises JSON: a page or a 404 raises, with the status."""
    nats.start()
    with pytest.raises(Transient, match="answers 404"):
        probe.get_json(f"{nats.monitor_url}/no-such-page")
    with pytest.raises(Transient, match="does not answer JSON"):
        probe.get_json(f"{nats.monitor_url}/")
    assert probe.get_json(f"{nats.monitor_url}/varz")["server_name"] == "dataplane-local"
