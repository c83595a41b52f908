"""Rules of names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.errors import ConfigError, Permanent
from dataplane_common.taxonomy import (
    Signal,
    Subject,
    check_token,
    host_token,
    ledger_subject,
    parse_data_stream,
    parse_subject,
    subject_for,
    token,
)

TOKENS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=64)
HOSTS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=128)


@given(st.sampled_from(Signal), TOKENS, TOKENS, HOSTS)
def test_subjects_and_data_streams_map_both_ways(signal: Signal, namespace: str, dataset: str, host: str) -> None:
    """A subject survives its text, and its data stream names signal, namespace and dataset without doubt."""
    subject = Subject(signal, namespace, dataset, host)
    assert parse_subject(str(subject)) == subject
    assert parse_data_stream(subject.data_stream) == (signal, namespace, dataset)


@given(st.text())
def test_any_text_has_a_nearest_token_and_it_is_valid(text: str) -> None:
    """Sanitising always gives a valid token, and leaves a valid one alone."""
    assert check_token("key", token(text)) == token(token(text)) == token(text)
    assert parse_subject(f"logs.a.b.{host_token(text)}").host == host_token(text)


@pytest.mark.parametrize("bad", ["Prod", "a-b", "a.b", "", "é", "x" * 65])
def test_a_bad_token_is_refused_with_its_nearest_valid_spelling(bad: str) -> None:
    """The message has the key, the value and what to write instead."""
    with pytest.raises(ConfigError, match=f'namespace: "{bad}".*try "{token(bad)}"'):
        check_token("namespace", bad)


@pytest.mark.parametrize("bad", ["logs.a.b", "logs.a.b.c.d", "traces.a.b.c", "logs.A.b.c", "logs.a.b.", ""])
def test_what_is_no_subject_is_refused(bad: str) -> None:
    """Only four valid tokens with a known signal are a subject."""
    with pytest.raises(Permanent, match="expected"):
        parse_subject(bad)


def test_a_host_keeps_its_dashes_and_loses_its_dots() -> None:
    """Host names become one token each, on subjects and ledgers."""
    assert str(subject_for(Signal.LOGS, "prod", "web", "Web-1.Example.net")) == "logs.prod.web.web-1_example_net"
    assert ledger_subject("prod", "Web-1.Example.net", "Check Out") == "ledger.prod.web-1_example_net.check_out"
