"""Ports for local servers: the one that is wished for if it is free, else another one, and which it was.

Invariant: a port that is made up lies below the ephemeral range, so that no outgoing connection takes it while its
server restarts, and no client that waits for the server connects to itself (RFC 6335, ip-sysctl: 32768 and above).
"""

import random
import socket
from typing import NamedTuple

from dataplane_common.errors import Fatal

LOOPBACK = "127.0.0.1"
_LOWEST = 20_000
_HIGHEST = 31_999
#: Enough tries to find a free port where half of the range is taken.
_TRIES = 200


class Port(NamedTuple):
    """A port that was free a moment ago; `wished` is another one if that was taken, else None."""

    number: int
    wished: int | None = None


def free_port(preferred: int = 0) -> Port:
    """Return `preferred` if it is free on the loopback interface, else another port; 0 means any.

    Raises:
        Fatal: no port is free.
    """
    if preferred and is_free(preferred):
        return Port(preferred)
    for _ in range(_TRIES):
        number = random.randint(_LOWEST, _HIGHEST)  # noqa: S311 - only spreads parallel test runs
        if is_free(number):
            return Port(number, preferred or None)
    raise Fatal(f"no free port between {_LOWEST} and {_HIGHEST}: stop some of the servers on this machine")


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port of the loopback interface now."""
    with socket.socket() as probe:
        # What a server does: connections of its predecessor that are still closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
