"""The command `dataplane`: what a user types, and nothing else.

Flows in: arguments. Flows out: lines, exit codes (0 clean, 1 fatal, 2 configuration). Each command hands over to the
module that does the work; `main` turns our errors into one line.
"""

import os
import sys
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
import typer

from dataplane import settings, stack, status, tables
from dataplane.elastic import Elastic
from dataplane.screen import make_console
from dataplane.search import Search, find, wait_for_first
from dataplane.show import event_line
from dataplane_common.errors import DataPlaneError, ExitCode
from dataplane_common.taxonomy import Signal
from dataplane_common.version_option import version_option

app = typer.Typer(
    name="dataplane",
    help="Logs and metrics over NATS into Elasticsearch: a local stack, and questions to any.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)

_MAX_FOUND = 10_000
_Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table or coloured lines.")]
_Nats = Annotated[str | None, typer.Option("--nats", help="NATS URL; several with commas.", show_default=False)]
_Elastic = Annotated[
    str | None, typer.Option("--elasticsearch", help="Elasticsearch URL; several with commas.", show_default=False)
]


@app.command()
def up(
    kind: Annotated[
        Literal["auto", "native", "docker"], typer.Option("--stack", help="How NATS and Elasticsearch run.")
    ] = "auto",
) -> None:
    """Start the local stack: NATS, Elasticsearch, elastinats, dataplane-tailer; and prove that it works.

    The tailer ships the stack's own logs. What already runs is left alone, a port that is taken is replaced.

    Examples:
      dataplane up

      dataplane up --stack docker
    """
    stack.up(kind, make_console())


@app.command()
def down() -> None:
    """Stop the local stack and keep its data."""
    stack.down(make_console())


@app.command()
def clean(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,  # noqa: FBT002 - an option
    cache: Annotated[bool, typer.Option("--cache", help="Remove the downloaded Elasticsearch, too.")] = False,  # noqa: FBT002
) -> None:
    """Stop the local stack and remove everything that it made, its data included."""
    if not yes:
        typer.confirm("Remove the local stack with all its data?", abort=True)
    stack.clean(make_console(), with_cache=cache)


@app.command("status")
def show_status(as_json: _Json = False) -> None:  # noqa: FBT002 - an option
    """Tell what of the local stack runs, how well, what waits, and how much is indexed.

    Ends with 0 if every part is well, else with 1.
    """
    report = status.gather()
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        tables.show(make_console(), report)
    raise typer.Exit(ExitCode.CLEAN if report.is_well else ExitCode.FATAL)


@app.command()
def search(  # noqa: PLR0913 - one argument for each option
    query: Annotated[str, typer.Argument(help='Words, or query syntax: level:error AND "disk full".')] = "*",
    since: Annotated[str | None, typer.Option(help="Age (10m, 2h, 7d) or time.", show_default=False)] = None,
    dataset: Annotated[str | None, typer.Option(help="Only this dataset.", show_default=False)] = None,
    namespace: Annotated[str | None, typer.Option(help="Only this namespace.", show_default=False)] = None,
    signal: Annotated[Signal, typer.Option(help="What to search.")] = Signal.LOGS,
    limit: Annotated[int, typer.Option(min=1, max=_MAX_FOUND, help="How many, the newest.")] = 50,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a first find: what is new takes one.")] = 0.0,
    elasticsearch: _Elastic = None,
    as_json: _Json = False,  # noqa: FBT002 - an option
) -> None:
    """Search Elasticsearch: newest first, one line each.

    Examples:
      dataplane search 'timeout' --since 10m

      dataplane search 'log.level:error AND service.name:checkout' --dataset checkout --json

      dataplane search --signal metrics 'metric.name:orders' --limit 5

      dataplane search 'just shipped' --wait 10
    """
    elastic = Elastic(settings.load(_over("elasticsearch", "hosts", elasticsearch)).elasticsearch)
    wanted = Search(query=query, signal=signal, dataset=dataset, namespace=namespace, since=since, limit=limit)
    remark = cache(_remark)
    found = wait_for_first(lambda: find(elastic, wanted, remark), wait)
    console = make_console()
    for document in found:
        if as_json:
            typer.echo(msgspec.json.encode(document))
        else:
            console.print(event_line(document), soft_wrap=True)
    if not found:
        _remark(f"nothing found in {wanted.target} of {elastic.shown_hosts}; what is new takes a second (--wait 10)")


@app.command("tap")
def live(
    subject: Annotated[str, typer.Argument(help="Subject, wildcards allowed.")] = "logs.>",
    limit: Annotated[int, typer.Option(min=0, help="End after this many events; 0: never.")] = 0,
    nats: _Nats = None,
    as_json: _Json = False,  # noqa: FBT002 - an option
) -> None:
    """Show events live as they pass on NATS, until Ctrl-C; what was missed is counted.

    Examples:
      dataplane tap 'logs.prod.>'

      dataplane tap 'metrics.*.checkout.>' --json | jq .metric
    """
    from dataplane import tap  # noqa: PLC0415 - the client of NATS takes longer to import than most commands to run

    console = make_console()

    def show(document: dict[str, Any], _line: bytes) -> None:
        console.print(event_line(document), soft_wrap=True)

    reader = tap.Tap(tap.write_json if as_json else show, _remark, limit)
    code = tap.run(settings.load(_over("nats", "servers", nats)).nats, subject, reader)
    if code == ExitCode.CLEAN:
        _remark(reader.summary())
    raise typer.Exit(code)


@app.callback()
def _options(_: Annotated[bool, version_option("dataplane", "dataplane-cli")] = False) -> None:  # noqa: FBT002 - an option
    """Logs and metrics over NATS into Elasticsearch: a local stack, and questions to any."""


def _over(section: str, key: str, text: str | None) -> dict[str, Any]:
    """Return what the command line says as an upper layer of the configuration."""
    return {section: {key: [item.strip() for item in text.split(",")]}} if text else {}


def _remark(text: str) -> None:
    """Say something beside the results: on stderr, so that a pipe has results only."""
    make_console(stderr=True).print(text, style="dim", soft_wrap=True, markup=False)


def main() -> None:
    """Run the command; errors of ours are one line on stderr and an exit code."""
    try:
        app()
    except DataPlaneError as error:
        make_console(stderr=True).print(f"error: {error}", soft_wrap=True, markup=False)
        sys.exit(int(error.exit_code))
    except BrokenPipeError:
        # The reader of our pipe has seen enough (`| head`); nothing may be written any more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(int(ExitCode.CLEAN))
