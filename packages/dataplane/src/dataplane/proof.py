"""The proof that a stack works: a line is written to a file and found in Elasticsearch, and the time is taken.

Flows in: a running stack. Flows out: what was found. Invariant: nothing is claimed that was not seen.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dataplane.agents import NAMESPACE, OWN_DATASET
from dataplane.elastic import Elastic
from dataplane.search import Search, find
from dataplane_common.errors import DataPlaneError, Fatal

#: The first line of a fresh stack waits for the start of every part and for a new index; a busy machine takes long.
_TIMEOUT_S = 90.0
_POLL_S = 0.05
_SAMPLES = 3


@dataclass(frozen=True)
class Proof:
    """What was seen: `latency_s` from a line written to that line found, documents by data stream, some events."""

    latency_s: float
    counts: dict[str, int]
    sample_query: str
    samples: list[dict[str, Any]]


def prove(elastic: Elastic, write_line: Callable[[str], None]) -> Proof:
    """Write a line to a log that the tailer follows, and wait until a search finds it.

    A first line opens the way; the time is taken with a second one.

    Raises:
        Fatal: a line was not found in time.
    """
    _seconds_until_found(elastic, write_line)
    latency_s = _seconds_until_found(elastic, write_line)
    sample = Search(query="started OR ready OR listening", limit=_SAMPLES)
    return Proof(latency_s, elastic.counts(), sample.query, find(elastic, sample, lambda _text: None))


def _seconds_until_found(elastic: Elastic, write_line: Callable[[str], None]) -> float:
    mark = f"proof{secrets.token_hex(8)}"
    search = Search(query=mark, dataset=OWN_DATASET, namespace=NAMESPACE, limit=1)
    begun_s = time.monotonic()
    write_line(f"this line shows the way from a file to a search result: {mark}")
    last = "nothing was found"
    while (waited_s := time.monotonic() - begun_s) < _TIMEOUT_S:
        try:
            if find(elastic, search, lambda _text: None):
                return time.monotonic() - begun_s
        except DataPlaneError as error:  # an index that is just being made cannot be searched yet
            last = str(error)
        time.sleep(_POLL_S)
    raise Fatal(
        f"a line that was written {waited_s:.0f} s ago is not found in Elasticsearch ({last}); "
        "`dataplane status` shows where it waits"
    )
