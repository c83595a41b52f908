"""A 409 is a duplicate only if the stored document is the same event."""

import json

import pytest

from elastinats.confirm import is_same


@pytest.mark.parametrize(
    ("stored", "sent", "same"),
    [
        ({"message": "a", "event.ingested": "1"}, {"message": "a", "event.ingested": "2"}, True),
        ({"message": "a", "@timestamp": "1"}, {"message": "a", "@timestamp": "2"}, True),
        ({"message": "a"}, {"message": "b"}, False),
        ({"message": "a"}, {"other": 1}, False),
        ({"metric": {"value": 1}, "labels": {"a": "b"}}, {"metric": {"value": 1}, "labels": {"a": "b"}}, True),
        ({"metric": {"value": 1}, "labels": {"a": "b"}}, {"metric": {"value": 1}, "labels": {"a": "c"}}, False),
        ({"metric": {"value": 1}}, {"metric": {"value": 2}}, False),
        ({"user": 1, "event.ingested": "1"}, {"user": 1, "event.ingested": "2"}, True),
        ({"user": 1}, {"user": 2}, False),
    ],
)
def test_what_an_event_says_decides(stored, sent, same):
    """Times of arrival never count; message, or metric and labels, or else everything does."""
    assert is_same(stored, json.dumps(sent).encode()) is same
