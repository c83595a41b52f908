"""A Celery application whose broker is a folder: `celery --app celery_service worker` does what the caller has queued.

Its servers, namespace and dataset come from the environment alone; the broker's folder is the working directory's
`broker`. Celery's own logging is left alone: the handler is on the service's logger.
"""

import logging
import os
from pathlib import Path

from celery import Celery

from dataplane_emitter import configure

emitter = configure(service="celery-service")
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(emitter.handler())
orders = emitter.counter("orders")

broker = Path.cwd() / "broker"
broker.mkdir(exist_ok=True)
app = Celery("celery_service", broker="filesystem://")
app.conf.update(
    broker_transport_options=dict.fromkeys(("data_folder_in", "data_folder_out", "control_folder"), str(broker)),
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


@app.task
def order(number: int) -> int:
    """Take an order."""
    orders.inc()
    logger.info("order %d taken", number, extra={"order": number})
    return os.getpid()
