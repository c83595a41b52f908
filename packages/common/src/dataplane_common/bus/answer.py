"""What a stream answers to a publish. Pure.

Flows in: an answer. Flows out: stored, again later, or never.
Source: JetStream publish acknowledgement and error codes (NATS ADR-1, ADR-31), no-responders status 503 (ADR-4).
"""

from collections.abc import Mapping

import msgspec

from dataplane_common.errors import Permanent, TooLarge, Transient

#: JetStream's `JSStreamMessageExceedsMaximumErr`: the only refusal that the same bytes can never overcome.
_MESSAGE_EXCEEDS_MAXIMUM = 10054
#: JetStream's `JSStreamWrongLastMsgIDErrF`: a message that must not be stored, and was not stored before.
_WRONG_LAST_ID = 10070


class PubAck(msgspec.Struct):
    """The server's word that a message is stored: stream, its sequence, whether it was there already."""

    stream: str
    seq: int
    duplicate: bool = False


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    error: _ApiError | None = None
    stream: str = ""
    seq: int = 0
    duplicate: bool = False


def read_answer(payload: bytes, headers: Mapping[str, str]) -> PubAck | Transient | Permanent:
    """Say what a publish acknowledgement means: stored, retry, or never."""
    if headers.get("Status") == "503":
        return Transient(
            "no stream takes this subject, or its leader is away; create the streams (dataplane streams apply)"
        )
    try:
        answer = msgspec.json.decode(payload, type=_Answer)
    except msgspec.MsgspecError as error:
        return Transient(f"the acknowledgement cannot be read: {error}")
    if answer.error is None:
        return PubAck(answer.stream, answer.seq, answer.duplicate)
    text = f"the stream refused it: {answer.error.description} ({answer.error.err_code})"
    match answer.error.err_code:
        case code if code == _MESSAGE_EXCEEDS_MAXIMUM:
            return TooLarge(text)
        case code if code == _WRONG_LAST_ID:
            return Permanent(text)
        case _:
            return Transient(text)
