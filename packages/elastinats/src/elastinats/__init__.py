"""The sink: NATS JetStream into Elasticsearch, each event exactly once, or a dead letter with its reason.

Run it as the command `elastinats`; `pipeline` shows its flow on one screen.
"""
