"""A Django service whose `LOGGING` names the emitter's handler; everything else is Django's own.

Its servers, namespace and dataset come from the environment alone.
"""

import logging
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from dataplane_emitter import configure

emitter = configure(service="django-service")
settings.configure(
    SECRET_KEY="of an example",  # noqa: S106 - protects nothing
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"bus": {"()": emitter.handler}},
        "root": {"handlers": ["bus"], "level": "INFO"},
    },
)
logger = logging.getLogger("shop")
orders = emitter.counter("orders")


def order(_request: HttpRequest, number: int) -> JsonResponse:
    """Take an order."""
    orders.inc()
    logger.info("order %d taken", number, extra={"order": number})
    return JsonResponse({"pid": os.getpid()})


def pay(_request: HttpRequest, number: int) -> JsonResponse:
    """Fail, and let Django log it."""
    raise RuntimeError(f"order {number} not paid, card_token='4111'")


urlpatterns = [path("order/<int:number>", order), path("pay/<int:number>", pay)]
application = get_wsgi_application()
