"""What every package of the data plane shares.

Flows in: subjects, events and configuration as users write them. Flows out: frames on NATS, and back.
Nothing here knows about files, applications or Elasticsearch.
"""

from dataplane_common.errors import ConfigError, DataPlaneError, Fatal, Permanent, Transient

__all__ = ["ConfigError", "DataPlaneError", "Fatal", "Permanent", "Transient"]
