"""What a logger's name decides."""

import logging

from dataplane_emitter import settings
from dataplane_emitter.envelope import Envelope
from dataplane_emitter.rules import Rules, is_under
from dataplane_emitter.testing import capture_events


def _rules(**given: object) -> Rules:
    config = settings.load(service="shop", **given)
    return Rules(config, Envelope(config))


def test_a_prefix_ends_at_a_dot() -> None:
    """`app` is about `app` and `app.db`, not about `apple`."""
    assert is_under("app", "app")
    assert is_under("app.db", "app")
    assert not is_under("apple", "app")


def test_the_longest_prefix_wins() -> None:
    """A rule for a part of an application counts before the one for the whole."""
    rules = _rules(datasets={"app": "app", "app.web.access": "web"}, levels={"app": "error", "app.web": "debug"})
    assert rules.of("app.db").routes.direct.event == {"dataset": "app"}
    assert rules.of("app.web.access").routes.direct.event == {"dataset": "web"}
    assert rules.of("other").routes.direct.event == {"dataset": "shop"}
    assert rules.of("app.db").least == 40
    assert rules.of("app.web.x").least == 10
    assert rules.of(None).least == 0


def test_our_own_loggers_never_pass() -> None:
    """The client's and our own loggers are silent; asyncio passes from warning on, for exceptions nobody retrieved."""
    rules = _rules()
    assert rules.of("nats.aio.client").least > 50
    assert rules.of("dataplane_common.bus").least > 50
    assert rules.of("asyncio").least == 30


def test_made_up_names_cost_no_memory() -> None:
    """An application that makes up logger names for ever does not grow."""
    rules = _rules()
    for number in range(10_000):
        rules.of(f"request.{number}")
    assert len(rules._known) <= 4_096


def test_made_up_fields_and_places_cost_no_memory() -> None:
    """Nor does one that makes up names of fields, or whose records come from ever new places."""
    with capture_events() as captured:
        handler, intake = captured.emitter.handler(), captured.emitter.intake()
        for number in range(5_000):
            handler.handle(logging.makeLogRecord({"name": f"request.{number}", "msg": "x", f"field{number}": number}))
        assert captured.emitter.stats().accepted == 5_000
    assert len(intake._names) <= 4_096
    assert len(intake.origins._known) <= 4_096
