"""Tells the service manager how this process is: sd_notify(3), without its library.

Flows in: what the service has come to. Flows out: datagrams to `$NOTIFY_SOCKET`. Invariant: without a manager, or with
one that does not listen, nothing happens; a service never fails because nobody hears of it.
"""

import asyncio
import os
import socket
import time

from dataplane_common.config import environment
from dataplane_common.lifecycle import wait_first

#: A sign of life is sent this many times within the manager's patience (sd_watchdog_enabled(3) says: about half).
_SIGNS_OF_LIFE = 2
#: A manager that is stuck may not hold up the service.
_SEND_TIMEOUT_S = 1.0


def notify(*fields: str) -> bool:
    """Send `NAME=value` fields in one datagram; return whether a manager took them."""
    address = environment("NOTIFY_SOCKET")
    if address is None or address[0] not in "/@":
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(_SEND_TIMEOUT_S)
            sender.connect("\0" + address[1:] if address[0] == "@" else address)
            sender.send("\n".join(fields).encode())
    except OSError:
        return False
    return True


def ready(status: str = "") -> bool:
    """Say that the service does its work, at the start and again after a reload."""
    return notify("READY=1", *_status(status))


def stopping(status: str = "") -> bool:
    """Say that the service drains and will end."""
    return notify("STOPPING=1", *_status(status))


def reloading() -> bool:
    """Say that a reload has begun; `ready` says that it is done."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval_s() -> float | None:
    """Return how often the manager wants a sign of life, None if it does not watch this process."""
    patience_us, process = environment("WATCHDOG_USEC"), environment("WATCHDOG_PID")
    if patience_us is None or not patience_us.isdigit() or int(patience_us) == 0:
        return None
    if process is not None and process != str(os.getpid()):
        return None
    return int(patience_us) / 1_000_000 / _SIGNS_OF_LIFE


async def keep_alive(stop: asyncio.Event) -> None:
    """Give signs of life until `stop` is set; they come from the event loop, so a loop that hangs gives none."""
    interval_s = watchdog_interval_s()
    if interval_s is None:
        return
    while not stop.is_set():
        notify("WATCHDOG=1")
        await wait_first(stop, timeout_s=interval_s)


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={text}",) if text else ()
