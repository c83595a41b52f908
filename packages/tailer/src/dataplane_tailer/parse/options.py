"""The keys of an input that say what its lines are.

Flows in: a part of `[[inputs]]`. Flows out: values for the parsers, checked by them. Invariant: a key that the chosen
parser does not use is refused, never ignored.
"""

from typing import Literal

import msgspec


class ParserConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the lines of an input are, and how their names and times are read.

    `pattern` belongs to `regex`, `format` and `escape` (as `logging.yaml` has them) to `ats`, `content` (the parser of
    what a container wrote) to `cri` and `docker`, `time_field` and `time_format` to `json`, `logfmt` and `regex`;
    `time_zone` is that of times without one: an IANA name, or `local` for the host's.
    """

    parser: str = "plain"
    pattern: str = ""
    format: str = ""
    escape: Literal["", "none", "json"] = ""
    content: str = "plain"
    rename: dict[str, str] = {}
    time_field: str = ""
    time_format: str = ""
    time_zone: str = "UTC"
