"""Secrets within texts: the quick way finds what the thorough one finds, and neither lets anything pass unsearched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_emitter.mask_text import MOST_FINDS, TextMasker

_MASKER = TextMasker(("password", "api_key", "X_PIN"), frozenset({"old_password"}), (), "***", forms=True)
_WORDS = st.sampled_from([
    "password", "PassWord", "old_password", "api-key", "ApiKey", "x-pin", "X-PIN", "=", ":", "=>", " ", "\n", '"', "'",
    "\\", "[", "]", "b'", "Bearer ", "Basic ", "://", "@", "eyJ", ".", "hunter2hunter2", "-----BEGIN PRIVATE KEY-----",
])  # fmt: skip


@given(st.lists(_WORDS).map("".join))
def test_ascii_is_masked_as_any_text(text: str) -> None:
    """A text of ASCII, which is searched in lower case, is masked like one that has another letter in it."""
    assert _MASKER(f"é {text}") == f"é {_MASKER(text)}"


@pytest.mark.parametrize("text", ["X-Pin: 1234", "x-PIN=1234", "é X-pin: 1234", "my.x_pin => 1234"])
def test_keys_are_found_however_they_are_spelt(text: str) -> None:
    """A key with capitals of its own is found in texts with any."""
    assert _MASKER(text).endswith("***")
    assert "1234" not in _MASKER(text)


@pytest.mark.parametrize("secret", ["password=x ", "http://me:x@host ", "é password: x "])
def test_what_follows_very_many_secrets_is_masked_whole(secret: str) -> None:
    """A text full of secrets costs no more than the first so many of them; nothing passes that was not searched."""
    masked = _MASKER(secret * (2 * MOST_FINDS) + "and hunter2")
    assert masked.count("***") == MOST_FINDS + 1
    assert masked.endswith("***")
    assert _MASKER(secret * MOST_FINDS + "the end").endswith("the end")


def test_exceptions_stay() -> None:
    """The value of a name that is an exception is shown, however it is written."""
    assert _MASKER("old_password=x Old_Password: y new_password=z") == "old_password=x Old_Password: y new_password=***"


@pytest.mark.parametrize(
    "text",
    [
        "Bearer password: 'hunter2'",
        "https://hunter2:api_key=x@host/",
        "Basic api_key=hunter2",
        "eyJaaaa.eyJaa.password=hunter2",
    ],
)
def test_no_rule_hides_what_another_finds(text: str) -> None:
    """What one rule masks may be the name, or the end, by which another one finds a secret."""
    assert "hunter2" not in _MASKER(text)
    assert "hunter2" not in _MASKER(f"é {text}")
