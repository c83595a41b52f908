"""The configuration files of a local Elasticsearch, as texts.

Pure. Flows in: folders, ports, heap. Flows out: `elasticsearch.yml`, `jvm.options`, `log4j2.properties`.
Invariant: everything that the server writes lies in its own folder, its log as JSON lines and the garbage
collector's log as text, both for the tailer to read.
Source: Elasticsearch 8 reference, "Configuring Elasticsearch", "Advanced configuration" (JVM options), "Logging".
"""

import json
from collections.abc import Mapping
from pathlib import Path

CLUSTER = "dataplane-local"
#: One node holds every shard of every test and data stream; the default of 1000 is for clusters.
_MAX_SHARDS = 20_000


def elasticsearch_yml(data: Path, logs: Path, ports: Mapping[str, int], more: Mapping[str, str | int | bool]) -> str:
    """Return the server's settings; values are JSON, which is YAML too."""
    settings: dict[str, str | int | bool] = {
        "cluster.name": CLUSTER,
        "node.name": "local-1",
        "discovery.type": "single-node",
        "network.host": "127.0.0.1",
        "http.port": ports["http"],
        "transport.port": ports["transport"],
        "path.data": str(data),
        "path.logs": str(logs),
        "xpack.security.enabled": False,
        # A full laptop disk shall not turn the indices read-only: the stack is small.
        "cluster.routing.allocation.disk.threshold_enabled": False,
        "cluster.max_shards_per_node": _MAX_SHARDS,
        **more,
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())


def jvm_options(logs: Path, heap_mib: int, more: tuple[str, ...]) -> str:
    """Return the options of the server's JVM; `n-:` means from Java n on."""
    options = [
        f"-Xms{heap_mib}m",
        f"-Xmx{heap_mib}m",
        "-XX:+UseG1GC",
        "-Djava.io.tmpdir=${ES_TMPDIR}",
        "20-:--add-modules=jdk.incubator.vector",
        "-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1",
        "-XX:+ExitOnOutOfMemoryError",
        f"-XX:ErrorFile={logs}/hs_err_pid%p.log",
        f"-Xlog:gc*,gc+age=trace,safepoint:file={logs}/gc.log:utctime,level,pid,tags:filecount=16,filesize=16m",
        *more,
    ]
    return "\n".join(options) + "\n"


def log4j2_properties() -> str:
    """Return the logging: JSON lines in `<cluster>_server.json`, warnings also on the console."""
    return """\
status = error

appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%consoleException%n
appender.console.filter.threshold.type = ThresholdFilter
appender.console.filter.threshold.level = warn

appender.server.type = RollingFile
appender.server.name = server
appender.server.fileName = ${sys:es.logs.base_path}/${sys:es.logs.cluster_name}_server.json
appender.server.filePattern = ${sys:es.logs.base_path}/${sys:es.logs.cluster_name}_server-%i.json
appender.server.layout.type = ECSJsonLayout
appender.server.layout.dataset = elasticsearch.server
appender.server.policies.type = Policies
appender.server.policies.size.type = SizeBasedTriggeringPolicy
appender.server.policies.size.size = 32MB
appender.server.strategy.type = DefaultRolloverStrategy
appender.server.strategy.max = 4
appender.server.strategy.fileIndex = min

rootLogger.level = info
rootLogger.appenderRef.console.ref = console
rootLogger.appenderRef.server.ref = server
"""
