"""Rules of ending: real signals to real processes."""

import asyncio
import functools
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from dataplane_common.lifecycle import cancel, pass_on_if_from_signal

SERVICE = """
import asyncio, sys
from dataplane_common.errors import ConfigError
from dataplane_common.lifecycle import run_service

async def service(stop):
    print("ready", flush=True)
    await stop.wait()
    print("draining", flush=True)
    {ending}
    return 0

sys.exit(run_service(service, on_reload=lambda: print("reload", flush=True)))
"""


def _start(ending: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE.format(ending=ending)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_task_that_swallows_its_cancellation_is_ended_all_the_same() -> None:
    """A library may catch the first request; nothing of ours waits for such a task for ever."""
    swallowed = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed.append(1)
                if len(swallowed) == 3:
                    raise

    async def work() -> None:
        task = asyncio.ensure_future(stubborn())
        await asyncio.sleep(0)
        await asyncio.wait_for(cancel(task), 10)

    asyncio.run(work())
    assert len(swallowed) == 3


def test_the_first_signal_asks() -> None:
    """SIGTERM sets the stop event; the service ends with its own exit code."""
    process = _start("pass")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    assert (out, err, process.returncode) == ("draining\n", "", 0)


def test_the_second_signal_kills() -> None:
    """Whoever asks twice does not wait for the drain."""
    process = _start("await asyncio.sleep(60)")
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "draining\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGTERM


def test_sighup_reloads_and_does_not_stop() -> None:
    """A reload is told to the service, which goes on."""
    process = _start("pass")
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == "reload\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0


def test_an_error_of_ours_is_one_line_and_its_exit_code() -> None:
    """No traceback for what we raise on purpose."""
    process = _start('raise ConfigError("x: wrong")')
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert (err, process.returncode) == ("error: x: wrong\n", 2)


class _Limit:
    def method(self, *_: object) -> None:
        raise TimeoutError

    __call__ = method


@pytest.mark.parametrize("handler", [_Limit().method, _Limit(), functools.partial(_Limit.method, _Limit())])
def test_what_a_signals_handler_raises_is_passed_on(handler: Any) -> None:
    """A handler may be anything that can be called; the same exception from elsewhere is kept."""
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(TimeoutError):
            _keep(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        _keep(lambda: int("x"))
    finally:
        signal.signal(signal.SIGUSR1, before)
    _keep(handler)


def _keep(work: Any) -> None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - as who keeps everything does
        pass_on_if_from_signal(error)
