"""A random world around a tailer: writers and rotations, stops and crashes, and a bus that comes and goes."""

import asyncio
import os
import time
from collections.abc import Callable

import pytest
from writers import QUICK, Writers

from dataplane_tailer.pipeline import create


class World(Writers):
    """The files of `Writers`, and the tailer that reads them."""

    async def start(self) -> None:
        """Start a tailer."""
        if self.tailer is None:
            self.tailer, self.stop = create(self.config), asyncio.Event()
            await self.tailer.start()
            self.task = asyncio.ensure_future(self.tailer.run(self.stop))

    async def halt(self) -> None:
        """A clean stop."""
        if self.tailer is not None:
            self.check()
            self.forsake()
            tailer, self.tailer = self.tailer, None
            self.resume()
            self.stop.set()
            await self.task
            await tailer.close()

    def forsake(self) -> None:
        """A deleted file is there only as long as the tailer holds it open."""
        for generation in self.generations:
            if generation.deleted in self.tailer.tracker.files:
                generation.sure = 0

    async def kill(self) -> None:
        """End as SIGKILL would: no drain, and the last checkpoint may be missing."""
        if self.tailer is None:
            return
        self.check()
        self.forsake()
        tailer, self.tailer = self.tailer, None
        if self.rng.random() < 0.5:
            tailer._save_checkpoints()
        tailer.state.save = lambda _records: None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await tailer.publisher.close()
        await tailer.connection.close()
        tailer.state.close()
        for file in tailer.tracker.files.values():
            file.close()

    async def restart(self) -> None:
        """Stop or kill, have things happen meanwhile, start."""
        await self.rng.choice([self.halt, self.kill, self.kill])()
        meanwhile = [self.write_lines, self.write_parts, self.rotate, self.copytruncate, self.compress]
        for _ in range(self.rng.choice([0, 1, 3])):
            await self.rng.choice(meanwhile)()
        await self.start()

    async def bus(self) -> None:
        """The bus freezes and thaws, or dies and comes back."""
        if self.is_paused:
            self.resume()
        elif self.rng.random() < 0.7:
            self.server.pause()
            self.is_paused = True
        else:
            self.server.kill()
            self.server.start()

    def resume(self) -> None:
        """Thaw the bus."""
        if self.is_paused:
            self.server.resume()
            self.is_paused = False

    async def rest(self) -> None:
        """Let the tailer run for a moment."""
        await asyncio.sleep(self.rng.choice([0, 0, 0.004, 0.02, 0.08]))
        self.check()

    def check(self) -> None:
        """Fail as soon as the tailer does."""
        if self.tailer is not None:
            self.look()
            if self.task.done():
                self.task.result()

    async def play(self, steps: int) -> None:
        """Do random things."""
        actions = {
            self.write_lines: 30, self.write_parts: 20, self.write_bytes: 5, self.create_empty: 3, self.rotate: 10,
            self.copytruncate: 8, self.compress: 4, self.truncate: 3, self.delete: 2, self.restart: 5, self.bus: 4,
        }  # fmt: skip
        for action in self.rng.choices(list(actions), list(actions.values()), k=steps):
            self.story.append(action.__name__)
            if self.is_paused and action == self.restart:
                self.resume()
            await action()
            await self.rest()

    async def finish(self) -> None:
        """Let everything arrive."""
        self.resume()
        await self.start()
        if not self.flushes:
            for name, generation in self.at.items():
                if not generation.content.endswith(b"\n"):
                    self.write(b"\n", name)
        await self.lab.until(self.is_done)
        for _ in range(3):
            await asyncio.sleep(0.1)
            await self.lab.until(self.is_done)
        await self.halt()
        for generation in [] if self.flushes else self.generations:  # what has no end may wait for it
            generation.sure = generation.content.rfind(b"\n", 0, generation.must) + 1

    def is_done(self) -> bool:
        """Tell whether all is shipped."""
        self.check()
        tracker = self.tailer.tracker

        def is_open_ended(file) -> bool:
            """Without a flush an unterminated line waits for its end."""
            return not self.flushes and os.pread(file.descriptor, 1, file.size() - 1) != b"\n"

        held = tracker.opener.held_since.values()
        is_resting = all(time.monotonic() - since_s > 2 * QUICK["hold_copy_ms"] / 1000 for since_s in held)
        return (
            is_resting
            and self.look()
            and all(
                file.positions.waiting == 0 and (file.offset == file.size() or is_open_ended(file))
                for file in [*tracker.files.values(), *tracker.retired]
                if not file.is_retired
            )
        )


@pytest.fixture
def world_of(lab, own_nats) -> Callable[[int], World]:
    """Return the world of a seed."""
    lab.url = own_nats.url
    return lambda seed: World(lab, own_nats, seed)
