"""What inputs promise about their lines: encodings, events of several lines, filters, fields of the path, parsers."""

import asyncio
import json
import os
import shutil

import pytest

from dataplane_tailer.serve import TailerCollector


def test_a_multi_line_event_is_one_event(lab, run):
    """Lines that go on with an event belong to it; the last one is complete when its time is up."""

    async def work():
        config = lab.config(multiline={"start": r"^\d", "timeout_ms": 200})
        async with lab.tailer(config):
            lab.append("1 first\n  more\n\n2 second\n")
            assert await lab.messages(2) == ["1 first\n  more\n", "2 second"]
            lab.append("  too late for its event\n3 third\n")
            assert await lab.messages(4) == ["1 first\n  more\n", "2 second", "  too late for its event", "3 third"]

    run(work())


@pytest.mark.parametrize("inside", [True, False], ids=["inside the pattern", "beside the pattern"])
@pytest.mark.parametrize("is_copied", [True, False], ids=["copytruncate", "rename"])
def test_a_rotation_ends_no_event_and_joins_none(lab, run, is_copied, inside):
    """An event that is open at a rotation ends in the old file, with what is written late; the new one has its own."""
    pattern = str(lab.folder / "app.log*") if inside else str(lab.log)
    old = lab.folder / "app.log.1"

    async def work():
        config = lab.config(
            paths=[pattern], multiline={"start": r"^\d", "timeout_ms": 500}, delivery={"close_rotated_after_ms": 50}
        )
        async with lab.tailer(config):
            lab.append("1 a\n  b\n2 c\n  d\n")
            await lab.messages(1)
            if is_copied:
                shutil.copy(lab.log, old)
                os.truncate(lab.log, 0)
            else:
                lab.log.rename(old)
            lab.append("  no part of it\n3 e\n  f\n")
            lab.append("  late\n", old)
            messages = await lab.messages(4)
        assert sorted(messages) == ["  no part of it", "1 a\n  b", "2 c\n  d\n  late", "3 e\n  f"]
        assert await lab.count() == 4

    run(work())


def test_a_long_event_before_a_long_line(lab, run):
    """What is read at once has room for a longest event and for the longest line that ends it."""

    async def work():
        lines = ["1 " + "x" * 100_000, "  " + "y" * 20_000, "2 " + "z" * 120_000, "3"]
        lab.append("".join(f"{line}\n" for line in lines))
        async with lab.tailer(lab.config(multiline={"start": r"^\d", "timeout_ms": 60_000})):
            assert await lab.messages(2) == ["\n".join(lines[:2]), lines[2]]

    run(work())


def test_a_multi_line_event_survives_rotation_and_restart(lab, run):
    """A checkpoint is never inside an event: what was open at a stop is read again as a whole."""

    async def work():
        config = lab.config(multiline={"start": r"^\d"})
        lab.append("1 a\n  b\n2 c\n  d\n")
        async with lab.tailer(config):
            assert await lab.messages(1) == ["1 a\n  b"]
        lab.append("  e\n")
        lab.log.rename(lab.folder / "app.log.1")
        lab.append("3 f\n4 g\n")
        async with lab.tailer(config):
            assert sorted(await lab.messages(4)) == ["1 a\n  b", "2 c\n  d\n  e", "3 f", "4 g"]

    run(work())


def test_an_event_that_time_completed_is_replayed_as_it_was(lab, run):
    """The boundary of a time-out is stored first: lines that came later do not change an id's content."""

    async def work():
        config = lab.config(multiline={"start": r"^\d", "timeout_ms": 50})
        lab.append("1 a\n  b\n")
        async with lab.tailer(config, without_checkpoints=True):
            await lab.messages(1)
        lab.append("  c\n2 d\n3 e\n")
        async with lab.tailer(config):
            assert await lab.messages(4) == ["1 a\n  b", "  c", "2 d", "3 e"]

    run(work())


