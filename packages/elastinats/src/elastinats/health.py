"""What keeps the sink from working at this moment, for /readyz and for its own log.

Flows in: troubles and recoveries by name. Flows out: reasons. Invariant: a trouble is there until it is mended.
"""

from dataplane_common.telemetry import get_logger

_log = get_logger("elastinats")


class Health:
    """Named troubles, each with its latest reason."""

    def __init__(self) -> None:
        self._troubles: dict[str, str] = {}

    def trouble(self, name: str, reason: str) -> None:
        """Note that something does not work; logged once a minute at most."""
        self._troubles[name] = f"{name}: {reason}"
        _log.warning(f"{name}.troubled", key=name, reason=reason)

    def mended(self, name: str) -> None:
        """Note that it works (again)."""
        if self._troubles.pop(name, None) is not None:
            _log.info(f"{name}.recovered")

    def reasons(self) -> list[str]:
        """Return what is wrong now."""
        return [*self._troubles.values()]
