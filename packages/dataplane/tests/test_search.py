"""What a search asks for, and in which order."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.elastic import data_stream_of
from dataplane.search import Search, incomplete, oldest, wait_for_first
from dataplane_common.errors import ConfigError
from dataplane_common.taxonomy import Signal

TOKENS = st.from_regex(r"[a-z0-9_]{1,64}", fullmatch=True)


def test_the_order_is_the_same_as_everywhere() -> None:
    """Newest first by time, then by source and sequence, also where an index has not seen these fields."""
    order = Search(query="x").body()["sort"]
    assert [next(iter(each)) for each in order] == ["@timestamp", "dp.source", "event.sequence"]
    assert all(spec["order"] == "desc" and spec["unmapped_type"] for each in order for spec in each.values())


def test_all_words_have_to_match() -> None:
    """`disk full` finds events with both words; a word in a number field does not fail the search."""
    asked = Search(query="disk full").body()["query"]["bool"]["must"][0]["query_string"]
    assert asked == {"query": "disk full", "default_operator": "AND", "lenient": True}


def test_an_empty_query_finds_everything() -> None:
    """Nothing asked means everything, not nothing."""
    assert Search(query="").body()["query"]["bool"]["must"][0]["query_string"]["query"] == "*"


@given(query=st.text(max_size=50), limit=st.integers(1, 10_000))
def test_any_text_makes_a_request(query: str, limit: int) -> None:
    """Whatever is typed becomes valid JSON, in both spellings."""
    for plain_words in (False, True):
        body = Search(query=query, limit=limit).body(plain_words=plain_words)
        assert msgspec.json.decode(msgspec.json.encode(body)) == body
        assert body["size"] == limit


@given(signal=st.sampled_from(Signal), dataset=TOKENS, namespace=TOKENS)
def test_a_dataset_is_searched_in_its_data_stream(signal: Signal, dataset: str, namespace: str) -> None:
    """Signal, dataset and namespace name one data stream, and its backing indices lead back to it."""
    target = Search(query="x", signal=signal, dataset=dataset, namespace=namespace).target
    assert target == f"{signal}-{dataset}-{namespace}"
    assert data_stream_of(f".ds-{target}-2026.11.22-000001") == target


def test_without_a_dataset_all_are_searched() -> None:
    """What is not named is not a limit."""
    assert Search(query="x").target == "logs-*-*"
    assert Search(query="x", signal=Signal.METRICS, namespace="prod").target == "metrics-*-prod"


def test_a_dataset_that_cannot_exist_is_refused() -> None:
    """The nearest valid spelling is in the message: a typo does not look like an empty result."""
    with pytest.raises(ConfigError, match=r'--dataset: "Nginx-Access".*try "nginx_access"'):
        _ = Search(query="x", dataset="Nginx-Access").target


@pytest.mark.parametrize(
    ("since", "spelled"),
    [
        ("10m", "now-10m"),
        ("7d", "now-7d"),
        ("2026-11-22T10:15:00Z", "2026-11-22T10:15:00.000000Z"),
        ("2026-11-22T10:15:00+01:00", "2026-11-22T09:15:00.000000Z"),
        ("2026-11-22", "2026-11-22T00:00:00.000000Z"),
    ],
)
def test_since_is_an_age_or_a_time(since: str, spelled: str) -> None:
    """Ages go to the server's clock, times are UTC."""
    assert oldest(since) == spelled
    limits = Search(query="x", since=since).body()["query"]["bool"]["filter"]
    assert limits == [{"range": {"@timestamp": {"gte": spelled}}}]


@pytest.mark.parametrize("since", ["10x", "yesterday", "-10m", "10 m", "1.5h"])
def test_another_since_is_refused(since: str) -> None:
    """The message shows what can be typed."""
    with pytest.raises(ConfigError, match=r"--since: .*10m.*2026"):
        oldest(since)


def test_an_incomplete_answer_is_told() -> None:
    """Shards that did not answer may hold what is looked for; silence would say that nothing is there."""
    assert incomplete({"_shards": {"failed": 1, "total": 3}, "timed_out": False}) == (
        "incomplete: 1 of 3 shards did not answer"
    )
    assert "time" in incomplete({"_shards": {"failed": 0}, "timed_out": True})
    assert incomplete({"_shards": {"failed": 0, "total": 3}, "timed_out": False}) == ""


def test_a_search_waits_for_a_first_find() -> None:
    """What was just shipped is looked for again until it is found; what is there already is given at once."""
    looks = iter([[], [{"_id": "a"}], [{"_id": "b"}]])
    assert wait_for_first(lambda: next(looks), 60) == [{"_id": "a"}]
    assert wait_for_first(lambda: next(looks), 60) == [{"_id": "b"}]
    assert wait_for_first(list, 0) == []
