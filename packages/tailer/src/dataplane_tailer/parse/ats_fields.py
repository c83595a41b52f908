"""The log fields of Apache Traffic Server and where ECS has them.

Data. Flows in: a field's name as `logging.yaml` has it. Flows out: its ECS name, its kind. Source: the
documentation of Traffic Server, "Log Fields". Invariant: a field without a place in ECS is `ats.<name>`.
"""

from enum import Enum


class Kind(Enum):
    """What the text of a field is."""

    TEXT = "text"
    CODE = "code"
    INTEGER = "integer"
    DECIMAL = "decimal"
    HEXADECIMAL = "hexadecimal"
    ADDRESS = "address"
    FLAG = "flag"
    REQUEST = "request"
    HTTP_VERSION = "HTTP version"
    TLS_VERSION = "TLS version"
    MILLISECONDS = "milliseconds"
    SECONDS = "seconds"
    CLF_TIME = "time of the common log format"
    HEX_MILLISECONDS = "milliseconds, hexadecimal"


#: Fields whose times become `@timestamp`, most exact first; `cqtd` and `cqtt` only together.
TIMES = ("cqtq", "cqts", "cqth", "cqtn", "cqtd", "cqtt")

#: field → (ECS name, kind). Where several mean one ECS name the first of them that the format has gets it.
ECS: dict[str, tuple[str, Kind]] = {
    "caun": ("user.name", Kind.TEXT),
    "chi": ("source.address", Kind.ADDRESS),
    "chp": ("source.port", Kind.INTEGER),
    "hii": ("destination.address", Kind.ADDRESS),
    "php": ("destination.port", Kind.INTEGER),
    "shi": ("server.address", Kind.ADDRESS),
    "shn": ("server.domain", Kind.TEXT),
    "phn": ("observer.name", Kind.TEXT),
    "cqhm": ("http.request.method", Kind.TEXT),
    "cqpv": ("http.version", Kind.HTTP_VERSION),
    "cqhv": ("http.version", Kind.HTTP_VERSION),
    "cqql": ("http.request.bytes", Kind.INTEGER),
    "cqcl": ("http.request.body.bytes", Kind.INTEGER),
    "cruuid": ("http.request.id", Kind.TEXT),
    "pssc": ("http.response.status_code", Kind.INTEGER),
    "psql": ("http.response.bytes", Kind.INTEGER),
    "pscl": ("http.response.body.bytes", Kind.INTEGER),
    "psct": ("http.response.mime_type", Kind.TEXT),
    "cquuc": ("url.original", Kind.TEXT),
    "cquc": ("url.original", Kind.TEXT),
    "cauc": ("url.original", Kind.TEXT),
    "cqu": ("url.original", Kind.TEXT),
    "pquc": ("url.original", Kind.TEXT),
    "pqu": ("url.original", Kind.TEXT),
    "cqtx": ("url.original", Kind.REQUEST),
    "cqus": ("url.scheme", Kind.TEXT),
    "pqus": ("url.scheme", Kind.TEXT),
    "cquuh": ("url.domain", Kind.TEXT),
    "cquup": ("url.path", Kind.TEXT),
    "cqup": ("url.path", Kind.TEXT),
    "pqup": ("url.path", Kind.TEXT),
    "cssn": ("tls.client.server_name", Kind.TEXT),
    "cqssl": ("tls.established", Kind.FLAG),
    "cqssr": ("tls.resumed", Kind.FLAG),
    "cqssv": ("tls.version", Kind.TLS_VERSION),
    "cqssc": ("tls.cipher", Kind.TEXT),
    "cqssu": ("tls.curve", Kind.TEXT),
    "cqssa": ("tls.next_protocol", Kind.TEXT),
    "ttms": ("event.duration", Kind.MILLISECONDS),
    "ttmsf": ("event.duration", Kind.SECONDS),
    "ttmsh": ("event.duration", Kind.HEX_MILLISECONDS),
    "tts": ("event.duration", Kind.SECONDS),
}

