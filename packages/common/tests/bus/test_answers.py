"""What the server's words mean: acknowledgement subjects, and answers to a publish. Pure."""

import pytest

from dataplane_common.bus.answer import PubAck, read_answer
from dataplane_common.bus.delivery import parse_ack_subject
from dataplane_common.errors import Permanent, TooLarge, Transient


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.LOGS.reader.2.7.9.1700000000000000000.5",
        "$JS.ACK._.acchash.LOGS.reader.2.7.9.1700000000000000000.5",
        "$JS.ACK.hub.acchash.LOGS.reader.2.7.9.1700000000000000000.5.random",
    ],
)
def test_both_forms_of_the_ack_subject_are_read(reply: str) -> None:
    """Servers before and after the change of the ack subject mean the same place."""
    metadata = parse_ack_subject(reply)
    assert (metadata.stream, metadata.deliveries) == ("LOGS", 2)
    assert (metadata.stream_sequence, metadata.stored_at_ns) == (7, 1700000000000000000)


def test_what_is_no_ack_subject_is_refused() -> None:
    """A message that was not delivered by a consumer cannot be settled."""
    with pytest.raises(Permanent):
        parse_ack_subject("_INBOX.abc")


@pytest.mark.parametrize(
    ("payload", "headers", "kind"),
    [
        (b'{"stream":"LOGS","seq":3,"duplicate":true}', {}, PubAck),
        (b"", {"Status": "503"}, Transient),
        (b'{"error":{"code":400,"err_code":10054,"description":"too big"}}', {}, TooLarge),
        (b'{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}', {}, Transient),
        (b'{"error":{"code":400,"err_code":10070,"description":"wrong last msg ID: 7"}}', {}, Permanent),
        (b"garbage", {}, Transient),
    ],
)
def test_answers_are_told_apart(payload: bytes, headers: dict[str, str], kind: type) -> None:
    """Stored, again later, or never: one pure function."""
    assert isinstance(read_answer(payload, headers), kind)
