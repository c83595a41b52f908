"""The servers as processes, started by the same code as the local stack."""

from pathlib import Path

from dataplane.download import elasticsearch_home, unseen
from dataplane_common.local import ElasticsearchServer, NatsServer


def native_servers(folder: Path) -> tuple[NatsServer, ElasticsearchServer]:
    """Return a NATS server and an Elasticsearch, not yet started; the first call may download Elasticsearch."""
    home = elasticsearch_home(unseen)
    nats = NatsServer(folder / "nats")
    return nats, ElasticsearchServer(folder / "elasticsearch", home)
