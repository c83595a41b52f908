"""`--once`: ship what is there now, to the last acknowledgement, and stop.

Flows in: a started tailer. Flows out: a summary. Invariant: it ends cleanly only when every line is acknowledged.
"""

import asyncio
import sys
import time
from dataclasses import asdict, dataclass

from msgspec.structs import replace
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from dataplane_common.errors import Fatal
from dataplane_common.lifecycle import wait_first
from dataplane_tailer.config import TailerConfig
from dataplane_tailer.pipeline import Tailer, create
from dataplane_tailer.read import Flush

#: How long the bus may be silent before a one-off run gives up: longer than a leader election.
_SILENCE_S = 30.0
_TICK_S = 0.1
#: A one-off run waits no longer for what may be a copy in the making.
_HOLD_MS = 1000


@dataclass(frozen=True, slots=True)
class Summary:
    """What a one-off run has done; `bytes` and `lines` are those of this run."""

    files: int
    lines: int
    bytes: int
    seconds: float


async def ship_once(config: TailerConfig, stop: asyncio.Event) -> Summary:
    """Ship every file that the inputs match, up to its end.

    Raises:
        Transient: the bus cannot be reached.
        Fatal: no file matches, one cannot be read, or the bus stopped acknowledging.
    """
    tailer = create(_hold_briefly(config))
    try:
        await tailer.start()
        await tailer.tracker.unpack_all()
        await _wait_for_copies(tailer, stop)
        _check_files(tailer)
        await tailer.connection.wait_ready(config.nats.connect_timeout_s)
        return await _ship_all(tailer, stop)
    finally:
        await tailer.close()


async def _wait_for_copies(tailer: Tailer, stop: asyncio.Event) -> None:
    """Give a copy that is being made the time to become one; what is none by then is a log of its own."""
    while tailer.tracker.opener.held_since and not stop.is_set():
        await wait_first(stop, timeout_s=tailer.config.delivery.hold_copy_ms / 1000)
        tailer.tracker.rescan()


def _hold_briefly(config: TailerConfig) -> TailerConfig:
    hold_ms = min(config.delivery.hold_copy_ms, _HOLD_MS)
    return replace(config, delivery=replace(config.delivery, hold_copy_ms=hold_ms))


def _check_files(tailer: Tailer) -> None:
    for path, reason in tailer.tracker.opener.refused.items():
        raise Fatal(f"{path}: cannot be read: {reason}; run as a user who may read it, or change its mode")
    if not tailer.tracker.files:
        patterns = ", ".join(path for entry in tailer.config.inputs for path in entry.paths)
        raise Fatal(f"no file matches {patterns}; check the spelling, and quote patterns so that the shell leaves them")


async def _ship_all(tailer: Tailer, stop: asyncio.Event) -> Summary:
    files = list(tailer.tracker.files.values())
    began_s, sequences = time.monotonic(), sum(file.sequence for file in files)
    first = sum(file.offset for file in files)
    with _progress() as progress:
        bar = progress.add_task("shipping", total=sum(file.size() for file in files), completed=first, lines_s="")
        while not stop.is_set() and _has_more(tailer):
            while not stop.is_set() and await tailer.step(Flush.ALL):
                _show(progress, bar, tailer, began_s, sequences)
            await _drain(tailer, stop)
        _show(progress, bar, tailer, began_s, sequences)
    done = [*tailer.tracker.files.values(), *(file for file in files if file.record.is_final)]
    return Summary(
        files=len(files),
        lines=sum(file.positions.resolved.sequence for file in done) - sequences,
        bytes=sum(file.positions.resolved.offset for file in done) - first,
        seconds=round(time.monotonic() - began_s, 3),
    )


def _has_more(tailer: Tailer) -> bool:
    """Tell whether anything is to be read now: at first, and where the bus has refused something for its size."""
    for file in tailer.tracker.files.values():
        if file.rests_until:
            raise Fatal(f"{file.path}: {file.last_error}; run the same command again to go on")
    return any(due_s <= time.monotonic() for due_s in tailer.tracker.due.values())


async def _drain(tailer: Tailer, stop: asyncio.Event) -> None:
    """Wait for the last acknowledgement as long as the bus says anything."""
    acknowledged, heard_s = -1, time.monotonic()
    await asyncio.sleep(0)  # what was settled in the last step is heard of
    while tailer.publisher.in_flight and not stop.is_set():
        await tailer.publisher.drain(_TICK_S)
        if tailer.publisher.counts.acknowledged != acknowledged:
            acknowledged, heard_s = tailer.publisher.counts.acknowledged, time.monotonic()
        if time.monotonic() - heard_s > _SILENCE_S:
            raise Fatal(
                f"{tailer.publisher.in_flight} frames are not acknowledged after {_SILENCE_S:g} s: "
                f"{tailer.publisher.last_problem or tailer.connection.last_error}; run the same command again to go on"
            )
    if tailer.publisher.in_flight:
        raise Fatal("stopped before everything was acknowledged; run the same command again to go on")


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[lines_s]} lines/s"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, disable=not sys.stderr.isatty(), transient=True)


def _show(progress: Progress, bar: TaskID, tailer: Tailer, began_s: float, sequences: int) -> None:
    if progress.disable:
        return
    files = tailer.tracker.files.values()
    rate = (sum(file.sequence for file in files) - sequences) / max(time.monotonic() - began_s, 0.001)
    progress.update(bar, completed=sum(file.offset for file in files), lines_s=f"{rate:,.0f}")


def as_dict(summary: Summary) -> dict[str, float]:
    """Return the summary as plain values."""
    return asdict(summary)
