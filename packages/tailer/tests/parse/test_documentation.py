"""The documentation of the parsers is true: every example in it is run."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dataplane_tailer.config import InputConfig
from dataplane_tailer.multiline import check_multiline
from dataplane_tailer.parse import PARSERS, check_parser
from dataplane_tailer.render import Origin, renderer

AT = "2026-05-01T10:00:05.000000Z"
TEXT = (Path(__file__).parents[2] / "docs" / "PARSERS.md").read_text()
EXAMPLES = re.findall(r"```toml\n([^`]*?)\n```\n```text\n(.*?)\n```\n```json\n(.*?)\n```", TEXT, re.DOTALL)


def own_fields(event: dict[str, Any]) -> dict[str, Any]:
    """An event without what every event has."""
    shared = {"log": ("offset", "file"), "event": ("dataset", "sequence", "created")}
    for name, members in shared.items():
        event[name] = {key: value for key, value in event[name].items() if key not in members}
    empty = [name for name in shared if not event[name]] + ["@timestamp"] * (event["@timestamp"] == AT)
    return {key: event[key] for key in event if key not in ("_id", "host", "dp", "ecs", "service", *empty)}


@pytest.mark.parametrize(("keys", "lines", "fields"), EXAMPLES)
def test_an_example_gives_the_fields_that_the_documentation_shows(keys: str, lines: str, fields: str) -> None:
    """Whoever copies an example gets just what is printed below it."""
    entry = msgspec.convert({"paths": ["/a"], "dataset": "shop", **tomllib.loads(keys)}, InputConfig)
    check_parser(entry)
    render = renderer(Origin("0123456789abcdef", "/a", "shop", "web-1"), entry)
    found = b"".join(render([lines.encode()], 0, 1, AT)).splitlines()
    assert [own_fields(msgspec.json.decode(event)) for event in found] == [
        msgspec.json.decode(line) for line in fields.splitlines()
    ]


def test_every_parser_is_documented() -> None:
    """The table of parsers names all of them, and each but the trivial ones has an example."""
    assert [name for name in PARSERS if f"`{name}`" not in TEXT] == []
    assert len(EXAMPLES) >= 15


def test_the_multi_line_and_filter_tables_are_accepted() -> None:
    """The other tables in the documentation are configurations that start."""
    for block in re.findall(r"```toml\n(\[+inputs\.[^`]*?)\n```", TEXT, re.DOTALL):
        table = tomllib.loads(block)["inputs"]
        entry = msgspec.convert({"paths": ["/a"], "dataset": "shop", **table}, InputConfig)
        check_multiline(entry, entry.multiline)
        assert entry.multiline or len(entry.filters) == 2
