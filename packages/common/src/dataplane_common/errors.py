"""The three meanings that an error can have, and the exit codes of every command.

Third-party exceptions are translated into these once, at the edge that imports the library.
A message names the wrong value, what was expected, and what to do.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command of the data plane ends."""

    CLEAN = 0
    FATAL = 1
    CONFIGURATION = 2
    GRACE_EXCEEDED = 3


class DataPlaneError(Exception):
    """Any error that this project raises on purpose; its text is one line for a person."""

    exit_code = ExitCode.FATAL


class Transient(DataPlaneError):
    """Can succeed later, unchanged: retry with backoff."""


class Permanent(DataPlaneError):
    """This item can never succeed: dead-letter it or count it, and go on."""


class TooLarge(Permanent):
    """The message is above what the server takes: cut it smaller and send again.

    `may_be_stored` says that it was sent before, so long ago that the server cannot tell any more what became of it.
    """

    may_be_stored = False


class Overrun(Permanent):
    """The work on one item takes longer than any item may take: leave it as it is."""


class Fatal(DataPlaneError):
    """The process cannot do its work: stop, say why, exit with `exit_code`."""


class ConfigError(Fatal):
    """The configuration is wrong: names the place, the value, and the remedy."""

    exit_code = ExitCode.CONFIGURATION
