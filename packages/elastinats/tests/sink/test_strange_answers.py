"""Answers that no Elasticsearch gives, but what stands before it, or what is left of it."""

import gzip
import json

import pytest
from scripted import Raw

PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>" * 3
HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json", "X-Elastic-Product": "Elasticsearch"}
STRANGE = {
    "a page of a proxy": (502, Raw(PAGE, HTML)),
    "a page that blames the request": (400, Raw(PAGE, HTML)),
    "a gateway without a way": (404, Raw(b'{"message":"no Route matched"}', {"Content-Type": "application/json"})),
    "a page that says it is JSON": (502, Raw(PAGE, JSON)),
    "a page for good": (200, Raw(PAGE, HTML)),
    "a page for good that says it is JSON": (200, Raw(PAGE, JSON)),
    "half an answer": (200, Raw(b'{"errors":false,"items":[{"cre', JSON)),
    "half an answer in another order": (200, Raw(b'{"took":3,"err', JSON)),
    "an empty answer": (200, Raw(b"", JSON)),
    "an empty answer without a type": (200, Raw(b"", {})),
    "null": (200, Raw(b"null", JSON)),
    "a list": (200, Raw(b"[]", JSON)),
    "an object without anything": (200, Raw(b"{}", JSON)),
    "bytes that are no text": (200, Raw(b"\xff\xfe", JSON)),
    "items that are none": (200, Raw(b'{"errors":true,"items":null}', JSON)),
    "another server's word": (200, Raw(b'{"errors":false,"items":[]}', {"Content-Type": "application/json"})),
    "a redirection": (302, Raw(b"", {"Location": "http://127.0.0.1:9/", **JSON})),
    "no content": (204, Raw(b"", JSON)),
    "packed and broken": (200, Raw(b"\x1f\x8b\x08broken", {**JSON, "Content-Encoding": "gzip"})),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_answer_to_a_bulk_settles_nothing(bench, scripted, name):
    """Whatever stands there instead of an answer: the events are sent again, and indexed."""
    scripted.bulks.append(lambda _lines: STRANGE[name])

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0), bench.line(1))
            await bench.until_done(2)
            assert bench.sink.counts.indexed == 2
            assert await bench.letters() == []

    bench.run(scenario())
    assert len(scripted.bodies) == 2


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("question", ["/_settings", "/_tasks", "/_mget"])
def test_a_strange_answer_to_a_question_is_none(bench, scripted, name, question):
    """Whatever stands there instead of an answer: it is asked again, and what is there is found."""
    scripted.indices = [".ds-1", ".ds-2"]
    scripted.documents[".ds-1", bench.identity(0)] = {"message": "hello"}
    scripted.told.append((question, *STRANGE[name]))

    bench.run(bench.replay_one("duplicate"))
    assert scripted.told == []


def test_a_packed_answer_is_read(bench, scripted):
    """A proxy may compress what it passes on."""

    def packed(lines):
        status, answer = bench.created(lines)
        text = json.dumps(answer, separators=(",", ":")).encode()
        return status, Raw(gzip.compress(text), {**JSON, "Content-Encoding": "gzip"})

    scripted.bulks.append(packed)

    async def scenario() -> None:
        async with bench.running():
            await bench.publish_frame(bench.line(0))
            await bench.until_done(1)

    bench.run(scenario())
    assert len(scripted.bodies) == 1
