"""Rules of encodings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_tailer.encoding import (
    canonical,
    decode,
    find_last_newline,
    find_newline,
    mark_length,
    newline_of,
    resolve,
    split_lines,
)

ENCODINGS = [
    "utf-8",
    "utf-16-le",
    "utf-16-be",
    "utf-32-le",
    "latin-1",
    "cp1252",
    "shift_jis",
    "euc_jp",
    "gb18030",
    "cp037",
]


@given(st.lists(st.text(max_size=8)), st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "utf-32-be", "gb18030"]))
def test_lines_come_out_as_they_went_in(texts: list[str], encoding: str) -> None:
    """Newlines are found on code units only, and what has none yet stays."""
    texts = [text.replace("\n", "").rstrip("\r").encode(encoding, "ignore").decode(encoding) for text in texts]
    data = "".join(text + "\n" for text in texts).encode(encoding)
    rest = "\u0a0a\u0a00".encode(encoding) if encoding != "utf-8" else b"x"
    assert [decode(line, encoding)[0] for line in split_lines(data + rest, newline_of(encoding))] == texts


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_newline_is_what_the_encoding_writes(encoding: str) -> None:
    """Text in each encoding is cut at its newlines and read back."""
    data = "Zeile eins\r\nzwei\n".encode(encoding)
    lines = split_lines(data, newline_of(encoding))
    assert [decode(line, canonical(encoding)) for line in lines] == [("Zeile eins", True), ("zwei", True)]


def test_a_newline_across_code_units_is_none() -> None:
    """`0A 00` in the middle of two characters of UTF-16 ends no line, whatever the place to search from."""
    data = "\u0a01\u0a00x\n".encode("utf-16-be")
    assert find_newline(data, b"\x00\n") == 6
    assert find_newline(data, b"\x00\n", 1) == 6
    assert find_newline(data[:6], b"\x00\n") == -1


@given(
    st.text(alphabet="a\n\u0a0a\u0a00\u000a\u0100", max_size=12), st.sampled_from(["utf-8", "utf-16-le", "utf-16-be"])
)
def test_the_last_newline_ends_the_last_line(text: str, encoding: str) -> None:
    """What lies behind it has none; before it are all lines."""
    data, newline = text.encode(encoding), newline_of(encoding)
    at = find_last_newline(data, newline)
    lines = split_lines(data, newline)
    assert at + len(newline) == sum(map(len, lines)) + len(newline) * len(lines) if lines else at == -1


def test_the_byte_order_mark_decides() -> None:
    """UTF-16 with a mark is read in its order, without one as on Windows; other encodings are themselves."""
    assert resolve("UTF-16", b"\xfe\xff\x00a") == "utf-16-be"
    assert resolve("utf16", b"\xff\xfea\x00") == "utf-16-le"
    assert resolve("utf-16", b"") == "utf-16-le"
    assert resolve("Latin-1", b"\xff\xfe") == "iso8859-1"
    assert resolve("utf-8-sig", b"") == "utf-8"
    assert resolve("utf-16", b"a\x00", "utf-16-be") == "utf-16-be"
    assert resolve("utf-16", b"\xff\xfe", "utf-16-be") == "utf-16-le"
    assert resolve("utf-16", b"", "utf-8") == "utf-16-le"
    assert [mark_length(name) for name in ("utf-8", "utf-16-le", "UTF16", "utf_32")] == [0, 0, 2, 4]


def test_invalid_bytes_stay_visible() -> None:
    """What is no text in the encoding is shown as escapes, and said."""
    assert decode(b"caf\xe9", "utf-8") == ("caf\\xe9", False)
    assert decode(b"a\x00b", "utf-16-le") == ("a\\x62", False)
    assert decode(b"\x81", "cp1252") == ("\\x81", False)
    assert decode(b"caf\xe9", "latin-1") == ("café", True)


def test_the_mark_and_the_carriage_return_go_only_where_they_belong() -> None:
    """The mark goes from a file's first line, the carriage return from in front of a newline."""
    assert decode("\ufeffa\r".encode(), "utf-8", is_first=True) == ("a", True)
    assert decode("\ufeffa\r".encode(), "utf-8", ended=False) == ("\ufeffa\r", True)
