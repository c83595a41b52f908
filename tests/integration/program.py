"""A program that logs through the emitter: arguments are NATS URL, dataset, number of records, progress file.

After each hundred records it waits for their acknowledgement and writes how many are safe to the progress file.
"""

import logging
import sys
from pathlib import Path

from dataplane_emitter import configure

url, dataset, total, progress = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
emitter = configure(service="program", namespace="test", dataset=dataset, servers=[url])
logger = logging.getLogger("program")
logger.setLevel(logging.INFO)
logger.addHandler(emitter.handler())
records = emitter.counter("records", unit="1")

for number in range(total):
    logger.info("line %d", number)
    records.inc()
    if (number + 1) % 100 == 0 and emitter.flush(timeout_s=30):
        progress.with_suffix(".new").write_text(str(number + 1))
        progress.with_suffix(".new").replace(progress)
emitter.close(timeout_s=30)
