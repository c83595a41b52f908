"""What is read again from the checkpoint: nothing of it is sent in its old form, and its numbers are found again."""

import os

from dataplane_tailer.file import Shipment


async def all_acknowledged(lab, tailer):
    """Wait until the whole file is settled, and return it."""
    await lab.until(lambda: bool(tailer.tracker.files))
    await lab.until(lambda: lab.one(tailer).positions.resolved.offset == lab.log.stat().st_size)
    return lab.one(tailer)


def test_what_a_rewind_takes_back_is_sent_no_more(lab, run):
    """What is read again may be framed in another way: the old frames give their room in the window back."""

    async def work():
        async with lab.tailer(lab.config(delivery={"ack_timeout_s": 1})) as tailer:
            lab.append("first\n")
            await lab.messages(1)
            file = await all_acknowledged(lab, tailer)
            acknowledgements = f"{tailer.connection.inbox}.pub.*"
            await tailer.connection.unsubscribe(acknowledgements)
            lab.append("second\n")
            await lab.until(lambda: file.positions.waiting == 1)
            [old] = tailer.publisher._in_flight.values()
            file.rewind([])
            assert old.settled.cancelled()
            await tailer.connection.subscribe(acknowledgements, tailer.publisher._on_answer)
            tailer.shipper.read_again(file, 0.0)
            await all_acknowledged(lab, tailer)
            await lab.until(lambda: tailer.publisher.in_flight == 0)
        assert await lab.messages(await lab.count()) == ["first", "second"]

    run(work())


def test_numbers_that_pieces_took_are_known_until_a_checkpoint_has_passed_them(lab, own_nats, run):
    """What is read and not acknowledged is read again after a crash: its numbers have to be found again, too."""
    lab.url = own_nats.url

    async def work():
        async with lab.tailer() as tailer:
            lab.append("first\n")
            file = await all_acknowledged(lab, tailer)
            own_nats.kill()
            lab.append("second\n")
            await lab.until(lambda: file.positions.waiting == 1)
            file.record.resumes = {6: 1, 13: 4}
            assert file.checkpoint().resumes == {13: 4}
            own_nats.start()
            await all_acknowledged(lab, tailer)
            assert file.checkpoint().resumes == {}

    run(work())


def test_a_refused_event_whose_file_is_truncated_is_counted(lab, run):
    """It was sent and not taken, and nobody can read it again to cut it: its bytes are lost, and waited for no more."""

    async def work():
        async with lab.tailer() as tailer:
            lab.append("first\n")
            file = await all_acknowledged(lab, tailer)
            sent = file.positions.track(file.position._replace(offset=20, sequence=2))
            file.refused = Shipment(6, sent, 1, 100)
            os.truncate(lab.log, 0)
            await lab.until(lambda: file.record.is_final)
        assert file.record.abandoned_bytes == {"refused_unread": 14}

    run(work())
