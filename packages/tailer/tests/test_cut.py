"""Rules of cutting bytes into lines."""

from hypothesis import given
from hypothesis import strategies as st

from dataplane_tailer.cut import cut_lines, cut_piece, text_of


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.binary(max_size=20))
def test_complete_lines_come_out_as_they_went_in(lines: list[bytes], rest: bytes) -> None:
    """Every line that has its newline is cut, whole; an unterminated rest is left for the next read."""
    rest = rest.replace(b"\n", b"")
    assert cut_lines(b"".join(line + b"\n" for line in lines) + rest, 100) == lines


def test_lines_before_an_over_long_one_are_cut_first() -> None:
    """A line above the limit stops the cut in front of it."""
    assert cut_lines(b"a\nb\n" + b"x" * 11 + b"\nc\n", 10) == [b"a", b"b"]


@given(st.text(min_size=1, max_size=400), st.integers(min_value=4, max_value=50))
def test_pieces_of_a_long_line_join_to_the_line(text: str, limit: int) -> None:
    """Pieces are at most `limit` bytes, cut no character, end with the newline, and lose nothing."""
    line = text.replace("\n", " ").encode() + b"\n"
    at, pieces, ends = 0, [], False
    while not ends:
        length, ends = cut_piece(line[at:], limit)
        assert 0 < length <= limit + 1
        pieces.append(line[at : at + length])
        at += length
    assert b"".join(pieces) == line
    assert all(piece.decode() for piece in pieces)


def test_a_piece_waits_until_the_limit_is_reached() -> None:
    """Less than the limit without a newline is no piece yet."""
    assert cut_piece(b"x" * 10, 10) == (0, False)


def test_invalid_utf8_stays_visible() -> None:
    """Bytes that are no UTF-8 are shown as escapes, and the line is marked as invalid."""
    assert text_of(b"caf\xe9 \xff") == ("caf\\xe9 \\xff", False)


def test_only_the_carriage_return_of_a_crlf_is_dropped() -> None:
    r"""`\\r` in front of the newline belongs to the newline; elsewhere it belongs to the text."""
    assert text_of(b"a\rb\r") == ("a\rb", True)
    assert text_of(b"a\r", ended=False) == ("a\r", True)
