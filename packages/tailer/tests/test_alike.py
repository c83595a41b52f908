"""Logs of several programs that write the very same lines: each of them is shipped, whatever the others hold."""

import asyncio
import shutil

import pytest

from dataplane_tailer.once import ship_once

BANNER = "".join(f"step {number} of the start is done\n" for number in range(100))
NAMES = {
    "other names": ("app.log-eu/shop.log", "app.log-us/cart.log"),
    "one name": ("app.log-eu/a.log", "app.log-us/a.log"),
}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("size", ["long", "short"])
def test_equal_logs_are_all_shipped(lab, run, kind, size):
    """Equal content makes a copy only under a name that a rotation gives; else it is held back for a time."""
    text = BANNER if size == "long" else BANNER[:200]

    async def work():
        for name in NAMES[kind]:
            (lab.folder / name).parent.mkdir()
            lab.append(text, lab.folder / name)
        count = text.count("\n")
        config = lab.config(paths=[f"{lab.folder}/*/*.log"], delivery={"hold_copy_ms": 200})
        async with lab.tailer(config) as tailer:
            await lab.messages(2 * count)
            for name in NAMES[kind]:
                lab.append(f"{name}\n", lab.folder / name)
            await lab.messages(2 * count + 2)
            await lab.settled(tailer)
        async with lab.tailer(config):
            lab.append("after the restart\n", lab.folder / NAMES[kind][1])
            found = await lab.events(2 * count + 3)
        by_path: dict[str, list[str]] = {}
        for event in found:
            by_path.setdefault(event["log"]["file"]["path"], []).append(event["message"])
        lines = text.splitlines()[:count]
        assert [seen[:count] for seen in by_path.values()] == [lines, lines]

    run(work())


@pytest.mark.parametrize("size", ["long", "short"])
def test_a_one_off_run_ships_equal_logs(lab, run, size):
    """What is held back is not left out: the run waits, as long as a copy may still be made, and ships it."""
    text = BANNER if size == "long" else BANNER[:198] + "\n"

    async def work():
        for name in ("app.log", "app.log.backup", "shop.log", "cart.log"):
            lab.append(text, lab.folder / name)
        config = lab.config(paths=[f"{lab.folder}/*"], delivery={"hold_copy_ms": 200})
        summary = await ship_once(config, asyncio.Event())
        copies = 1 if size == "long" else 0  # the backup of so much content is one, and its lines are shipped
        assert (summary.files, summary.lines) == (4 - copies, (4 - copies) * text.count("\n"))

    run(work())


def test_what_is_moved_to_another_disk_under_another_name_is_shipped_once(lab, run):
    """A copy of what is deleted by now is no other program's log."""

    async def work():
        config = lab.config(paths=[f"{lab.folder}/*"], delivery={"hold_copy_ms": 50, "close_rotated_after_ms": 1500})
        lab.append(BANNER)
        async with lab.tailer(config) as tailer:
            await lab.messages(100)
            await lab.settled(tailer)
            shutil.copy(lab.log, lab.folder / "saved")
            lab.log.unlink()
            await lab.until(lambda: not tailer.tracker.files or lab.one(tailer).path.endswith("saved"))
            lab.append("more\n", lab.folder / "saved")
            assert (await lab.messages(101))[100] == "more"
        assert await lab.count() == 101

    run(work())
