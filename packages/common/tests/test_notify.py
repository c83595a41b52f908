"""What the service manager is told, on a real socket."""

import asyncio
import os
import socket

import pytest

from dataplane_common import notify


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """A socket that listens as a service manager does."""
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(10)
        yield listener


def test_each_state_is_one_datagram(manager):
    """The fields are those of sd_notify(3), one a line."""
    assert notify.ready("12 files")
    assert manager.recv(1024) == b"READY=1\nSTATUS=12 files"
    assert notify.stopping()
    assert manager.recv(1024) == b"STOPPING=1"
    assert notify.reloading()
    first, second = manager.recv(1024).split(b"\n")
    assert (first, second[:15], second[15:].isdigit()) == (b"RELOADING=1", b"MONOTONIC_USEC=", True)


def test_an_abstract_socket_is_heard_as_well(monkeypatch):
    """An address that begins with `@` is in the abstract namespace (unix(7))."""
    name = f"dataplane-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(10)
        assert notify.ready()
        assert listener.recv(1024) == b"READY=1"


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "relative", "/" + "x" * 200])
def test_without_a_manager_nothing_happens(monkeypatch, address):
    """No socket, or one that nobody listens on, is no error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify.ready()


def test_signs_of_life_come_twice_within_the_managers_patience(manager, monkeypatch):
    """WATCHDOG_USEC of 100 ms brings signs until the service stops; none are sent for another process."""
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    assert notify.watchdog_interval_s() == 0.05
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert notify.watchdog_interval_s() is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))

    async def work():
        stop = asyncio.Event()
        task = asyncio.ensure_future(notify.keep_alive(stop))
        heard = [await asyncio.to_thread(manager.recv, 1024) for _ in range(3)]
        stop.set()
        await asyncio.wait_for(task, 10)
        return heard

    assert asyncio.run(work()) == [b"WATCHDOG=1"] * 3


@pytest.mark.parametrize("patience", ["", "0", "soon"])
def test_without_a_watchdog_no_sign_is_sent(monkeypatch, patience):
    """A patience that is none asks for nothing, and the task for it ends at once."""
    monkeypatch.setenv("WATCHDOG_USEC", patience)
    assert notify.watchdog_interval_s() is None
    asyncio.run(asyncio.wait_for(notify.keep_alive(asyncio.Event()), 10))
