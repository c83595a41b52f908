"""The version of this package, as its metadata has it."""

import importlib.metadata

VERSION = importlib.metadata.version("dataplane-emitter")
