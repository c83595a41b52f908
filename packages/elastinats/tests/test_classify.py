"""The two tables: what each answer of Elasticsearch means for an event and for a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastinats.answer import read_beyond, read_items
from elastinats.classify import (
    Item,
    RequestVerdict,
    Verdict,
    conflicting_field,
    explain,
    is_ambiguous,
    request_verdict,
    verdict,
)

CONFLICT = {"type": "version_conflict_engine_exception", "index": ".ds-logs-x-y-000001"}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (Item(201), Verdict.CREATED),
        (Item(200), Verdict.CREATED),
        (Item(201, failure_store="used"), Verdict.FAILURE_STORE),
        (Item(400, {"type": "document_parsing_exception"}, "failed"), Verdict.REJECTED),
        (Item(400, {"type": "document_parsing_exception"}, "not_enabled"), Verdict.REJECTED),
        (Item(429, {"type": "es_rejected_execution_exception"}, "failed"), Verdict.LATER),
        (Item(409, CONFLICT), Verdict.CONFLICT),
        (Item(409, {"type": "something_else"}), Verdict.LATER),
        (Item(400, {"type": "document_parsing_exception"}), Verdict.REJECTED),
        (Item(400, {"type": "illegal_argument_exception", "reason": "Limit of total fields"}), Verdict.REJECTED),
        (
            Item(400, {"type": "illegal_argument_exception", "reason": "pipeline with id [p] does not exist"}),
            Verdict.LATER,
        ),
        (Item(400, {"type": "validation_exception", "reason": "too many shards"}), Verdict.LATER),
        (Item(400, {"type": "index_closed_exception"}), Verdict.LATER),
        (Item(413, {}), Verdict.REJECTED),
        (Item(401, {}), Verdict.LATER),
        (Item(403, {"type": "cluster_block_exception"}), Verdict.LATER),
        (Item(403, {"type": "security_exception"}), Verdict.LATER),
        (Item(404, {"type": "index_not_found_exception"}), Verdict.LATER),
        (Item(408, {}), Verdict.LATER),
        (Item(429, {}), Verdict.LATER),
        (Item(500, {}), Verdict.LATER),
        (Item(503, {"type": "unavailable_shards_exception"}), Verdict.LATER),
        (Item(0), Verdict.LATER),
    ],
)
def test_the_table_of_items(item, expected):
    """Each row is one promise about one answer to one action."""
    assert verdict(item) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, RequestVerdict.ITEMS),
        (400, RequestVerdict.SPLIT),
        (413, RequestVerdict.SPLIT),
        (401, RequestVerdict.SIGN_ANEW),
        (403, RequestVerdict.SIGN_ANEW),
        (429, RequestVerdict.SLOWER),
        (0, RequestVerdict.LATER),
        (301, RequestVerdict.LATER),
        (404, RequestVerdict.LATER),
        (408, RequestVerdict.LATER),
        (500, RequestVerdict.LATER),
        (502, RequestVerdict.LATER),
        (503, RequestVerdict.LATER),
        (504, RequestVerdict.LATER),
    ],
)
def test_the_table_of_requests(status, expected):
    """Each row is one promise about one answer to a whole bulk."""
    assert request_verdict(status) is expected


@given(st.integers(0, 599), st.text(max_size=20))
def test_only_a_refusal_of_the_event_rejects_it(status, kind):
    """Whatever the answer, an event is given up only for a 4xx that blames it."""
    if verdict(Item(status, {"type": kind})) is Verdict.REJECTED:
        assert 400 <= status < 500
        assert status not in {401, 403, 404, 408, 409, 429}


def test_an_answer_that_leaves_open_what_happened_is_known():
    """No answer and 5xx may have been carried out; a plain refusal was not."""
    assert [status for status in (0, 200, 400, 408, 413, 429, 500, 503) if is_ambiguous(status)] == [0, 408, 500, 503]


def test_an_error_is_told_with_its_causes():
    """The chain of `caused_by` is one line."""
    error = {"type": "a", "reason": "x\n y", "caused_by": {"type": "b", "reason": "z"}}
    assert explain(error) == "a: x y; caused by b: z"


@pytest.mark.parametrize(
    ("reason", "field"),
    [
        ("[1:9] failed to parse field [n] of type [long] in document with id '1'", "n"),
        ("[1:9] object mapping for [user] tried to parse field [user] as object, but found a concrete value", "user"),
        ("mapper [a.b] cannot be changed from type [long] to [text]", "a.b"),
        ("Limit of total fields [8] has been exceeded", ""),
    ],
)
def test_a_type_conflict_names_its_field(reason, field):
    """Whatever words the server chooses, and however deep it hides them."""
    assert conflicting_field({"type": "a", "reason": reason}) == field
    assert conflicting_field({"type": "a", "caused_by": {"type": "b", "reason": reason}}) == field


def test_an_answer_without_errors_is_not_parsed_and_counted_all_the_same():
    """As many 201 as there were actions, or the answer does not fit."""
    text = b'{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":201}}]}'
    assert read_items(text, 2) == {}
    assert read_items(text, 3) is None


def test_items_are_found_by_position():
    """Only what was not simply created is kept, under its position."""
    text = (
        b'{"errors":true,"items":[{"create":{"status":201}},'
        b'{"create":{"status":400,"error":{"type":"t","reason":"r"}}},'
        b'{"create":{"status":201,"failure_store":"used"}}]}'
    )
    items = read_items(text, 3)
    assert items is not None
    assert set(items) == {1, 2}
    assert items[1].reason == "t: r"
    assert verdict(items[2]) is Verdict.FAILURE_STORE


def test_what_landed_in_an_unknown_index_is_found():
    """By its position; failures landed nowhere, and a server that does not tell has none."""
    text = (
        b'{"errors":true,"items":[{"create":{"_index":".ds-2","status":201}},'
        b'{"create":{"_index":".ds-3","status":201}},{"create":{"_index":".ds-3","status":400,"error":{}}}]}'
    )
    assert read_beyond(text, 3, {".ds-1", ".ds-2"}) == {1: ".ds-3"}
    assert read_beyond(text, 3, {".ds-2", ".ds-3"}) == {}
    assert read_beyond(b'{"errors":false,"items":[{"create":{"status":201}}]}', 1, {".ds-1"}) == {}


@pytest.mark.parametrize("text", [b"", b"{}", b'{"errors":true,"items":5}', b'{"errors":true,"items":[5]}', b"<html>"])
def test_an_answer_that_makes_no_sense_counts_as_none(text):
    """A proxy's page, or half an answer, says nothing about any event."""
    assert read_items(text, 1) is None
