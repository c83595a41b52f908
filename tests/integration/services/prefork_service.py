"""Jobs in the processes of Celery's pool (billiard): the parent configures the emitter, its children use it.

Arguments: how many jobs.
"""

import logging
import sys

import billiard

from dataplane_emitter import configure

emitter = configure(service="prefork-service")
logger = logging.getLogger("jobs")
logger.setLevel(logging.INFO)
logger.addHandler(emitter.handler())
jobs = emitter.counter("jobs")


def job(number: int) -> int:
    """Do one job."""
    logger.info("job %d done", number, extra={"order": number})
    jobs.inc()
    return number


if __name__ == "__main__":
    context = billiard.get_context("fork")
    count = int(sys.argv[1])
    workers = [
        context.Process(target=lambda first=first: [job(n) for n in range(first, count, 3)]) for first in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode != 0:
            sys.exit(worker.exitcode)
