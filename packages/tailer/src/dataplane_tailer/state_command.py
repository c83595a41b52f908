"""`state show|export|import|reset`: the checkpoints, seen and moved by hand.

Flows in: options, an export on standard input. Flows out: tables, an export, a changed state. Invariant: a state is
changed only while its lock is held, so never under a running tailer.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from dataplane_common.errors import Fatal
from dataplane_tailer.screen import plural, screen
from dataplane_tailer.snapshot import Snapshot, StreamRecord, has_state, read_snapshot, streams_of
from dataplane_tailer.state import STREAM, SourceRecord, State
from dataplane_tailer.target import find_target
from dataplane_tailer.transfer import Import, export_lines, parse_import

app = typer.Typer(
    no_args_is_help=True,
    help="Show, move or forget what has been shipped of which file.",
    rich_markup_mode="rich",
)

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="The tailer's TOML file.")]
StateOption = Annotated[Path | None, typer.Option("--state-dir", help="The folder where it keeps its checkpoints.")]
FilesArgument = Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", help="Only these files.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(epilog="Example: [bold]dataplane-tailer state show /var/log/nginx/access.log[/]")
def show(
    files: FilesArgument = None,
    config: ConfigOption = None,
    state_dir: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the sources that the state knows, with their checkpoints; a running tailer does not notice."""
    snapshot = _selected(find_target(config, state_dir).state_dir, files)
    if as_json:
        sys.stdout.write(json.dumps(_as_dict(snapshot)) + "\n")
    else:
        _print_table(snapshot)


@app.command(epilog="Example: [bold]dataplane-tailer state export > state.jsonl[/]")
def export(files: FilesArgument = None, config: ConfigOption = None, state_dir: StateOption = None) -> None:
    """Write the state to standard output, one source a line; a running tailer does not notice."""
    for line in export_lines(_selected(find_target(config, state_dir).state_dir, files)):
        sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


@app.command("import", epilog="Example: [bold]dataplane-tailer state import --state-dir D < state.jsonl[/]")
def import_(config: ConfigOption = None, state_dir: StateOption = None) -> None:
    """Take the sources of an export from standard input, beside those that are known; all of them or none.

    On another host files go on at their checkpoints under new sources.
    """
    wanted = parse_import(sys.stdin.buffer)
    target = find_target(config, state_dir).state_dir
    with _held(target, create=True) as state:
        _take(state, wanted)
    sys.stdout.write(f"{plural(len(wanted.entries), 'source')} imported into {target}\n")


