"""Rules of cutting bytes into lines."""

from hypothesis import given
from hypothesis import strategies as st

from dataplane_tailer.cut import cut_lines, cut_piece


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.binary(max_size=20))
def test_complete_lines_come_out_as_they_went_in(lines: list[bytes], rest: bytes) -> None:
    """Every line that has its newline is cut, whole; an unterminated rest is left for the next read."""
    rest = rest.replace(b"\n", b"")
    assert cut_lines(b"".join(line + b"\n" for line in lines) + rest, 100) == lines


def test_lines_before_an_over_long_one_are_cut_first() -> None:
    """A line above the limit stops the cut in front of it."""
    assert cut_lines(b"a\nb\n" + b"x" * 11 + b"\nc\n", 10) == [b"a", b"b"]
    assert cut_lines(b"x" * 10 + b"\nc\n", 10) == [b"x" * 10, b"c"]


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


@given(st.text(alphabet="ab\n\u0a0a\U0001f600", max_size=60), st.integers(min_value=4, max_value=20))
def test_utf16_is_cut_at_characters(text: str, limit: int) -> None:
    """A newline is a code unit, not a byte; a pair of surrogates stays together."""
    newline = "\n".encode("utf-16-le")
    data = (text.replace("\n", "") + "\n").encode("utf-16-le")
    at, pieces, ends = 0, [], False
    while not ends:
        length, ends = cut_piece(data[at:], limit, newline)
        pieces.append(data[at : at + length].decode("utf-16-le"))
        at += length
    assert "".join(pieces) == text.replace("\n", "") + "\n"
    assert cut_lines(text.encode("utf-16-le"), 1000, newline) == [
        line.encode("utf-16-le") for line in text.split("\n")[:-1]
    ]
