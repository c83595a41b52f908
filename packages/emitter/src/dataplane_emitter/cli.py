"""The command `dataplane-emit`: logs and metrics of shell scripts and cron jobs.

Flows in: a message and fields, lines, or metrics. Flows out: events, and an exit code that tells the truth: 0 only if
the server has acknowledged everything; 1 if something was refused, 2 for a wrong call, 3 if the time was too short.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dataplane_common.config import environment
from dataplane_common.errors import ConfigError, DataPlaneError, ExitCode
from dataplane_common.version_option import version_option
from dataplane_emitter import emit, level, spelling
from dataplane_emitter.configure import configure

app = typer.Typer(name="dataplane-emit", pretty_exceptions_enable=False, rich_markup_mode="rich")

Words = Annotated[list[str] | None, typer.Argument(metavar="[MESSAGE] [KEY=VALUE]...", help="What to log.")]
MessageOption = Annotated[str | None, typer.Option("--message", "-m", help="A message that looks like KEY=VALUE.")]
MetricOption = Annotated[list[str] | None, typer.Option("--metric", metavar="NAME=NUMBER", help="Instead of a log.")]
KindOption = Annotated[str, typer.Option("--type", help=f"Of the metrics: {', '.join(emit.KINDS)}.")]
UnitOption = Annotated[str, typer.Option(help="Of the metrics: s, By, 1.")]
DatasetOption = Annotated[str | None, typer.Option(help="What kind of records these are: backup.")]
NamespaceOption = Annotated[str | None, typer.Option(help="The deployment they belong to: prod.")]
ServiceOption = Annotated[str | None, typer.Option(help="Who says it; default: the dataset.")]
NatsOption = Annotated[str | None, typer.Option("--nats", help="The bus: nats://host:4222, several with commas.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with keys of the emitter.")]
SpoolOption = Annotated[Path | None, typer.Option("--spool", help="A folder for what cannot be delivered now.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Seconds that the bus may take nothing.")]

EXAMPLES = (
    "Examples: [bold]dataplane-emit --dataset backup --level info 'finished' size_bytes=123[/] · "
    "[bold]backup.sh 2>&1 | dataplane-emit --dataset backup[/] · "
    "[bold]dataplane-emit --dataset backup --metric duration=93.5 --type gauge --unit s disk=sda[/]"
)


@app.command(epilog=EXAMPLES)
def run(  # noqa: PLR0913, PLR0917 - one parameter per option
    words: Words = None,
    message: MessageOption = None,
    metric: MetricOption = None,
    kind: KindOption = "counter",
    unit: UnitOption = "1",
    dataset: DatasetOption = None,
    namespace: NamespaceOption = None,
    service: ServiceOption = None,
    level_name: Annotated[str, typer.Option("--level", help="debug, info, warning, error or critical.")] = "info",
    nats: NatsOption = None,
    config: ConfigOption = None,
    spool: SpoolOption = None,
    timeout_s: TimeoutOption = 10.0,
    _: Annotated[bool, version_option("dataplane-emit", "dataplane-emitter")] = False,  # noqa: FBT002 - an option
) -> None:
    """Send a message with fields, each line of standard input, or metrics, and wait until the server has them."""
    message, fields = emit.split_words(words or [], message)
    if not level.is_known(level_name):
        raise ConfigError(f'--level: "{level_name}" is no level; give debug, info, warning, error or critical')
    points = emit.read_points(metric or [], kind)
    if message is None and not points and sys.stdin.isatty():
        raise ConfigError("there is nothing to send; give a message, --metric, or lines on standard input")
    emitter = configure(
        service=service or _service(dataset, config),
        dataset=dataset,
        namespace=namespace,
        servers=nats,
        file=config,
        stderr=False,
        **_spool(spool),
    )
    for doubt in spelling.doubts():
        sys.stderr.write(f"warning: {doubt}\n")
    sender = emit.Sender(emitter, timeout_s)
    if points:
        sender.points(points, kind, unit, fields)
    if message is not None:
        sender.log(level_name, message, fields)
    elif not points:
        sender.lines(sys.stdin.buffer, level_name, fields)
    code, problem = sender.finish()
    if problem:
        sys.stderr.write(f"error: {problem}\n")
    raise typer.Exit(code)


def _service(dataset: str | None, config: Path | None) -> str | None:
    """Return the default service, or None where the environment or a file may name it."""
    return None if environment("DATAPLANE_SERVICE") or config else dataset or "dataplane-emit"


def _spool(folder: Path | None) -> dict[str, Any]:
    return {"spool": {"dir": folder}} if folder else {}


def main() -> None:
    """Run the command."""
    try:
        app()
    except DataPlaneError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(int(error.exit_code))
    except KeyboardInterrupt:
        sys.exit(int(ExitCode.FATAL))
