"""The entry of `dataplane-emit`, which says in one line what is missing where only the library is installed.

Flows in: a shell's call. Flows out: an exit code. Invariant: the library itself never imports Typer or Rich.
"""

import sys

from dataplane_common.errors import ExitCode


def main() -> None:
    """Run `dataplane-emit`."""
    try:
        from dataplane_emitter import cli  # noqa: PLC0415 - only here the extra is needed
    except ImportError as error:
        sys.stderr.write(f"error: {error.name} is missing: install dataplane-emitter[command]\n")
        sys.exit(ExitCode.FATAL)
    cli.main()
