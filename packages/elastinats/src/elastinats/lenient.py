"""JSON as people send it: read whatever can be read, write whatever was read.

Pure. Flows in: bytes. Flows out: values, and back. Invariant: no value is lost on the way, not even that of a key
that stands there twice; what cannot be stored (halves of surrogate pairs, bytes that are no UTF-8) is replaced.
Source: RFC 8259; Python's `json` for what is beyond it.
"""

import json
import re
from typing import Any

import orjson

#: A high surrogate that no low one follows, or a low one without a high one before it, as JSON writes them.
_HALF_PAIR = re.compile(
    r"((?<!\\)(?:\\\\)*)(?:\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f][0-9a-f]{2})"
    r"|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2})",
    re.IGNORECASE,
)


def load(text: bytes) -> Any:
    """Return the JSON value, or None where the text is none."""
    try:
        return orjson.loads(text)
    except ValueError:
        return load_completely(text)


def load_completely(text: bytes) -> Any:
    """Parse what strict parsers refuse or shorten: NaN, repeated keys, lone surrogates, bytes that are not UTF-8."""
    repeated: list[tuple[str, Any]] = []

    def keep_all(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        unique: dict[str, Any] = {}
        for key, value in pairs:
            if key in unique:
                repeated.append((key, value))
            else:
                unique[key] = value
        return unique

    try:
        value = json.loads(_decoded(text), parse_constant=str, object_pairs_hook=keep_all)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and repeated:
        _add_repeated(value, repeated)
    return value


def _decoded(text: bytes) -> str:
    r"""Return text without what cannot be stored: bytes that are not UTF-8, and halves of surrogate pairs."""
    return _HALF_PAIR.sub(r"\1\\ufffd", text.decode("utf-8", "replace"))


def _add_repeated(fields: dict[str, Any], repeated: list[tuple[str, Any]]) -> None:
    """Keep the second and later values of a repeated key under `labels`."""
    labels = fields.setdefault("labels", {})
    if isinstance(labels, dict):
        for key, value in repeated:
            name = key
            while name in labels:
                name += "_"
            labels[name] = value if isinstance(value, str) else json.dumps(value)


def dump(value: Any) -> bytes:
    """Return the JSON text; what orjson refuses (big numbers, lone surrogates) is mended as little as possible."""
    try:
        return orjson.dumps(value)
    except TypeError:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
        return text.encode("utf-8", "replace")
