"""What the emitter says on stderr."""

from dataplane_emitter.notice import Notices


class _Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def _notices() -> tuple[Notices, list[str], _Clock]:
    lines: list[str] = []
    clock = _Clock()
    return Notices("shop", lines.append, clock), lines, clock


def test_a_trouble_is_said_once_a_minute() -> None:
    """However often a problem comes, there is one line a minute, with what waits and what was dropped."""
    notices, lines, clock = _notices()
    for second in range(150):
        clock.now += 1
        notices.report("no server")
        notices.tick(10, 0, {"queue_full": second})
    assert len(lines) == 3
    assert lines[-1] == "shop: no server; 10 events wait, 120 dropped so far (queue_full 120)"


def test_the_end_of_a_trouble_is_said_once() -> None:
    """When events arrive again, one line says so with the final count; then there is silence."""
    notices, lines, clock = _notices()
    notices.report("no server")
    notices.tick(5, 0, {})
    for acknowledged in range(1, 200):
        clock.now += 1
        notices.tick(0, acknowledged, {"queue_full": 3})
    assert lines == [
        "shop: no server; 5 events wait, none dropped",
        "shop: events arrive again; 3 dropped so far (queue_full 3)",
    ]


def test_nothing_is_said_without_trouble() -> None:
    """An emitter that works is silent."""
    notices, lines, clock = _notices()
    for acknowledged in range(100):
        clock.now += 10
        notices.tick(1, acknowledged, {})
    assert lines == []


def test_credentials_are_never_said() -> None:
    """A problem's text that has a URL with a password loses it."""
    notices, lines, _ = _notices()
    notices.report("cannot reach nats://ann:secret@host:4222")
    notices.tick(0, 0, {})
    assert "secret" not in lines[0]
    assert "host:4222" in lines[0]
