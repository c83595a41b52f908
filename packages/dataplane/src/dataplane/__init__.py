"""The operator's command: a local stack of real servers, and questions to any data plane.

Flows in: a command line. Flows out: running servers, tables, found and live events.
Nothing here is on an event's way; what it reads of Elasticsearch and NATS it reads as anyone may.
"""
