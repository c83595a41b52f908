"""Rules of the ledger."""

from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.ledger import SourceAccount, decode_message, encode_messages


@given(st.integers(0, 40), st.integers(200, 5000))
def test_accounts_are_split_over_messages_and_none_is_lost(count: int, limit: int) -> None:
    """Every account is in exactly one message, and only a single account may pass the limit."""
    accounts = [
        SourceAccount(source=f"{n:016x}", dataset="d", namespace="n", host="h", accepted=n, dropped={"full": n})
        for n in range(count)
    ]
    messages = [decode_message(text) for text in encode_messages("tailer", "1", "t", accounts, limit)]
    assert [account for message in messages for account in message.sources] == accounts
    payloads = list(encode_messages("tailer", "1", "t", accounts, limit))
    assert all(len(text) <= limit + 100 or len(decode_message(text).sources) == 1 for text in payloads)
