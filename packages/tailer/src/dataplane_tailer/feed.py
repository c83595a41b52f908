"""Which reader and parser an input has that is no file.

Flows in: an input. Flows out: its stream, ready to run.
"""

from dataplane_common.bus import Publisher
from dataplane_common.frame import FrameEncoder
from dataplane_tailer.config import InputConfig, TailerConfig
from dataplane_tailer.journal import Journal, parse_entry
from dataplane_tailer.parse import parser
from dataplane_tailer.parse.parsed import as_message
from dataplane_tailer.state import State
from dataplane_tailer.stdin import StandardInput
from dataplane_tailer.stream import Stream


def open_stream(
    config: TailerConfig, entry: InputConfig, state: State, publisher: Publisher, encoder: FrameEncoder
) -> Stream:
    """Return the stream of standard input or of the journal."""
    linger_s = config.delivery.linger_ms / 1000
    if entry.type == "journal":
        journal = Journal(entry.units, entry.start_at, linger_s)
        return Stream(config, entry, journal, parse_entry, state, publisher, encoder)
    lines = StandardInput(config.delivery.max_line_bytes, linger_s)
    return Stream(config, entry, lines, parser(entry) or as_message, state, publisher, encoder)
