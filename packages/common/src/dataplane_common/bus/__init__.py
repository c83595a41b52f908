"""The bus: everything that speaks NATS, and the only code that imports its client.

`Connection` keeps one supervised connection; `Publisher` sends acknowledged messages through a window;
`PullConsumer` reads a JetStream consumer; `streams` holds the streams as data.
"""

from dataplane_common.bus.answer import PubAck
from dataplane_common.bus.connection import Connection
from dataplane_common.bus.consumer import ConsumerConfig, Delivery, PullConsumer
from dataplane_common.bus.delivery import ack_all
from dataplane_common.bus.direct import Message
from dataplane_common.bus.publisher import Publisher
from dataplane_common.bus.streams import ensure_streams, load_streams, stream_for

__all__ = [
    "Connection",
    "ConsumerConfig",
    "Delivery",
    "Message",
    "PubAck",
    "Publisher",
    "PullConsumer",
    "ack_all",
    "ensure_streams",
    "load_streams",
    "stream_for",
]