def test_utf16_with_a_mark(lab, run):
    """The byte-order mark decides; a newline is a code unit; offsets are those of the file."""

    async def work():
        async with lab.tailer(lab.config(encoding="utf-16", paths=[str(lab.log)])):
            lab.append("héllo\r\nsecond 上\n".encode("utf-16"))
            lab.append("third\n".encode("utf-16-le"))
            events = await lab.events(3)
            assert [event["message"] for event in events] == ["héllo", "second 上", "third"]
            assert [event["log"]["offset"] for event in events] == [0, 16, 34]

    run(work())


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["utf-16", "UTF16"])
def test_utf16_from_its_first_byte_and_after_a_truncation(lab, run, order, name):
    """The order of the bytes is known when the mark is there, and stays known where a truncation has taken it."""

    async def work():
        config = lab.config(encoding=name)
        lab.append("")
        async with lab.tailer(config) as tailer:
            await lab.until(tailer.state.get(f"input {lab.dataset} {config.inputs[0].paths[0]}").__len__)
            for byte in "\ufeffa\n".encode(order):
                lab.append(bytes([byte]))
                await asyncio.sleep(0.02)
            assert await lab.messages(1) == ["a"]
            await lab.settled(tailer)
            source = lab.one(tailer).record.source
            os.truncate(lab.log, 0)
            await lab.until(lambda: lab.one(tailer).record.source != source)
            lab.append("b\n".encode(order))
            assert await lab.messages(2) == ["a", "b"]
        lab.append("c\n".encode(order))
        async with lab.tailer(config):
            assert await lab.messages(3) == ["a", "b", "c"]

    run(work())


@pytest.mark.parametrize("half", [b"c", b"\n", b"\r"], ids=["text", "of a newline", "of a carriage return"])
def test_utf16_that_ends_within_a_character(lab, run, half):
    """Half a code unit waits for the rest; at the end of a rotated file it is sent as it is, and the file is closed."""

    async def work():
        config = lab.config(encoding="utf-16-le", paths=[str(lab.log)], delivery={"idle_flush_ms": 200})
        lab.append("a\nb".encode("utf-16-le") + half)
        async with lab.tailer(config) as tailer:
            assert await lab.messages(2) == ["a", "b"]
            lab.log.rename(lab.folder / "old")
            await lab.until(lambda: not tailer.tracker.files)
            assert await lab.messages(3) == ["a", "b", f"\\x{half.hex()}"]

    run(work())


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf16_from_its_end(lab, run, order):
    """The last line that is passed over ends with a newline of the encoding, not with any byte that looks like one."""

    async def work():
        lab.append("\ufeffold\nunfinished \u0a0a".encode(order))
        async with lab.tailer(lab.config(encoding="utf-16", start_at="end")) as tailer:
            await lab.until(lambda: tailer.tracker.files)
            lab.append(" line\nnew\n".encode(order))
            assert await lab.messages(2) == ["unfinished \u0a0a line", "new"]

    run(work())


def test_filtered_lines_leave_no_gap(lab, run):
    """Sequences count what is shipped; what a filter took is counted in the account, and passed by the checkpoint."""

    async def work():
        config = lab.config(filters=[{"drop": "healthz"}])
        lab.append("a\nGET /healthz\nb\nGET /healthz\nc\n")
        async with lab.tailer(config) as tailer:
            events = await lab.events(3)
            file = next(iter(tailer.tracker.files.values()))
            await lab.until(lambda: file.positions.resolved.offset == file.size())
            account = tailer.account.account_of(file)
        assert [event["event"]["sequence"] for event in events] == [1, 2, 3]
        assert (account.accepted, account.acknowledged, account.dropped) == (5, 3, {"filter": 2})
        lab.append("GET /healthz\n" * 3)
        async with lab.tailer(config) as tailer:
            file = next(iter(tailer.tracker.files.values()))
            await lab.until(lambda: file.positions.resolved.offset == file.size())
            assert tailer.account.account_of(file).dropped == {"filter": 5}

    run(work())


def test_fields_come_from_the_path(lab, run):
    """A placeholder in the pattern is a field of every event of that file."""

    async def work():
        (lab.folder / "checkout").mkdir()
        lab.append("x\n", lab.folder / "checkout" / "a.log")
        async with lab.tailer(lab.config(paths=[f"{lab.folder}/{{service}}/*.log"])):
            events = await lab.events(1)
            assert events[0]["service"] == {"name": "checkout"}

    run(work())


