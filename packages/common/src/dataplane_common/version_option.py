"""The option `--version` that each command of the data plane has."""

from importlib.metadata import version
from typing import Any

import typer


def version_option(command: str, distribution: str) -> Any:
    """Return what makes `--version` of a boolean parameter: it prints the command's name and version, and ends."""

    def show(wanted: bool) -> None:  # noqa: FBT001 - an option
        if wanted:
            typer.echo(f"{command} {version(distribution)}")
            raise typer.Exit

    return typer.Option("--version", callback=show, is_eager=True, help="Show the version.")
