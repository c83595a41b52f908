"""What makes a file the copy of another: its bytes at several places, and not that it begins alike."""

from dataplane_tailer.positions import Position

_BANNER = "".join(f"begins as always {number:03}\n" for number in range(60))


def test_a_shorter_file_that_leaves_its_kin_somewhere_is_a_log_of_its_own(lab, run):
    """A source remembers what lay at many places of its file: what differs before its end was never shipped."""

    def is_read(tailer) -> bool:
        size = lab.log.stat().st_size
        return any(file.positions.resolved.offset == size for file in tailer.tracker.files.values())

    async def work():
        async with lab.tailer() as tailer:
            for part in (_BANNER, "one\n" * 10, "two\n" * 10, "three\n" * 10):
                lab.append(part)
                await lab.until(lambda: is_read(tailer))
            lab.log.unlink()
            await lab.until(lambda: not tailer.tracker.files)
            lab.append(_BANNER + "else\n" * 12, lab.folder / "app.log.1")
            events = await lab.events(90 + 72)
        assert [event["message"] for event in events[-12:]] == ["else"] * 12
        assert await lab.count() == 90 + 72

    run(work())


def test_the_places_that_are_remembered_are_bounded_and_spread(lab, run):
    """A log that is followed for months has no more of them than one of a day, and its first ones are among them."""

    async def work():
        lab.append("one\n")
        async with lab.tailer() as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
            file = lab.one(tailer)
            for offset in range(5, 10_000):
                file.advance(Position(offset, 1), b"x")
            places = [at for at, _ in file.record.marks]
            assert len(places) <= 32
            assert (places[0], places[-1], places == sorted(places)) == (4, 9_999, True)
            file.rewind(())

    run(work())
