"""Real servers as local processes: what `dataplane up` starts for a user and what the tests of every package use.

`LocalService` is a process that is started once, waited for and remembered; `NatsServer` and `ElasticsearchServer`
are two of them. Nothing here downloads anything, and nothing waits without a deadline.
"""

from dataplane_common.local.elasticsearch_server import ElasticsearchServer
from dataplane_common.local.nats_server import NatsServer
from dataplane_common.local.ports import Port, free_port
from dataplane_common.local.process import Launch, ManagedProcess
from dataplane_common.local.service import LocalService

__all__ = [
    "ElasticsearchServer",
    "Launch",
    "LocalService",
    "ManagedProcess",
    "NatsServer",
    "Port",
    "free_port",
]
