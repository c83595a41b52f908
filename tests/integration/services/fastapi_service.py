"""A FastAPI service that logs and counts through the emitter; uvicorn's own loggers go the same way.

Its servers, namespace and dataset come from the environment alone. uvicorn ends by the signal that it got, so the
lifespan is where the last events are delivered.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from dataplane_emitter import configure

emitter = configure(service="fastapi-service", levels={"uvicorn": "info"})
logging.basicConfig(level=logging.INFO, handlers=[emitter.handler()], force=True)
logger = logging.getLogger("shop")
orders = emitter.counter("orders")


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Deliver the last events before the server ends."""
    yield
    await asyncio.to_thread(emitter.close, 5)


app = FastAPI(lifespan=lifespan)


@app.get("/order/{number}")
async def order(number: int) -> dict[str, int]:
    """Take an order."""
    with emitter.timer("order_time"):
        orders.inc()
        logger.info("order %d taken", number, extra={"order": number})
    return {"pid": os.getpid()}


@app.get("/pay/{number}")
def pay(number: int) -> dict[str, int]:
    """Fail, in a thread of the pool."""
    try:
        return {"change": 1 // (number - number)}
    except ZeroDivisionError:
        logger.exception("order %d not paid", number, extra={"order": number, "card_token": "4111"})
    return {"pid": os.getpid()}
