"""The two services of the stack that are ours: `elastinats` and `dataplane-tailer`, as commands.

Flows in: the servers' addresses and the logs to ship. Flows out: two configuration files, two running services.
Invariant: they are started as a user starts them, by the commands of the same environment and with files that a
user could have written.
"""

import glob
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from dataplane.folder import StackFolder
from dataplane.servers import Log, Servers
from dataplane_common.errors import Fatal
from dataplane_common.local import Launch, LocalService, probe
from dataplane_common.local.ports import LOOPBACK
from dataplane_common.local.process import plain_environment

NAMESPACE = "local"
#: The dataset of what `up` itself says.
OWN_DATASET = "dataplane_up"
_TAILER_PORT = 9600
_ELASTINATS_PORT = 9601
_READY_TIMEOUT_S = 60.0
_SETUP_TIMEOUT_S = 60.0


class Agent(LocalService):
    """A service that is run as `<command> run --config F` and answers on its `[telemetry]` address."""

    def __init__(self, name: str, directory: Path, config_text: Callable[[dict[str, int]], str], *, port: int) -> None:
        super().__init__(name, directory, wished_ports={"telemetry": port}, ready_timeout_s=_READY_TIMEOUT_S)
        self.config_file = directory / f"{name}.toml"
        self._config_text = config_text

    @property
    def telemetry_url(self) -> str:
        """Where it serves /healthz, /readyz and /metrics."""
        return f"http://{self.address('telemetry')}"

    def start(self) -> bool:
        """Start the service, or start it anew if its configuration is not the one that it runs with."""
        if self.is_running and not self._is_configured():
            self.stop()
        return super().start()

    def prepare(self, ports: dict[str, int]) -> Launch:
        """Write the configuration; see `LocalService`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(self._config_text(ports))
        return Launch(arguments=[command(self.name), "run", "--config", str(self.config_file)], ports=ports)

    def is_ready(self) -> bool:
        """Whether the service says that it is ready."""
        return probe.is_ok(f"{self.telemetry_url}/readyz")

    def _is_configured(self) -> bool:
        try:
            return self.config_file.read_text() == self._config_text(self.process.ports)
        except OSError:
            return False


def command(name: str) -> str:
    """Return the path of a command of this environment.

    Raises:
        Fatal: it is not installed here.
    """
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise Fatal(f'{path} is missing: pip install "dataplane-cli[stack]" into the same environment')
    return str(path)


def elastinats(folder: StackFolder, servers: Servers) -> Agent:
    """Return the sink of the stack; nothing is started."""
    return Agent(
        "elastinats",
        folder.part("elastinats"),
        lambda ports: elastinats_toml(servers) + telemetry_toml(ports),
        port=_ELASTINATS_PORT,
    )


def tailer(folder: StackFolder, servers: Servers) -> Agent:
    """Return the tailer of the stack, which ships the stack's own logs; nothing is started."""
    own = Log(paths=(glob.escape(str(folder.log)),), dataset=OWN_DATASET, service="dataplane", parser="json")
    state = folder.part("tailer") / "state"
    return Agent(
        "dataplane-tailer",
        folder.part("tailer"),
        lambda ports: tailer_toml(servers, state, (own, *servers.logs)) + telemetry_toml(ports),
        port=_TAILER_PORT,
    )


def set_up(folder: StackFolder, servers: Servers) -> str:
    """Create streams and index templates by `elastinats setup`; return the last line that it says.

    Raises:
        Fatal: it failed; the text has its last lines.
    """
    file = folder.part("elastinats") / "setup.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(elastinats_toml(servers))
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            [command("elastinats"), "setup", "--config", str(file)],
            env=plain_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SETUP_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise Fatal(f"`elastinats setup` did not end within {_SETUP_TIMEOUT_S:g} s") from None
    lines = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode != 0:
        raise Fatal(f"`elastinats setup` failed ({done.returncode}): {' / '.join(lines[-3:])}")
    return lines[-1].strip() if lines else "done"


def elastinats_toml(servers: Servers) -> str:
    """Return the sink's configuration."""
    return f"""\
# Written by `dataplane up`; changes are lost with the next one.
[nats]
servers = {_toml([servers.nats.url])}

[elasticsearch]
hosts = {_toml([servers.elasticsearch.url])}
single_node = true

[[routes]]
name = "all"
subjects = ["logs.>", "metrics.>"]
"""


def tailer_toml(servers: Servers, state: Path, logs: tuple[Log, ...]) -> str:
    """Return the tailer's configuration."""
    head = f"""\
# Written by `dataplane up`; changes are lost with the next one.
namespace = {_toml(NAMESPACE)}
state_dir = {_toml(str(state))}

[nats]
servers = {_toml([servers.nats.url])}
"""
    return head + "".join(_input_toml(log) for log in logs)


def telemetry_toml(ports: dict[str, int]) -> str:
    """Return the section that says where a service tells about itself."""
    address = f"{LOOPBACK}:{ports['telemetry']}"
    return f"\n[telemetry]\nlisten = {_toml(address)}\n"


def _input_toml(log: Log) -> str:
    return f"""
[[inputs]]
paths = {_toml(list(log.paths))}
dataset = {_toml(log.dataset)}
parser = {_toml(log.parser)}
fields = {{ "service.name" = {_toml(log.service)} }}
"""


def _toml(value: str | list[str]) -> str:
    """A JSON text or list of texts is one of TOML, too."""
    return msgspec.json.encode(value).decode()
