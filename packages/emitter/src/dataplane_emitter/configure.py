"""`configure`: the one call that an application makes.

Flows in: what the application says. Flows out: an emitter at work, its thread started.
Invariant: a wrong configuration is refused here, at the start, in one line; a bus that is away is no error.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataplane_emitter import settings, spelling
from dataplane_emitter.emitter import Emitter
from dataplane_emitter.notice import write_line
from dataplane_emitter.settings import Delivery


def configure(
    *,
    service: str | None = None,
    namespace: str | None = None,
    dataset: str | None = None,
    servers: str | Sequence[str] | None = None,
    delivery: Delivery | None = None,
    file: Path | str | None = None,
    **more: Any,
) -> Emitter:
    """Return an emitter at work.

    Args:
        service: the service's name; here or in `DATAPLANE_SERVICE`.
        namespace: the deployment, for example `prod`; letters a-z, digits and `_`.
        dataset: what kind of records these are; by default made of the service's name.
        servers: URLs of NATS servers; by default the environment's, the local stack's, or `nats://127.0.0.1:4222`.
        delivery: `jetstream` (acknowledged, the default) or `core` (fire and forget).
        file: a TOML file with any keys of `EmitterConfig`.
        more: any other keys of `EmitterConfig`; sections are mappings, for example `queue={"max_events": 1000}`.

    Raises:
        ConfigError: the configuration is wrong; the text says where and what to do. A bus that is away is no error.

    >>> from dataplane_emitter import ConfigError, configure
    >>> emitter = configure(service="checkout", namespace="prod", fields={"service.version": "1.2"}, stderr=False)
    >>> emitter.config.dataset
    'checkout'
    >>> emitter.close(0)
    >>> try:
    ...     configure(service="checkout", namespace="Prod!")
    ... except ConfigError as error:
    ...     str(error)[-11:]
    'try "prod_"'
    """
    named = {"service": service, "namespace": namespace, "dataset": dataset, "delivery": delivery}
    given = settings.servers_setting(servers)
    nats = {**more.pop("nats", {}), **given} if given is not None else more.pop("nats", None)
    config = settings.load(file, **named, nats=nats, **more)
    if config.stderr:
        for doubt in spelling.doubts():
            write_line(f"{config.service}: {doubt}")
    return Emitter(config)
