"""Ships the log files of services that nobody can edit: discover, read, frame, publish, checkpoint."""

from importlib.metadata import version

__version__ = version("dataplane-tailer")
__all__ = ["__version__"]
