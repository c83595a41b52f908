"""What the tests of parsers share: a parser by the keys of an input."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from dataplane_tailer.parse import Parsed, ParserConfig, check_parser, parser

AT = "2026-05-01T10:00:05.000000Z"


@pytest.fixture
def configured() -> Callable[..., ParserConfig]:
    """The keys of an input as its configuration has them."""
    return lambda **keys: msgspec.convert(keys, ParserConfig)


@pytest.fixture
def parsed(configured: Callable[..., ParserConfig]) -> Callable[..., Parsed]:
    """Parse one line with a parser of these keys, at a given time of arrival."""

    def parse_line(line: str, *, at: str = AT, **keys: Any) -> Parsed:
        config = configured(**keys)
        check_parser(config)
        parse = parser(config)
        assert parse is not None
        return parse(line, at)

    return parse_line