#: Headers of the client's request and of the proxy's response that ECS has a name for.
ECS_HEADERS: dict[tuple[str, str], str] = {
    ("cqh", "referer"): "http.request.referrer",
    ("cqh", "user-agent"): "user_agent.original",
    ("cqh", "content-type"): "http.request.mime_type",
    ("cqh", "x-request-id"): "http.request.id",
    ("psh", "content-type"): "http.response.mime_type",
}

#: Fields without an ECS name that are numbers, so that they can be summed.
_INTEGERS = [
    "cccs", "ccid", "cqhl", "cqint", "cqmpt", "cqtr", "crat", "crid", "crra", "cscert", "csscl", "csshl",
    "cssql", "csssc", "ctid", "ctpd", "ctpw", "cwra", "fsiz", "nhp", "pqcl", "pqhl", "pqql", "pqsp", "pqssl",
    "pqssr", "pscert", "pshl", "piid", "sca", "sscl", "sshl", "ssql", "sssc", "sstc", "ssrc", "stms", "sts",
    "surc", "ms", "msdms", "cqssl", "cqssr", "ttms", "tts", "pscl", "psql", "pssc", "cqcl", "cqql", "chp",
    "php", "cqts", "rchp", "cqqtl", "psqtl", "cqssrt", "cthb", "cthbr", "cthbt",
]  # fmt: skip
_TEXTS = [
    "cauc", "caun", "chi", "chih", "chiv", "chm", "ckh", "cluc", "cqah", "cqhm", "cqhv", "cqpv", "cqssa", "cqssc",
    "cqssg", "cqssu", "cqssv", "cqtd", "cqtn", "cqtt", "cqtx", "cqu", "cquc", "cqup", "cqus", "cquuc", "cquuh", "cquup",
    "crc", "crec", "crsc", "cruuid", "csshv", "cssn", "cssah", "ctec", "cwr", "cwt", "cwtr", "cfsc", "hii",
    "hiih", "mstsms", "nhi", "pfsc", "phi", "phn", "phr", "pitag", "ppa", "ppd", "pps", "pptc", "pptg", "pptv",
    "ppv", "pqah", "pqsi", "pqu", "pquc", "pqup", "pqus", "prrp", "prscs", "psah", "psct", "psfid", "puuid",
    "rchh", "rchi", "shi", "shn", "sqpv", "ssah", "sshv", "vbn", "vs",
]  # fmt: skip
#: Every field that Traffic Server documents, with what it is where ECS has no place for it.
OTHERS: dict[str, Kind] = {
    **dict.fromkeys(_INTEGERS, Kind.INTEGER),
    **dict.fromkeys(("cqth", "psch", "stmsh", "ttmsh"), Kind.HEXADECIMAL),
    **dict.fromkeys(("stmsf", "ttmsf", "cqtq"), Kind.DECIMAL),
    **dict.fromkeys(_TEXTS, Kind.TEXT),
    **dict.fromkeys(("cfsc", "crc", "crsc", "cwr", "cwtr", "pfsc", "phr"), Kind.CODE),
    "cqtn": Kind.CLF_TIME,
}

#: Fields whose text is `*Not IP address [0]*` where there is none.
ADDRESSES = frozenset({"chi", "chiv", "hii", "nhi", "phi", "pqsi", "rchi", "shi"})
#: Fields that take the name of a header in front: `%<{Age}ssh>`.
HEADERS = frozenset(["cqh", "pqh", "psh", "ssh", "cssh", "ecqh", "epqh", "epsh", "essh", "ecssh"])
#: Fields that take milestones in front: `%<{TS_MILESTONE_UA_BEGIN}ms>`.
MILESTONES = frozenset({"ms", "msdms"})
#: What a summary log computes: `%<COUNT(*)>`, `%<SUM(psql)>`.
AGGREGATES = frozenset({"COUNT", "SUM", "AVERAGE", "FIRST", "LAST"})
