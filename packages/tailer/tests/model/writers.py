"""What writers and rotations do to files, at random.

Flows in: a seed. Flows out: generations of files, whose bytes the model knows, and which of them nobody can save.
"""

import asyncio
import gzip
import os
import random
import shutil
from dataclasses import dataclass, field

from dataplane_tailer.identity import key_of

LIMIT = 300
QUICK = {
    "linger_ms": 5,
    "rescan_ms": 50,
    "close_rotated_after_ms": 600,
    "max_line_bytes": LIMIT,
    "ack_timeout_s": 1.0,
    "hold_copy_ms": 200,
}


@dataclass(eq=False)
class Generation:
    """What was written to one file from its creation or truncation on; bytes from `sure` on may be lost."""

    number: int
    content: bytearray = field(default_factory=bytearray)
    sure: int | None = None
    deleted: tuple | None = None
    is_open: bool = False
    is_known: bool = False
    story: list[str] = field(default_factory=list)

    @property
    def must(self) -> int:
        """How many bytes must be in the stream."""
        return len(self.content) if self.sure is None else min(self.sure, len(self.content))


class Writers:
    """A folder of logs, what services and rotations do to it, and the account of what was written."""

    def __init__(self, lab, server, seed: int) -> None:
        self.lab, self.server, self.inside, self.flushes = lab, server, seed % 2 == 0, seed % 4 < 2
        self.rng = random.Random(seed)  # noqa: S311 - a model's dice
        self.generations: list[Generation] = []
        self.at: dict[str, Generation] = {}
        self.numbers = 0
        self.tailer = None
        self.task: asyncio.Task | None = None
        self.stop = asyncio.Event()
        self.is_paused = False
        self.story: list[str] = []
        pattern = "app.log*" if self.inside else "app.log"
        delivery = {**QUICK, "idle_flush_ms": 500 if self.flushes else 60_000}
        self.stale, self.known, self.old = None, b"", None
        self.config = lab.config(paths=[str(lab.folder / pattern)], delivery=delivery)

    def line(self) -> bytes:
        """A line that begins as no other: short, long, a blank one before it, or ending as on Windows."""
        self.numbers += 1
        text = f"{self.numbers * 7919 % 99_999_989:08d} " + "é" * self.rng.choice([0, 0, 3, 40])
        if self.rng.random() < 0.1:
            text += "".join(f"<{number:04d}>" for number in range(self.rng.choice([48, 49, 50, 51, 200])))
        blank = self.rng.choice(["", "", "", "", "\n"])
        return (blank + text + self.rng.choice(["\n", "\n", "\n", "\r\n"])).encode()

    def write(self, data: bytes, name: str = "app.log") -> None:
        """Append to a file as a service would."""
        generation = self.at.get(name)
        if generation is None:
            generation = self.at[name] = Generation(len(self.generations))
            self.generations.append(generation)
        with (self.lab.folder / name).open("ab") as file:
            file.write(data)
        generation.content += data

    async def write_lines(self) -> None:
        """Whole lines."""
        self.write(b"".join(self.line() for _ in range(self.rng.choice([1, 1, 2, 5, 60]))))

    async def write_parts(self) -> None:
        """A line in two writes, sometimes never ended."""
        data = self.line()
        cut = self.rng.randrange(len(data) + 1)
        self.write(data[:cut])
        await self.rest()
        if self.rng.random() < 0.8:
            self.write(data[cut:])

    async def write_bytes(self) -> None:
        """A line byte by byte."""
        for byte in self.line()[:40]:
            self.write(bytes([byte]))
            if self.rng.random() < 0.1:
                await asyncio.sleep(0.002)

    async def create_empty(self) -> None:
        """A file without anything in it."""
        self.write(b"")

    def names(self, start: str = "app.log") -> list[str]:
        """The files that are there."""
        return [name for name in self.at if name.startswith(start)]

    async def opened(self) -> None:
        """What leaves the pattern or the disk must have been seen before; a rotation comes not that soon."""
        if self.tailer is not None:
            self.resume()
            await self.lab.until(self.look)
            self.check()

    def look(self) -> bool:
        """Note which generations the tailer knows; return whether it knows all that it may."""
        named = [name for name in self.at if self.inside or name == "app.log"]
        for name in named:
            file = self.tailer.tracker.files.get(key_of((self.lab.folder / name).stat()))
            if file is None or (file is self.stale and not self.is_taken_for_the_old(self.at[name])):
                continue
            self.at[name].is_open = True
            self.at[name].is_known |= file.offset > 0 or bool(file.record.head)
        seen = [self.at[name] for name in named]
        return all(g.is_open and (g.is_known or not g.content) for g in seen) or self.task.done()

    def is_taken_for_the_old(self, generation: Generation) -> bool:
        """All that is known of what was there before may be there again; then nobody can tell, and that is lost."""
        if not generation.content.startswith(self.known):
            return False
        self.old.sure = 0
        return True

    def note_truncation(self, old: Generation) -> None:
        """What the tailer has open under this inode now is the generation before, by all that it knows of it."""
        files = {} if self.tailer is None else self.tailer.tracker.files
        self.stale = files.get(key_of((self.lab.folder / "app.log").stat()))
        self.known = b"" if self.stale is None else self.stale.record.head
        self.old = old

    async def shift(self) -> None:
        """Make room for `.1`: `.2` becomes `.3`, the oldest is deleted."""
        await self.opened()
        self.drop("app.log.3")
        for number in (2, 1):
            self.rename(f"app.log.{number}", f"app.log.{number + 1}")

    def leave(self, generation: Generation, *, is_copied: bool = True) -> None:
        """What leaves the pattern while nobody looks, and was never looked into before, cannot be known."""
        is_known = generation.is_known if is_copied else generation.is_open
        if self.tailer is None and not self.inside and not is_known:
            generation.sure = 0

    def rename(self, old: str, new: str) -> None:
        """Rename a file."""
        if old in self.at:
            self.leave(self.at[old], is_copied=False)
            (self.lab.folder / old).rename(self.lab.folder / new)
            self.at[new] = self.at.pop(old)
            self.at[new].story.append(f"renamed {new}")

    def drop(self, name: str) -> None:
        """Delete a file: what an absent tailer has not read of it is lost, and one that runs holds it open."""
        if name in self.at:
            generation, path = self.at.pop(name), self.lab.folder / name
            generation.deleted = key_of(path.stat())
            path.unlink()
            generation.story.append("deleted")
            if self.tailer is None:
                generation.sure = 0

    async def rotate(self) -> None:
        """Rename and create; sometimes the old one is still written to."""
        if "app.log" not in self.at:
            return
        await self.shift()
        self.rename("app.log", "app.log.1")
        if self.rng.random() < 0.5:
            self.write(self.line(), "app.log.1")
        if self.rng.random() < 0.7:
            self.write(self.line())

    async def copytruncate(self) -> None:
        """Copy, then truncate; sometimes something is written in between."""
        if "app.log" not in self.at or len(self.at["app.log"].content) < 8:
            return  # of less nobody can tell that it is a copy
        await self.shift()
        old = self.at.pop("app.log")
        shutil.copy(self.lab.folder / "app.log", self.lab.folder / "app.log.1")
        copied = len(old.content)
        if self.rng.random() < 0.3:
            await self.rest()
        if self.rng.random() < 0.3:  # written between copy and truncation: whoever is quick enough has it
            late = self.line()
            old.content += late
            old.sure = min(copied, old.must)
            with (self.lab.folder / "app.log").open("ab") as file:
                file.write(late)
            await self.rest()
        os.truncate(self.lab.folder / "app.log", 0)
        self.leave(old)
        old.story.append(f"copytruncated at {copied}")
        self.at["app.log.1"] = old
        self.write(b"")
        self.note_truncation(old)
        if self.rng.random() < 0.7:
            self.write(self.line())

    async def compress(self) -> None:
        """Rename and compress at once, or compress what was rotated before."""
        if "app.log.1" not in self.at or len(self.at["app.log.1"].content) < 8:
            return
        await self.opened()
        packed = gzip.compress((self.lab.folder / "app.log.1").read_bytes())
        generation = self.at.pop("app.log.1")
        (self.lab.folder / f"app.log.old-{generation.number}.gz").write_bytes(packed)
        (self.lab.folder / "app.log.1").unlink()
        self.leave(generation)
        generation.story.append("compressed")

    async def truncate(self) -> None:
        """Empty the file without a copy; what was not read by then is gone."""
        if "app.log" not in self.at:
            return
        generation = self.at.pop("app.log")
        generation.sure = 0
        generation.story.append("truncated")
        os.truncate(self.lab.folder / "app.log", 0)
        self.note_truncation(generation)
        self.write(b"".join(self.line() for _ in range(self.rng.choice([0, 1, 30]))))

    async def delete(self) -> None:
        """Delete the file that is written to."""
        await self.opened()
        self.drop("app.log")
