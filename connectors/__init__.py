"""Connectors to what is not Kafka: one module per outside system (none yet)."""
