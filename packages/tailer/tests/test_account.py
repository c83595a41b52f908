"""What the account says while files live, and after them."""

from dataplane_tailer.identity import digest
from dataplane_tailer.pipeline import create
from dataplane_tailer.serve import TailerCollector, not_ready


def test_what_is_on_its_way_is_in_the_account(lab, own_nats, run):
    """Accepted is what was read; what of it is not acknowledged is in flight."""
    lab.url = own_nats.url

    async def work():
        lab.append("one\n")
        async with lab.tailer(lab.config(delivery={"grace_s": 0.1})) as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
            own_nats.pause()
            lab.append("two\nthree\n")
            await lab.until(lambda: lab.one(tailer).sequence == 3)
            account = tailer.account.account_of(lab.one(tailer))
            own_nats.resume()
        assert (account.accepted, account.acknowledged, account.in_flight) == (3, 1, 2)
        assert account.head_hash == digest(lab.log.read_bytes())

    run(work())


def test_an_account_is_published_once_for_each_change(lab, run):
    """What has not moved is not said again, nor is the end of a source; its events stay in the totals."""

    async def work():
        config = lab.config(delivery={"close_rotated_after_ms": 1})
        lab.append("one\n")
        async with lab.tailer(config) as tailer:
            await lab.messages(1)
            await lab.settled(tailer)
            for is_gone in (False, True):
                lab.log.unlink() if is_gone else None
                await lab.until(lambda is_gone=is_gone: bool(tailer.tracker.files) is not is_gone)
                await tailer.account.publish(tailer.tracker.files.values())
                sent = tailer.publisher.counts.sent
                await tailer.account.publish(tailer.tracker.files.values())
                assert tailer.publisher.counts.sent == sent
            assert tailer.account._published == {}
            samples = [sample for metric in TailerCollector(tailer).collect() for sample in metric.samples]
        acknowledged = [sample.value for sample in samples if sample.name.startswith("dataplane_tailer_events_ack")]
        assert acknowledged == [1]

    run(work())


def test_a_tailer_without_its_bus_or_a_file_is_not_ready(lab, run):
    """The reason is the bus, and what was last heard of it; or a file that may not be read."""

    async def work():
        tailer = create(lab.config())
        tailer.tracker.opener.refused["/var/log/x"] = "Permission denied"
        bus, file = not_ready(tailer)
        assert bus.startswith("bus: ")
        assert file == "/var/log/x: Permission denied"
        tailer.tracker.close()
        tailer.state.close()

    run(work())