@app.command(
    epilog="Examples: [bold]dataplane-tailer state reset /var/log/nginx/access.log[/] · "
    "[bold]dataplane-tailer state reset --all --yes[/]"
)
def reset(
    files: FilesArgument = None,
    config: ConfigOption = None,
    state_dir: StateOption = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="Forget all sources.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Forget files: the next start reads them from the beginning, and ships them again under new ids."""
    if bool(files) is all_:
        raise Fatal("name the files to forget, or --all")
    target = find_target(config, state_dir).state_dir
    with _held(target, create=False) as state:
        known = read_snapshot(target)
        records = known.records if all_ else select(known.records, files or [])
        streams = [key for key in known.texts if key.startswith(STREAM)] if all_ else []
        if not yes:
            _ask(records, target)
        for record in records:
            state.forget(record.source)
        for key in streams:
            state.put(key, "")
    sys.stdout.write(f"{plural(len(records) + len(streams), 'source')} forgotten in {target}\n")


def select(records: list[SourceRecord], files: Iterable[str]) -> list[SourceRecord]:
    """Return the sources of these files, by the path where they are or the one that they were found under.

    Raises:
        Fatal: one of the files is not known.
    """
    chosen: dict[str, SourceRecord] = {}
    for name in files:
        path = str(Path(name).absolute())
        of_file = {record.source: record for record in records if path in (record.path, record.log_path)}
        if not of_file:
            raise Fatal(f"{path}: the state knows no such file; see `dataplane-tailer state show`")
        chosen.update(of_file)
    return [*chosen.values()]


@contextmanager
def _held(directory: Path, *, create: bool) -> Iterator[State]:
    """Hold the state folder for the body's time.

    Raises:
        Fatal: a tailer runs on it (the text has its pid), or there is no state and none shall be made.
    """
    if not create and not has_state(directory):
        raise Fatal(f"{directory}: no state there; name the folder that the tailer runs with")
    state = State(directory)
    try:
        yield state
    finally:
        state.close()


def _take(state: State, wanted: Import) -> None:
    """Write an import: boundaries first, because they are looked at only where a source is."""
    made_on, here = wanted.header.machine, state.get("machine")
    if made_on and here and made_on != here and state.sources():
        raise Fatal(
            f"the export was made on another machine ({made_on}) and {state.directory} has sources of its own; "
            "import into an empty --state-dir"
        )
    _check_progress(state, wanted)
    for entry in wanted.entries:
        for boundary in entry.boundaries:
            state.add_boundary(entry.source.source, boundary)
    state.save([entry.source for entry in wanted.entries])
    for key, text in wanted.header.texts.items():
        state.put(key, text)
    if made_on:
        state.put("machine", made_on)


def _check_progress(state: State, wanted: Import) -> None:
    """Refuse to take a source back: what was sent since would be sent again with other boundaries."""
    texts = {key: text for key in wanted.header.texts if (text := state.get(key))}
    known = _progress(state.sources(), streams_of(texts))
    coming = _progress((entry.source for entry in wanted.entries), streams_of(wanted.header.texts))
    for source, (name, place) in coming.items():
        _, here = known.get(source, (name, 0))
        if here > place:
            raise Fatal(
                f"source {source} ({name}) is at {here} here and at {place} in the export: it would go back; "
                "nothing was imported (`state reset` forgets a file)"
            )


def _progress(records: Iterable[SourceRecord], streams: Iterable[StreamRecord]) -> dict[str, tuple[str, int]]:
    """Return (name, place) of each source: the byte of files, the sequence of streams."""
    places = {record.source: (record.path, record.offset) for record in records}
    return places | {stream.source: (stream.name, stream.sequence) for stream in streams}


def _ask(records: list[SourceRecord], target: Path) -> None:
    if not sys.stdin.isatty():
        raise Fatal(f"{plural(len(records), 'source')} in {target} would be forgotten; say --yes to do it unasked")
    paths = ", ".join(sorted({record.path for record in records})[:5])
    typer.confirm(
        f"Forget {plural(len(records), 'source')} in {target} ({paths})? All of it is shipped again.", abort=True
    )


def _selected(directory: Path, files: list[str] | None) -> Snapshot:
    snapshot = read_snapshot(directory)
    if not files:
        return snapshot
    texts = {key: text for key, text in snapshot.texts.items() if not key.startswith(STREAM)}
    return Snapshot(directory, select(snapshot.records, files), snapshot.boundaries, texts, snapshot.holder)


def _as_dict(snapshot: Snapshot) -> dict[str, Any]:
    sources = [
        {**msgspec.to_builtins(record), "boundaries": msgspec.to_builtins(snapshot.boundaries.get(record.source, []))}
        for record in snapshot.records
    ]
    return {
        "state_dir": str(snapshot.directory),
        "running_pid": snapshot.holder,
        "sources": sources,
        "streams": msgspec.to_builtins(snapshot.streams),
    }


def _print_table(snapshot: Snapshot) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("file", "source", "dataset"):
        table.add_column(name, overflow="fold")
    for name in ("offset", "sequence", "size seen", "abandoned"):
        table.add_column(name, justify="right")
    table.add_column("last acknowledged")
    table.add_column("")
    for record in snapshot.records:
        table.add_row(*map(escape, _cells(record)))
    for stream in snapshot.streams:
        table.add_row(escape(stream.name), stream.source, stream.dataset, "-", f"{stream.sequence:,}", "-", "-", "", "")
    console = screen()
    console.print(table)
    holder = f"a tailer runs on it (pid {snapshot.holder})" if snapshot.holder else "no tailer runs on it"
    count = len(snapshot.records) + len(snapshot.streams)
    console.print(f"{plural(count, 'source')} in {snapshot.directory}; {holder}", markup=False)


def _cells(record: SourceRecord) -> tuple[str, ...]:
    return (
        record.path,
        record.source,
        record.dataset,
        f"{record.offset:,}",
        f"{record.sequence:,}",
        f"{record.size_seen:,}",
        f"{sum(record.abandoned_bytes.values()):,}",
        record.last_at[:19],
        "final" if record.is_final else "",
    )
