"""Regular expressions of the user's: named groups become fields.

Flows in: a line. Flows out: its groups as texts, `__` in a name being a dot. Invariant: a line without a match, or
for which the pattern takes too long, becomes the message; a pattern that can never give a field is refused at start.
"""

from dataplane_common.errors import ConfigError, Overrun
from dataplane_tailer.parse.bounded import compile_pattern
from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Parse, Parsed, unparsed
from dataplane_tailer.parse.record import lifter


def regex_parser(config: ParserConfig) -> Parse:
    """Return the parser for `pattern`, searched for anywhere in the line; the whole line stays as `message`.

    Raises:
        ConfigError: the pattern does not compile or has no named group, or a key about times or names is unusable.
    """
    bounded = compile_pattern("pattern", config.pattern)
    groups = bounded.pattern.groupindex
    if not groups:
        raise ConfigError(
            f"pattern: '{config.pattern}' has no named group, so it gives no field; "
            r"write for example '(?P<http__request__method>\w+) (?P<url__original>\S+)'"
        )
    names = {group: group.replace("__", ".") for group in groups}
    lift, search = lifter(config), bounded.search

    def parse(line: str, at: str) -> Parsed:
        try:
            found = search(line)
        except Overrun as error:
            return unparsed(line, str(error))
        if found is None:
            return unparsed(line, "does not match the pattern")
        record = {names[group]: text for group, text in found.groupdict().items() if text is not None}
        return lift(record, line, at)

    return parse
