"""A single Elasticsearch node as a local process.

Flows in: an unpacked home, a Java, a folder. Flows out: `url`, and the folder of its logs. Invariant: as root it
runs under another account, with data where that account can reach it, and nothing is written to the shared home.
"""

import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from dataplane_common.errors import Fatal
from dataplane_common.local import elasticsearch_files, probe
from dataplane_common.local.account import can_enter, folder_for, give, make_passable, unprivileged
from dataplane_common.local.java import MINIMUM_VERSION, find_java
from dataplane_common.local.process import Launch, plain_environment
from dataplane_common.local.service import LocalService

#: 10 s on two idle cores, 30 s on busy ones; a slow disk with a large data folder takes longer.
_READY_TIMEOUT_S = 180.0
_DEFAULT_HEAP_MIB = 512
#: The launcher lives for seconds, so it need not optimise.
_LAUNCHER_OPTIONS = "-XX:TieredStopAtLevel=1 -Xshare:auto"


class ElasticsearchServer(LocalService):
    """One node on the loopback interface, without security.

    `home` is an unpacked distribution; `settings` go to `elasticsearch.yml`, `jvm_options` to the server's JVM
    (`-XX:TieredStopAtLevel=1` starts it two seconds faster and runs it slower).
    """

    def __init__(
        self,
        directory: Path,
        home: Path,
        *,
        port: int = 0,
        java_home: Path | None = None,
        heap_mib: int = _DEFAULT_HEAP_MIB,
        settings: Mapping[str, str | int | bool] | None = None,
        jvm_options: tuple[str, ...] = (),
    ) -> None:
        ports = {"http": port, "transport": 0}
        super().__init__("elasticsearch", directory, wished_ports=ports, ready_timeout_s=_READY_TIMEOUT_S)
        self.home = home
        self.java_home = java_home
        self.heap_mib = heap_mib
        self.settings = dict(settings or {})
        self.jvm_options = jvm_options
        self.account = unprivileged()

    @cached_property
    def node_folder(self) -> Path:
        """The folder of its configuration, data and logs: in `directory` where its account can get there."""
        return folder_for(self.account, self.directory / "node")

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://{self.address('http')}"

    @property
    def logs(self) -> Path:
        """The folder of `dataplane-local_server.json` (JSON lines) and `gc.log`."""
        return self.node_folder / "logs"

    def prepare(self, ports: dict[str, int]) -> Launch:
        """Write the configuration into a folder that belongs to the server's account; see `LocalService`.

        Raises:
            Fatal: there is no Java that is new enough, or the account cannot enter the home.
        """
        java_home = self.java_home or self._find_java_home()
        if not can_enter(self.home, self.account):
            name = self.account.name if self.account else "this user"
            raise Fatal(f"{self.home}: {name} cannot enter this folder; set DATAPLANE_CACHE_DIR to one that it can")
        make_passable(self.node_folder.parent)
        for folder in (self.node_folder, *(self.node_folder / part for part in ("config", "data", "logs", "tmp"))):
            give(folder, self.account)
        self._write_configuration(self.node_folder / "config", ports)
        paths = {
            "ES_JAVA_HOME": java_home,
            "ES_PATH_CONF": self.node_folder / "config",
            "ES_TMPDIR": self.node_folder / "tmp",
            "HOME": self.node_folder,
        }
        return Launch(
            arguments=[str(self.home / "bin" / "elasticsearch")],
            environment=plain_environment(
                CLI_JAVA_OPTS=_LAUNCHER_OPTIONS, **{name: str(path) for name, path in paths.items()}
            ),
            account=self.account,
            ports=ports,
            directory=self.node_folder,
        )

    def is_ready(self) -> bool:
        """Whether the node answers about its cluster's health."""
        return probe.is_ok(f"{self.url}/_cluster/health")

    def clear(self) -> None:
        """Kill the node and remove its folders, also the one outside `directory`."""
        node_folder = self.node_folder  # asked before the folder that it depends on is gone
        super().clear()
        shutil.rmtree(node_folder, ignore_errors=True)

    def _find_java_home(self) -> Path:
        java = find_java(self.account)
        if java is None:
            raise Fatal(
                f"Elasticsearch needs Java {MINIMUM_VERSION} or newer: "
                "install openjdk-17-jre-headless, or set JAVA_HOME"
            )
        return java.home

    def _write_configuration(self, folder: Path, ports: dict[str, int]) -> None:
        node = self.node_folder
        texts = {
            "elasticsearch.yml": elasticsearch_files.elasticsearch_yml(node / "data", self.logs, ports, self.settings),
            "jvm.options": elasticsearch_files.jvm_options(self.logs, self.heap_mib, self.jvm_options),
            "log4j2.properties": elasticsearch_files.log4j2_properties(),
        }
        for name, text in texts.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o644)
