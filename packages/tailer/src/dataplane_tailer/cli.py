"""The command `dataplane-tailer`: reads options, runs the pipeline, turns errors into one line and an exit code.

Flows in: the command line. Flows out: exit codes 0 clean, 1 fatal, 2 configuration, 3 grace period exceeded.
"""

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from dataplane_common.config import stack_dir, stack_file, state_root
from dataplane_common.errors import ConfigError, DataPlaneError, ExitCode
from dataplane_common.lifecycle import run_service
from dataplane_common.telemetry import configure_logging
from dataplane_common.version_option import version_option
from dataplane_tailer import config as configuration
from dataplane_tailer.check import check_all
from dataplane_tailer.config import TailerConfig
from dataplane_tailer.explain_command import show_explanation
from dataplane_tailer.once import as_dict, ship_once
from dataplane_tailer.serve import serve
from dataplane_tailer.state_command import app as state_app
from dataplane_tailer.status_command import show_status
from dataplane_tailer.target import find_target

app = typer.Typer(
    name="dataplane-tailer",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(state_app, name="state")


@app.callback()
def _options(_: Annotated[bool, version_option("dataplane-tailer", "dataplane-tailer")] = False) -> None:  # noqa: FBT002 - an option
    """Ship log files to the data plane: nothing lost, nothing doubled."""


ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file.")]
PatternArgument = Annotated[str | None, typer.Argument(metavar="[GLOB]", help="Files to ship; quote patterns.")]
DatasetOption = Annotated[str | None, typer.Option(help="What kind of records these are: nginx_access.")]
NamespaceOption = Annotated[str | None, typer.Option(help="The deployment they belong to: prod.")]
NatsOption = Annotated[str | None, typer.Option("--nats", help="The bus: nats://host:4222, several with commas.")]
ParserOption = Annotated[str | None, typer.Option(help=f"One of {', '.join(configuration.PARSERS)}.")]
FromOption = Annotated[str | None, typer.Option("--from", help="beginning or end, for files seen for the first time.")]
StateOption = Annotated[Path | None, typer.Option("--state-dir", help="Where checkpoints are kept.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OnceOption = Annotated[bool, typer.Option("--once", help="Ship what is there, wait for every acknowledgement, stop.")]


@app.command(
    epilog="Examples: [bold]dataplane-tailer run --config tailer.toml[/] · "
    "[bold]dataplane-tailer run '/var/log/nginx/*.log' --dataset nginx_access[/] · "
    "[bold]dataplane-tailer run access.log --dataset web --once[/] · "
    "[bold]program | dataplane-tailer run - --dataset x[/]"
)
def run(  # noqa: PLR0913 - one parameter per option
    pattern: PatternArgument = None,
    config: ConfigOption = None,
    dataset: DatasetOption = None,
    namespace: NamespaceOption = None,
    nats: NatsOption = None,
    parser: ParserOption = None,
    from_: FromOption = None,
    state_dir: StateOption = None,
    *,
    once: OnceOption = False,
) -> None:
    """Follow files and ship their lines until stopped, or once."""
    overrides = _overrides(pattern, dataset, namespace, nats, parser, from_, state_dir)
    loaded = configuration.load(config, overrides)
    if once and pattern != "-":  # standard input has an end of its own
        configure_logging(quiet=True)
        raise typer.Exit(run_service(lambda stop: _once(loaded, stop)))
    configure_logging(quiet=pattern == "-")
    reload_wanted = asyncio.Event()
    raise typer.Exit(
        run_service(
            lambda stop: serve(loaded, stop, reload_wanted, lambda: configuration.load(config, overrides)),
            on_reload=reload_wanted.set,
        )
    )


@app.command(epilog="Example: [bold]dataplane-tailer check --config tailer.toml[/]")
def check(
    config: ConfigOption = None,
    *,
    root: Annotated[Path, typer.Option(help="Where the host's etc/logrotate.conf lies.")] = Path("/"),
    as_json: JsonOption = False,
) -> None:
    """Validate the configuration, show it as it takes effect, try the files and the bus, warn before any loss."""
    loaded = configuration.load(config, {})
    raise typer.Exit(asyncio.run(check_all(loaded, as_json=as_json, root=root.absolute())))


@app.command(
    epilog="Examples: [bold]dataplane-tailer status[/] · [bold]dataplane-tailer status --config tailer.toml --watch[/]"
)
def status(
    config: ConfigOption = None,
    state_dir: StateOption = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again each second, until Ctrl-C.")] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Show finished files, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how far each file is shipped, what waits, and what could be lost; a running tailer does not notice."""
    show_status(find_target(config, state_dir), watch=watch, as_json=as_json, show_all=show_all)


@app.command(epilog="Example: [bold]dataplane-tailer explain /var/log/nginx/access.log --config tailer.toml[/]")
def explain(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Any path; it need not be there.")],
    config: ConfigOption = None,
    state_dir: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Say why a file is or is not read, who it is, what is known of it, and what its next check would do."""
    show_explanation(file, find_target(config, state_dir), as_json=as_json)


async def _once(loaded: TailerConfig, stop: asyncio.Event) -> int:
    summary = await ship_once(loaded, stop)
    if sys.stdout.isatty():
        rate = summary.lines / max(summary.seconds, 0.001)
        Console().print(
            f"[green]{summary.lines:,} lines[/] of {summary.files} files acknowledged in {summary.seconds:.1f} s "
            f"({rate:,.0f} lines/s); checkpoints are in {loaded.state_dir}"
        )
    else:
        sys.stdout.write(json.dumps(as_dict(summary)) + "\n")
    return ExitCode.CLEAN


def _overrides(
    pattern: str | None,
    dataset: str | None,
    namespace: str | None,
    nats: str | None,
    parser: str | None,
    from_: str | None,
    state_dir: Path | None,
) -> dict[str, Any]:
    overrides: dict[str, Any] = {
        "namespace": namespace,
        "nats": {"servers": nats.split(",") if nats else None},
        "state_dir": str(state_dir.absolute()) if state_dir else None,
    }
    if pattern is None:
        if dataset or parser or from_:
            raise ConfigError("--dataset, --parser and --from belong to a GLOB; name the files, or use --config alone")
        return overrides
    if dataset is None:
        raise ConfigError(
            "--dataset is missing: say what kind of records these are, for example --dataset nginx_access"
        )
    path = pattern if pattern == "-" else str(Path(pattern).absolute())
    where: dict[str, Any] = {"type": "stdin"} if pattern == "-" else {"paths": [path]}
    entry = {**where, "dataset": dataset, "parser": parser, "start_at": from_}
    overrides["inputs"] = [{key: value for key, value in entry.items() if value is not None}]
    overrides["state_dir"] = overrides["state_dir"] or str(_state_of(path, dataset, namespace))
    return overrides


def _state_of(path: str, dataset: str, namespace: str | None) -> Path:
    """Return a folder for this command's checkpoints, so that the same command goes on where it stopped.

    Beside the local stack if there is one: removing the stack then forgets what was shipped into it.
    """
    root = stack_dir() if stack_file().exists() else state_root()
    name = hashlib.blake2b(f"{path} {dataset} {namespace}".encode(), digest_size=6).hexdigest()
    return root / "tailer" / name


def main() -> None:
    """Run the command."""
    try:
        app()
    except DataPlaneError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
