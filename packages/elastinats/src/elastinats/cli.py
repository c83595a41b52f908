"""The command `elastinats`: reads options, runs what they ask for, turns errors into one line and an exit code.

Flows in: the command line. Flows out: exit codes 0 clean, 1 fatal, 2 configuration, 3 grace period exceeded.
"""

import asyncio
import sys
from collections.abc import Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from dataplane_common.config import shown
from dataplane_common.errors import DataPlaneError, ExitCode
from dataplane_common.lifecycle import run_service
from dataplane_common.telemetry import configure_logging
from dataplane_common.version_option import version_option
from elastinats import check as checks
from elastinats import cli_dlq, original, session, show
from elastinats.config import SinkConfig, load_config
from elastinats.routes import feeds
from elastinats.service import serve
from elastinats.setup import create_streams_and_consumers, planned_on_the_bus, planned_templates, put_templates
from elastinats.status import status as read_status

app = typer.Typer(
    name="elastinats",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(cli_dlq.app, name="dlq")


@app.callback()
def _options(_: Annotated[bool, version_option("elastinats", "elastinats")] = False) -> None:  # noqa: FBT002 - an option
    """NATS JetStream into Elasticsearch: each event indexed exactly once, or a dead letter with its reason."""


ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file.")]
NatsOption = Annotated[str | None, typer.Option("--nats", help="The bus: nats://host:4222, several with commas.")]
ElasticsearchOption = Annotated[
    str | None, typer.Option("--elasticsearch", help="Where documents go: http://host:9200, several with commas.")
]
NameOption = Annotated[str | None, typer.Option("--name", help="Sinks of one name share the work.")]
ListenOption = Annotated[str | None, typer.Option("--listen", help="Serve /healthz, /readyz, /metrics: host:port.")]
SingleNodeOption = Annotated[
    bool, typer.Option("--single-node", help="New indices get no replicas, which one node could not hold.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]
OriginalOption = Annotated[
    Path | None,
    typer.Option("--from-original", help="Print the TOML for a JSON configuration of the original elastinats."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what is done.")]
_ValueT = TypeVar("_ValueT")


@app.command(
    epilog="Examples: [bold]elastinats run[/] · [bold]elastinats run --config elastinats.toml[/] · "
    "[bold]elastinats run --nats nats://bus:4222 --elasticsearch http://search:9200[/]"
)
def run(
    config: ConfigOption = None,
    nats: NatsOption = None,
    elasticsearch: ElasticsearchOption = None,
    name: NameOption = None,
    listen: ListenOption = None,
    *,
    single_node: SingleNodeOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Index what arrives until stopped; a server that is away is waited for.

    SIGTERM stops pulling, finishes what is in flight for up to ten seconds and hands the rest back.
    SIGHUP reads routes and secrets again.
    """

    def load() -> SinkConfig:
        read = _load(config, nats, elasticsearch, name=name, listen=listen, single_node=single_node)
        feeds(read)
        return read

    loaded, reload_wanted = load(), asyncio.Event()
    configure_logging(verbose=verbose)
    raise typer.Exit(run_service(lambda stop: serve(loaded, stop, reload_wanted, load), on_reload=reload_wanted.set))


@app.command(epilog="Example: [bold]elastinats setup --config elastinats.toml[/]")
def setup(
    config: ConfigOption = None,
    nats: NatsOption = None,
    elasticsearch: ElasticsearchOption = None,
    *,
    single_node: SingleNodeOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Create streams, consumers and index templates; says first what will change, leaves alone what others made."""
    loaded = _load(config, nats, elasticsearch, single_node=single_node)
    lines = _run(_set_up(loaded, dry_run=dry_run))
    if dry_run:
        show.print_lines(["nothing was changed"])
        return
    changed = sum(": created" in line or ": updated" in line for line in lines)
    show.print_lines([*lines, f"set up; created or changed: {changed}"])


@app.command(
    epilog="Examples: [bold]elastinats check --config elastinats.toml[/] · "
    "[bold]elastinats check --from-original config.json > elastinats.toml[/]"
)
def check(
    config: ConfigOption = None,
    nats: NatsOption = None,
    elasticsearch: ElasticsearchOption = None,
    from_original: OriginalOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Validate the configuration, show it as it takes effect, and try both ends; changes nothing."""
    if from_original is not None:
        show.print_lines(original.translate(from_original))
        return
    loaded = _load(config, nats, elasticsearch)
    feeds(loaded)
    findings = _run(checks.check(loaded))
    if as_json:
        show.print_json({"config": shown(loaded), "findings": [finding._asdict() for finding in findings]})
    else:
        show.print_config(loaded)
        show.print_findings(findings)
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(ExitCode.FATAL)


@app.command(epilog="Example: [bold]elastinats status --json[/]")
def status(
    config: ConfigOption = None,
    nats: NatsOption = None,
    elasticsearch: ElasticsearchOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Tell what waits in each consumer, how many dead letters there are, and how both ends are."""
    found = _run(read_status(_load(config, nats, elasticsearch)))
    if as_json:
        show.print_json(msgspec.to_builtins(found))
    else:
        show.print_status(found)


@app.command("version")
def show_version() -> None:
    """Print the version."""
    show.print_lines([version("elastinats")])


async def _set_up(config: SinkConfig, *, dry_run: bool) -> list[str]:
    single_node = config.elasticsearch.single_node
    async with session.bus(config) as connection, session.index(config.elasticsearch) as client:
        await session.cluster_health(client)
        show.print_lines(await planned_on_the_bus(connection, config))
        for change in await planned_templates(client, single_node=single_node):
            show.print_change(change.template.kind, change.template.name, change.difference)
        if dry_run:
            return []
        lines = await create_streams_and_consumers(connection, config)
        return lines + await put_templates(client, single_node=single_node)


def _load(
    file: Path | None,
    nats: str | None,
    elasticsearch: str | None,
    *,
    name: str | None = None,
    listen: str | None = None,
    single_node: bool = False,
) -> SinkConfig:
    overrides: dict[str, Any] = {
        "name": name,
        "nats": {"servers": _listed(nats)},
        "elasticsearch": {"hosts": _listed(elasticsearch), "single_node": True if single_node else None},
        "telemetry": {"listen": listen},
    }
    return load_config(file, overrides)


def _listed(text: str | None) -> list[str] | None:
    return [item.strip() for item in text.split(",") if item.strip()] if text else None


def _run(work: Coroutine[Any, Any, _ValueT]) -> _ValueT:
    return asyncio.run(work)


def main() -> None:
    """Run the command; errors of ours become one line."""
    try:
        app()
    except DataPlaneError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(int(error.exit_code)) from None
    except KeyboardInterrupt:
        raise SystemExit(int(ExitCode.FATAL)) from None
