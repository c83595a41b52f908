"""Regular expressions of the user's: named groups become fields.

Flows in: a line. Flows out: its groups as texts, `__` in a name being a dot. Invariant: a line without a match becomes
the message; a pattern that can never give a field is refused at start.
"""

import re

from dataplane_common.errors import ConfigError
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Parse, Parsed, unparsed
from dataplane_tailer.parse.record import lifter


def regex_parser(config: ParserConfig) -> Parse:
    """Return the parser for `pattern`, searched for anywhere in the line; the whole line stays as `message`.

    Raises:
        ConfigError: the pattern does not compile or has no named group, or a key about times or names is unusable.
    """
    pattern = compile_pattern("pattern", config.pattern)
    if not pattern.groupindex:
        raise ConfigError(
            f"pattern: '{config.pattern}' has no named group, so it gives no field; "
            r"write for example '(?P<http__request__method>\w+) (?P<url__original>\S+)'"
        )
    names = {group: group.replace("__", ".") for group in pattern.groupindex}
    lift = lifter(config)

    def parse(line: str, at: str) -> Parsed:
        found = pattern.search(line)
        if found is None:
            return unparsed(line, "does not match the pattern")
        record = {names[group]: text for group, text in found.groupdict().items() if text is not None}
        return lift(record, line, at)

    return parse


def compile_pattern(key: str, pattern: str) -> re.Pattern[str]:
    """Compile a pattern of the configuration.

    Raises:
        ConfigError: it is empty or does not compile; the text begins with the key.
    """
    if not pattern:
        raise ConfigError(f"{key}: empty; write a regular expression of Python's re")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{key}: '{pattern}' is no regular expression: {error}") from None
