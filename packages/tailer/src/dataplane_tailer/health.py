"""What a running tailer says about itself on its `[telemetry]` address.

Flows in: an address. Flows out: whether it answers, whether it ships, and what it may not read.
"""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

#: A tailer that is busy answers from a thread of its own; one that does not answer for so long hangs.
_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Health:
    """`answers` is None where no address is configured; `refused` is by path; `troubles` are the other reasons."""

    answers: bool | None = None
    troubles: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


def ask(listen: str | None) -> Health:
    """Ask /readyz; silence is an answer, too."""
    if listen is None:
        return Health()
    try:
        address = f"127.0.0.1{listen}" if listen.startswith(":") else listen
        connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", "/readyz")
            body = json.loads(connection.getresponse().read())
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Health(answers=False, troubles=(f"{listen} does not answer: {error}",))
    return read_reasons(body.get("reasons", []) if isinstance(body, dict) else [])


def read_reasons(reasons: list[str]) -> Health:
    """Sort the reasons of /readyz: those about a file begin with its path. Pure."""
    refused = dict(reason.split(": ", 1) for reason in reasons if reason.startswith("/") and ": " in reason)
    troubles = tuple(reason for reason in reasons if not reason.startswith("/"))
    return Health(answers=True, troubles=troubles, refused=refused)
