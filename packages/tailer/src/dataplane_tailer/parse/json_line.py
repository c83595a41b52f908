"""JSON lines: one object a line, common names moved to ECS.

Flows in: a line. Flows out: its members. Invariant: no member is lost; a line that is no object becomes the message.
"""

import msgspec

from dataplane_tailer.parse.options import ParserConfig
from dataplane_tailer.parse.parsed import Parse, Parsed, unparsed
from dataplane_tailer.parse.record import lifter

_decode = msgspec.json.Decoder().decode


def json_parser(config: ParserConfig) -> Parse:
    """Return the parser of JSON objects (RFC 8259).

    Raises:
        ConfigError: a key about times or names cannot be used.
    """
    lift = lifter(config)

    def parse(line: str, at: str) -> Parsed:
        try:
            record = _decode(line)
        except msgspec.DecodeError as error:
            return unparsed(line, f"not JSON: {error}")
        except RecursionError:
            return unparsed(line, "not JSON: nested too deeply")
        if record.__class__ is not dict:
            return unparsed(line, "not a JSON object")
        return lift(record, line, at)

    return parse
