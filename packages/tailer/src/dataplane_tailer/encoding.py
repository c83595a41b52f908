r"""Encodings of log files: where their lines end, and what they say. Pure.

Flows in: bytes of a file. Flows out: lines, texts. Invariant: a newline is one of the encoding's own code units, so the
`0A` inside another character of UTF-16 never ends a line; bytes that are no text stay visible as `\xff`.
"""

import codecs

import orjson

from dataplane_common.errors import ConfigError

#: Spellings of the two that need nothing but a search for one byte.
_UTF8 = ("utf-8", "utf8", "utf_8")
_MARK = "\ufeff"
_MARKED = {"utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)}


def check_encoding(name: str) -> None:
    """Check an encoding of the configuration.

    Raises:
        ConfigError: Python has no text encoding of that name; the text begins with the key.
    """
    try:
        is_text = "\n".encode(canonical(name)).decode(canonical(name)) == "\n"
    except (LookupError, UnicodeError, ValueError):
        is_text = False
    if not is_text or name.lower() in ("utf-7", "utf_7", "idna", "punycode", "unicode_escape", "raw_unicode_escape"):
        raise ConfigError(
            f'encoding: "{name}" is no encoding of text files; '
            'write for example "utf-8", "utf-16", "latin-1", "cp1252" or "shift_jis"'
        )


def canonical(name: str) -> str:
    """Return Python's own name of an encoding.

    Raises:
        LookupError: there is none of that name.
    """
    return "utf-8" if name.lower() in (*_UTF8, "utf-8-sig") else codecs.lookup(name).name


def resolve(name: str, head: bytes, known: str = "") -> str:
    """Return the encoding of a file whose first bytes are `head`: the byte-order mark decides between two orders.

    Without a mark it is the one that is `known` of the file, or the little-endian one, as on Windows.
    """
    name = canonical(name)
    if name not in _MARKED:
        return name
    little, big = _MARKED[name]
    if not head.startswith((little, big)) and known.startswith(name):
        return known
    return f"{name}-be" if head.startswith(big) else f"{name}-le"


def mark_length(name: str) -> int:
    """Return how many bytes of a file have to be there before its encoding is known."""
    return len(_MARKED.get(canonical(name), (b"",))[0])


def newline_of(encoding: str) -> bytes:
    r"""Return the bytes that end a line: `\n` in the encoding; a mark's order is taken as little-endian."""
    return "\n".encode(resolve(encoding, b""))


def find_newline(data: bytes, newline: bytes, start: int = 0) -> int:
    """Return the place of the first newline from `start` on, -1 if there is none.

    `data` begins at a code unit, and `newline` is as long as one.
    """
    at = data.find(newline, start)
    while at >= 0 and at % len(newline):
        at = data.find(newline, at + 1)
    return at


def find_last_newline(data: bytes, newline: bytes) -> int:
    """Return the place of the last newline, -1 if there is none; as `find_newline`."""
    at = data.rfind(newline)
    while at >= 0 and at % len(newline):
        at = data.rfind(newline, 0, at + len(newline) - 1)
    return at


def split_lines(data: bytes, newline: bytes) -> list[bytes]:
    """Return the complete lines at the start of `data`, without their newlines."""
    if len(newline) == 1:
        return data.split(newline)[:-1]
    lines: list[bytes] = []
    start = 0
    while (end := find_newline(data, newline, start)) >= 0:
        lines.append(data[start:end])
        start = end + len(newline)
    return lines


def decode(line: bytes, encoding: str, *, ended: bool = True, is_first: bool = False) -> tuple[str, bool]:
    r"""Return a line's text and whether it was valid; `encoding` is a resolved one.

    The carriage return of a CRLF is dropped where the line has `ended`, a byte-order mark where it `is_first` in its
    file. Invalid bytes stay visible as `\xff`.
    """
    try:
        text, valid = line.decode(encoding), True
    except UnicodeDecodeError:
        text, valid = line.decode(encoding, errors="backslashreplace"), False
    if is_first and text[:1] == _MARK:
        text = text[1:]
    return (text[:-1] if ended and text[-1:] == "\r" else text), valid


def as_json(texts: list[bytes]) -> list[bytes]:
    """Return each text as JSON; without a turn of the interpreter for each.

    Raises:
        UnicodeDecodeError: one is no UTF-8.
    """
    return [*map(orjson.dumps, map(bytes.decode, texts))]
