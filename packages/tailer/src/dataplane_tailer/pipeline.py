"""The tailer's flow: discover → read → frame → publish → checkpoint.

Flows in: a configuration. Flows out: acknowledged frames and a state that says so. Invariant: `step()` reads at most
one chunk of each file that is due; the publisher's window is the only back-pressure, discovery goes on meanwhile.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from dataplane_common.bus import Connection, Publisher
from dataplane_common.frame import FrameEncoder
from dataplane_common.lifecycle import cancel, wait_first
from dataplane_common.telemetry import get_logger
from dataplane_tailer import watch
from dataplane_tailer.account import Account
from dataplane_tailer.clone import adopt_cloned_state
from dataplane_tailer.config import TailerConfig
from dataplane_tailer.discover import folders
from dataplane_tailer.feed import open_stream
from dataplane_tailer.file import TailedFile
from dataplane_tailer.read import Flush, Rewritten
from dataplane_tailer.ship import Shipper
from dataplane_tailer.state import State
from dataplane_tailer.stream import Stream
from dataplane_tailer.tracker import Tracker

#: How often acknowledged positions are written to the state: one synced write a second at the most.
_CHECKPOINT_INTERVAL_S = 1.0
#: How often changed accounts are published.
_LEDGER_INTERVAL_S = 10.0
#: Rescans that changes call for come no closer together than this.
_RESCAN_PAUSE_S = 0.25
#: While notifications come, everything is listed this many times less often.
_HEARING_FACTOR = 6
#: A file that could not be read is tried again after this.
_RETRY_READ_S = 5.0
#: While there are no notifications, they are asked for again after this.
_RETRY_WATCH_S = 60.0
_WATCH_REMEDY = "raise fs.inotify limits; names must be UTF-8"
#: How long the last account may take on the way out.
_LAST_LEDGER_S = 2.0


@dataclass(slots=True, eq=False)
class Tailer:
    """One running tailer. Build it with `create`, start it, call `step` or `run`, close it."""

    config: TailerConfig
    state: State
    connection: Connection
    publisher: Publisher
    tracker: Tracker
    shipper: Shipper
    account: Account
    dirty: set[TailedFile] = field(default_factory=set)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    rescan_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    streams: list[Stream] = field(default_factory=list)
    next_config: TailerConfig | None = None
    is_deaf: bool = True

    async def start(self) -> None:
        """Connect in the background and open what is there."""
        self.connection.start()
        await self.publisher.start()
        self.tracker.resume()

    async def run(self, stop: asyncio.Event) -> bool:
        """Ship until `stop` is set, then drain; return whether everything sent was acknowledged in the grace period."""
        loops: list[Callable[[asyncio.Event], Awaitable[None]]] = [
            self._watch, self._rescan, self._ship, self._checkpoint, self._publish_ledger, self._follow_streams
        ]  # fmt: skip
        tasks = [asyncio.ensure_future(loop(stop)) for loop in loops]
        stopping = asyncio.ensure_future(stop.wait())
        try:
            done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            stop.set()
            await cancel(stopping, *tasks)
        return await self.publisher.drain(self.config.delivery.grace_s)

    async def step(self, flush: Flush = Flush.NOTHING) -> bool:
        """Read at most one chunk of each file that is due, in turn; return whether there was any."""
        now_s = time.monotonic()
        moved = False
        for file in [file for file, due_s in self.tracker.due.items() if due_s <= now_s]:
            if self.tracker.due.pop(file, None) is None or self.tracker.files.get(file.key) is not file:
                continue  # let go while another file was waited for
            moved |= await self._step_file(file, flush)
        return moved

    async def close(self) -> None:
        """Write the last checkpoint and the last account, and let everything go."""
        self._save_checkpoints()
        for stream in self.streams:
            stream.save(is_clean=True)
        if self.connection.is_connected:
            await self._publish_accounts()
            await self.publisher.drain(_LAST_LEDGER_S)
        await self.publisher.close()
        await self.connection.close()
        self.tracker.close()
        self.state.close()

    async def _step_file(self, file: TailedFile, least: Flush) -> bool:
        try:
            now_s = time.monotonic()
            file.note_size(now_s)
            if not file.is_whole:
                self.tracker.rewritten(file)
                return True
            if not self.tracker.is_itself(file):
                return True
            flush, again_s = self._flush_of(file, now_s - file.grown_at)
            moved = await self.shipper.step(file, max(least, flush))
        except Rewritten:
            self.tracker.rewritten(file)
            return True
        except OSError as error:
            self._read_failed(file, error)
            return False
        if not file.rests_until:
            file.last_error = ""
        if moved:
            self.tracker.mark(file, 0.0)
        elif file.size_seen > file.offset and again_s is not None:
            self.tracker.mark(file, again_s)
        return moved

    def _flush_of(self, file: TailedFile, rested_s: float) -> tuple[Flush, float | None]:
        """Return what may be sent of a file that has rested for so long, and when to look again if nothing comes."""
        idle_s = self.config.delivery.idle_flush_ms / 1000
        lines_s = idle_s if file.entry.multiline is None else file.entry.multiline.timeout_ms / 1000
        if rested_s >= idle_s:
            return Flush.ALL, None if rested_s >= lines_s else lines_s - rested_s
        if rested_s >= lines_s:
            return Flush.LINES, idle_s - rested_s
        return Flush.NOTHING, min(idle_s, lines_s) - rested_s

    def _read_failed(self, file: TailedFile, error: OSError) -> None:
        file.last_error = error.strerror or str(error)
        self.dirty.add(file)
        get_logger("read").error("file.unreadable", path=file.path, error=file.last_error)
        self.tracker.mark(file, _RETRY_READ_S)

    async def _watch(self, stop: asyncio.Event) -> None:
        """Turn notifications into due files; without them the rescans have to do."""
        while not stop.is_set():
            watched = folders(self.config.inputs)
            ended = asyncio.Event()
            reviewer = asyncio.ensure_future(self._review_folders(watched, ended))
            try:
                self.is_deaf = not watched
                if watched:
                    self.rescan_wanted.set()  # what came before the watch is not told
                    async for changed in watch.changes(watched, ended, self.config.delivery.linger_ms):
                        self._note_changes(changed)
                await ended.wait()
            except OSError as error:
                self.is_deaf = True
                get_logger("watch").warning("watch.unavailable", error=str(error), remedy=_WATCH_REMEDY)
                await wait_first(ended, timeout_s=_RETRY_WATCH_S)
            finally:
                ended.set()
                await cancel(reviewer)

    async def _review_folders(self, watched: dict[str, bool], ended: asyncio.Event) -> None:
        """Return when the folders to watch are no longer these, and end the watch."""
        while folders(self.config.inputs) == watched:
            await wait_first(ended, timeout_s=self.config.delivery.rescan_ms / 1000)
        ended.set()

    def _note_changes(self, changed: watch.Changed) -> None:
        self.tracker.mark_paths(changed.modified, self.config.delivery.linger_ms / 1000)
        if any(self.tracker.concerns(path) for path in changed.listed):
            self.rescan_wanted.set()
        self.wake.set()

    async def _rescan(self, stop: asyncio.Event) -> None:
        """List the inputs when something came or went, and now and then; look at silent files in between."""
        listed_s = time.monotonic()
        while not stop.is_set():
            pause_s = self.config.delivery.rescan_ms / 1000
            wanted = await wait_first(self.rescan_wanted, stop, timeout_s=pause_s)
            is_told = not self.is_deaf and not self.tracker.opener.refused
            if wanted or time.monotonic() - listed_s >= pause_s * (_HEARING_FACTOR if is_told else 1):
                self.rescan_wanted.clear()
                self.tracker.rescan()
                listed_s = time.monotonic()
            else:
                self.tracker.poll()
            self.wake.set()
            await asyncio.sleep(_RESCAN_PAUSE_S)

    async def _ship(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self.wake.clear()
            if self.next_config is not None:
                await self._reload(self.next_config)
                continue
            await self.step()
            soonest_s = min(self.tracker.due.values(), default=float("inf")) - time.monotonic()
            if soonest_s > 0:
                await wait_first(self.wake, stop, timeout_s=min(soonest_s, 60.0))

    def reload(self, config: TailerConfig) -> None:
        """Have another configuration taken over between two reads; of it the inputs, the rest needs a restart."""
        self.next_config = config
        self.wake.set()

    async def _reload(self, config: TailerConfig) -> None:
        """Take a configuration over as soon as nothing is on its way: what was sent must not come again as another."""
        log = get_logger("tailer")
        await self.publisher.drain(self.config.delivery.grace_s)
        if waiting := sum(file.positions.waiting for file in self.tracker.files.values()):
            log.warning("configuration.waits", frames=waiting, reason="what was sent is not acknowledged yet")
            await asyncio.sleep(_RESCAN_PAUSE_S)
            return
        self.next_config = None
        self._save_checkpoints()
        self.config = self.account.config = msgspec.structs.replace(self.config, inputs=config.inputs)
        self.tracker.reload(self.config)
        log.info("configuration.reloaded", inputs=len(config.inputs))

    async def _checkpoint(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await wait_first(stop, timeout_s=_CHECKPOINT_INTERVAL_S)
            self._save_checkpoints()

    def _save_checkpoints(self) -> None:
        for stream in self.streams:
            stream.save()
        files = [file for file in self.dirty if not file.record.is_final]
        self.dirty.clear()
        if files:
            self.state.save([file.checkpoint() for file in files])

    async def _publish_ledger(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await wait_first(stop, timeout_s=_LEDGER_INTERVAL_S)
            if self.connection.is_connected:
                await self._publish_accounts()

    async def _publish_accounts(self) -> None:
        await self.account.publish(self.tracker.files.values(), [stream.account() for stream in self.streams])

    async def _follow_streams(self, stop: asyncio.Event) -> None:
        """Ship what is no file; where all inputs are streams and all have ended, there is nothing left to wait for."""
        await asyncio.gather(*(stream.run() for stream in self.streams))
        if self.streams and all(entry.type != "file" for entry in self.config.inputs):
            stop.set()
        await stop.wait()


def create(config: TailerConfig) -> Tailer:
    """Put a tailer together; call within the event loop.

    Raises:
        Fatal: its state cannot be used.
    """
    warn, log = get_logger("bus").warning, get_logger("tailer")
    state = State(config.state_dir)
    adopt_cloned_state(state, config.host, log)
    connection = Connection(config.nats, name="dataplane-tailer", report=lambda text: warn("bus.troubled", error=text))
    publisher = Publisher(
        connection,
        window=config.delivery.window_frames,
        ack_timeout_s=config.delivery.ack_timeout_s,
        report=lambda text: warn("frame.refused", error=text),
    )
    account = Account(config, publisher)
    dirty: set[TailedFile] = set()
    rescan_wanted, wake = asyncio.Event(), asyncio.Event()
    tracker = Tracker(config, state, log, account.finish, account.lose, on_unpacked=rescan_wanted.set)

    def read_again(file: TailedFile, after_s: float) -> None:
        tracker.mark(file, after_s)
        wake.set()

    shipper = Shipper(
        config.namespace,
        config.delivery,
        state,
        publisher,
        FrameEncoder(compress=config.delivery.compression == "zstd"),
        on_acknowledged=dirty.add,
        report=lambda text, file: log.warning("frame.too_large", error=text, path=file.path),
        read_again=read_again,
    )
    ends = (state, publisher, shipper.encoder)
    streams = [open_stream(config, entry, *ends) for entry in config.inputs if entry.type != "file"]
    parts = (config, state, connection, publisher, tracker, shipper, account, dirty)
    return Tailer(*parts, wake=wake, rescan_wanted=rescan_wanted, streams=streams)
