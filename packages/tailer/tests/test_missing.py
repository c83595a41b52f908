"""What the tailer promises about files that are not there at a start: said once, and forgotten only if it must be."""


def test_the_input_of_a_file_is_away_for_a_run(lab, run):
    """Its checkpoint stays for the day that it is an input again: nothing is lost by that, and nothing comes twice."""

    async def work():
        lab.append("one\n")
        async with lab.tailer():
            await lab.messages(1)
        lab.append("two\n")
        async with lab.tailer(lab.config(paths=[str(lab.folder / "other.log")])) as tailer:
            lab.append("other\n", lab.folder / "other.log")
            await lab.messages(2)
            assert not tailer.account.lost_bytes
            assert [file.path for file in tailer.tracker.files.values()] == [str(lab.folder / "other.log")]
        async with lab.tailer():
            assert await lab.messages(3) == ["one", "other", "two"]
        assert await lab.count() == 3

    run(work())


def test_what_was_lost_is_counted_once(lab, run):
    """A file that is gone is lost when that is seen, and not at each start again."""

    async def work():
        lab.append("one\ntwo")
        async with lab.tailer() as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
        lab.log.unlink()
        counted = []
        for _ in range(2):
            async with lab.tailer() as tailer:
                counted.append(dict(tailer.account.lost_bytes))
        assert counted == [{"rotated_while_stopped": 3}, {}]

    run(work())


def test_a_stranger_in_the_inode_of_a_log_is_left_alone(lab, run):
    """What is beside the logs, under no name of an input, is followed only where it still is the log."""

    async def work():
        lab.append("one\n")
        async with lab.tailer() as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
        lab.log.rename(lab.folder / "notes.txt").write_text("nothing for others\n")
        async with lab.tailer() as tailer:
            assert not tailer.tracker.files
            lab.append("two\n")
            assert await lab.messages(2) == ["one", "two"]
        assert await lab.count() == 2

    run(work())