@pytest.mark.parametrize("parser", ["cri", "docker"])
def test_partial_lines_of_containers_are_joined(lab, run, parser):
    """What the runtime cut is one event again, also with both streams interleaved."""

    async def work():
        cri = [
            "2026-01-02T03:04:05.1Z stdout P one ",
            "2026-01-02T03:04:05.2Z stderr F oops",
            "2026-01-02T03:04:05.3Z stdout F line",
        ]
        docker = [
            json.dumps({"log": "one ", "stream": "stdout", "time": "2026-01-02T03:04:05.1Z"}),
            json.dumps({"log": "oops\n", "stream": "stderr", "time": "2026-01-02T03:04:05.2Z"}),
            json.dumps({"log": "line\n", "stream": "stdout", "time": "2026-01-02T03:04:05.3Z"}),
        ]
        async with lab.tailer(lab.config(parser=parser)):
            for line in cri if parser == "cri" else docker:
                lab.append(line + "\n")
                await asyncio.sleep(0)
            assert sorted(await lab.messages(2)) == ["one line", "oops"]

    run(work())


def test_partial_lines_over_a_rotation(lab, run):
    """What began in the old file and ends in the new one is two events: nothing is lost, and nothing waits for ever."""

    async def work():
        config = lab.config(
            paths=[str(lab.log)], parser="cri", delivery={"idle_flush_ms": 300, "close_rotated_after_ms": 50}
        )
        time = "2026-01-02T03:04:05.1Z"
        async with lab.tailer(config):
            lab.append(f"{time} stdout F whole\n{time} stdout P one \n{time} stderr P oh \n")
            await lab.messages(1)
            lab.log.rename(lab.folder / "app.log.1")
            lab.append(f"{time} stderr F no\n{time} stdout F line\n{time} stdout F next\n")
            assert sorted(await lab.messages(6)) == ["line", "next", "no", "oh ", "one ", "whole"]

    run(work())


def test_access_logs_become_fields(lab, run):
    """A line of a web server is searchable by its parts, with its own time."""

    async def work():
        line = '192.0.2.1 - frank [10/Oct/2026:13:55:36 -0700] "GET /a?b=1 HTTP/1.1" 200 2326 "-" "curl/8"'
        async with lab.tailer(lab.config(parser="combined")):
            lab.append(line + "\n")
            (event,) = await lab.events(1)
        assert event["@timestamp"] == "2026-10-10T20:55:36.000000Z"
        assert event["source"]["address"] == "192.0.2.1"
        assert event["http"]["response"]["status_code"] == 200
        assert event["message"] == line

    run(work())


def test_what_became_of_lines_is_counted_for_the_operator(lab, run):
    """Lines that no parser understood, were invalid or filtered are in /metrics by dataset, and so are lost bytes."""

    async def work():
        config = lab.config(parser="json", filters=[{"drop": "healthz"}])
        lab.append(b'{"msg":"a"}\nno json\n{"msg":"caf\xe9"}\n{"msg":"healthz"}\n')
        async with lab.tailer(config) as tailer:
            await lab.messages(3)
            file = next(iter(tailer.tracker.files.values()))
            file.abandon("truncated", 7)
            collected = list(TailerCollector(tailer).collect())
        found = {sample.name: (sample.labels, sample.value) for metric in collected for sample in metric.samples
                 if lab.dataset in sample.labels.values() or "abandoned" in sample.name}  # fmt: skip
        assert found == {
            "dataplane_tailer_lines_unparsed_total": ({"dataset": lab.dataset}, 2),
            "dataplane_tailer_lines_invalid_total": ({"dataset": lab.dataset}, 1),
            "dataplane_tailer_lines_filtered_total": ({"dataset": lab.dataset, "rule": 'drop "healthz"'}, 1),
            "dataplane_tailer_abandoned_bytes_total": ({"reason": "truncated"}, 7),
        }

    run(work())
