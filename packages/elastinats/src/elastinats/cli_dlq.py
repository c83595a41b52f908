"""The commands `elastinats dlq …`: list, show, replay and drop dead letters.

Flows in: the command line. Flows out: tables, JSON, and changes of the stream DLQ.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.progress import Progress

from dataplane_common.bus import Connection, Publisher
from dataplane_common.errors import ConfigError
from elastinats import dlq, session, show
from elastinats.config import load_config
from elastinats.dlq import Entry

app = typer.Typer(no_args_is_help=True, help="Dead letters: what could not be indexed, and why.")

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file.")]
NatsOption = Annotated[str | None, typer.Option("--nats", help="The bus: nats://host:4222.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SubjectOption = Annotated[str, typer.Option("--subject", help="A pattern of original subjects: logs.prod.>")]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", help="rejected, id_conflict, too_large or undecodable.", show_default=False)
]
SequenceArgument = Annotated[int, typer.Argument(help="The number that `list` shows.")]
SequencesArgument = Annotated[list[int] | None, typer.Argument(help="Numbers that `list` shows; or use --all.")]
AllOption = Annotated[bool, typer.Option("--all", help="All that --subject and --reason let through.")]
LimitOption = Annotated[int, typer.Option("--limit", help="At most so many.")]
_COLUMNS = ("sequence", "dead_at", "subject", "reason", "event_id", "cause")
_ValueT = TypeVar("_ValueT")
_Act = Callable[[Connection, Publisher, Entry], Coroutine[Any, Any, None]]


@app.command("list", epilog="Example: [bold]elastinats dlq list --reason rejected --subject 'logs.prod.>'[/]")
def list_letters(
    config: ConfigOption = None,
    nats: NatsOption = None,
    subject: SubjectOption = ">",
    reason: ReasonOption = None,
    limit: LimitOption = 100,
    *,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, oldest first."""
    found = _with_bus(config, nats, lambda connection, _: _collect(connection, subject, reason, limit))
    rows = [entry.as_row() for entry in found]
    if as_json:
        show.print_json(rows)
    elif rows:
        show.print_rows(_COLUMNS, rows)
    else:
        show.print_lines(["no dead letters"])


@app.command("show", epilog="Example: [bold]elastinats dlq show 17[/]")
def show_letter(
    sequence: SequenceArgument, config: ConfigOption = None, nats: NatsOption = None, *, as_json: JsonOption = False
) -> None:
    """Show one dead letter: its reason, its headers and its bytes."""
    entry = _with_bus(config, nats, lambda connection, _: dlq.find(connection, sequence))
    if as_json:
        show.print_json(dlq.as_json(entry))
        return
    show.print_lines(f"{name}: {value}" for name, value in entry.as_row().items())
    show.print_lines(f"  {name}: {value}" for name, value in sorted(entry.headers.items()))
    show.print_lines([dlq.shown_payload(entry)])


@app.command(
    epilog="Examples: [bold]elastinats dlq replay 17 18[/] · [bold]elastinats dlq replay --all --reason rejected[/]"
)
def replay(
    sequences: SequencesArgument = None,
    config: ConfigOption = None,
    nats: NatsOption = None,
    subject: SubjectOption = ">",
    reason: ReasonOption = None,
    *,
    every: AllOption = False,
) -> None:
    """Publish dead letters again on their subjects, after what they died of is mended; ids stay the same."""
    done = _each(config, nats, sequences, subject, reason, dlq.replay, every=every)
    show.print_lines([f"replayed: {done}"])


@app.command(epilog="Example: [bold]elastinats dlq drop --all --subject 'logs.test.>'[/]")
def drop(
    sequences: SequencesArgument = None,
    config: ConfigOption = None,
    nats: NatsOption = None,
    subject: SubjectOption = ">",
    reason: ReasonOption = None,
    *,
    every: AllOption = False,
) -> None:
    """Remove dead letters for good."""
    done = _each(config, nats, sequences, subject, reason, _drop, every=every)
    show.print_lines([f"dropped: {done}"])


async def _drop(connection: Connection, _publisher: Publisher, entry: Entry) -> None:
    await dlq.drop(connection, entry)


def _each(
    config: Path | None,
    nats: str | None,
    sequences: list[int] | None,
    subject: str,
    reason: str | None,
    act: _Act,
    *,
    every: bool,
) -> int:
    if bool(sequences) == every:
        raise ConfigError("say which: numbers that `elastinats dlq list` shows, or --all")
    return _with_bus(
        config, nats, lambda connection, publisher: _act(connection, publisher, sequences, subject, reason, act)
    )


async def _act(
    connection: Connection,
    publisher: Publisher,
    sequences: list[int] | None,
    subject: str,
    reason: str | None,
    act: _Act,
) -> int:
    """Do something with each chosen letter, a bar showing how far it is on a terminal."""
    chosen = await _chosen(connection, sequences, subject, reason)
    with Progress(disable=not sys.stdout.isatty(), transient=True) as progress:
        bar = progress.add_task("dead letters", total=len(chosen))
        for sequence in chosen:
            await act(connection, publisher, await dlq.find(connection, sequence))
            progress.advance(bar)
    return len(chosen)


async def _chosen(connection: Connection, sequences: list[int] | None, subject: str, reason: str | None) -> list[int]:
    if sequences:
        return sequences
    return [entry.sequences[0] async for entry in dlq.entries(connection, subject=subject, reason=reason)]


async def _collect(connection: Connection, subject: str, reason: str | None, limit: int) -> list[Entry]:
    found: list[Entry] = []
    async for entry in dlq.entries(connection, subject=subject, reason=reason):
        if len(found) == limit:
            break
        found.append(entry)
    return found


def _with_bus(
    config: Path | None,
    nats: str | None,
    work: Callable[[Connection, Publisher], Coroutine[Any, Any, _ValueT]],
) -> _ValueT:
    loaded = load_config(config, {"nats": {"servers": [nats] if nats else None}})

    async def connected() -> _ValueT:
        async with session.bus(loaded) as connection:
            publisher = Publisher(connection)
            await publisher.start()
            try:
                return await work(connection, publisher)
            finally:
                await publisher.close()

    return asyncio.run(connected())
