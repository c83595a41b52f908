"""What counts as a secret: names, and forms that secrets have in texts.

Pure data and the expressions made of it. Flows in: names of keys. Flows out: compiled expressions, whose group
`secret` is what has to go. Invariant: each takes time in proportion to the text, whatever the text is.
"""

import re
from collections.abc import Sequence

#: A name that contains one of these holds a secret: `db_password`, `X-Api-Key`, `refreshToken`. A `_` stands for any
#: separator or none.
KEYS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "credential",
    "cookie",
    "api_key",
    "private_key",
    "access_key",
)
#: Names that contain one of the above and hold numbers that everybody may know.
KEEP = (
    "completion_tokens",
    "input_tokens",
    "max_tokens",
    "output_tokens",
    "prompt_tokens",
    "token_count",
    "token_type",
    "total_tokens",
)
#: Forms that secrets have, each with the words of which one is in every text that it matches.
BUILTIN_PATTERNS = (
    # user and password of a URL (RFC 3986, userinfo)
    (("://",), re.compile(r"://(?P<secret>[^/?#\s@'\"]{1,1000})@")),
    # credentials of an HTTP header (RFC 6750, RFC 7617)
    (
        ("Bearer", "bearer", "Basic", "basic"),
        re.compile(r"\b(?:[Bb]earer|[Bb]asic)\s(?P<secret>[A-Za-z0-9._~+/-]{8,}=*)"),
    ),
    # private keys in PEM (RFC 7468)
    (
        ("PRIVATE KEY-----",),
        re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?P<secret>[^-]*)(?:-----END|\Z)"),
    ),
    # signed tokens (RFC 7519): two JSON objects in base64url, and a signature
    (("eyJ",), re.compile(r"\beyJ[A-Za-z0-9_-]{4,}\.eyJ[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]*")),
)
#: Lower-cased; one of them is in every text that a pattern above matches.
BUILTIN_WORDS = tuple(word.lower() for needed, _ in BUILTIN_PATTERNS for word in needed)

#: What may stand between a name and its value: `"password": "x"`, `password=x`, `password => 'x'`.
_BETWEEN = r"""[\w\-.\]]{0,64}+\\?["']?\s{0,8}+(?:=>|:=|[=:])\s{0,8}"""
#: A value: quoted (bytes and f-strings too; an open end is taken whole), bracketed (to the end of its line), after the
#: scheme of an HTTP header, or one word.
_VALUE = r"""(?P<secret>
    [bBrRfFuU]{0,2}\\?"(?:[^"\\]|\\.)*+(?:"|\Z) | [bBrRfFuU]{0,2}\\?'(?:[^'\\]|\\.)*+(?:'|\Z)
    | [\[({<][^\n]* | (?:bearer|basic|digest|negotiate|token)\s+[^\s,;"']+ | [^\s,;&"')}\]]+
)"""


def key_pattern(keys: Sequence[str]) -> "re.Pattern[str] | None":
    """Return the expression that finds a secret's name in a name, or None without keys."""
    return re.compile("|".join(_spelt(keys)), re.IGNORECASE) if keys else None


def key_in_text(keys: Sequence[str]) -> "re.Pattern[str] | None":
    """Return the expression that finds a secret's name with its value in a text, or None without keys."""
    return re.compile(_in_text(keys), re.IGNORECASE | re.VERBOSE) if keys else None


def key_in_lowered(keys: Sequence[str]) -> "re.Pattern[str] | None":
    """Return what finds the same in a text of lower-case ASCII, many times as fast; None where a key is no ASCII."""
    lowered = [key.lower() for key in keys]
    return re.compile(_in_text(lowered), re.VERBOSE) if lowered and "".join(lowered).isascii() else None


def words(keys: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    """Return what a document must contain, lower-cased, to have anything to mask: each key's last part, and `more`."""
    wanted = sorted({*(key.lower().strip("_").rpartition("_")[2] for key in keys), *more}, key=len)
    return tuple(word for number, word in enumerate(wanted) if not any(shorter in word for shorter in wanted[:number]))


def _in_text(keys: Sequence[str]) -> str:
    return rf"(?:{'|'.join(_spelt(keys))}){_BETWEEN}{_VALUE}"


def _spelt(keys: Sequence[str]) -> list[str]:
    return [r"[-_.\ ]?".join(re.escape(part) for part in key.strip("_").split("_")) for key in keys]
