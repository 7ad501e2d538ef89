"""A real Kafka and a real schema registry as local processes: no container engine, no Java to install."""

from streams.embedded.addresses import Addresses, discover
from streams.embedded.cluster import Cluster, ServerStatus, Status

__all__ = ["Addresses", "Cluster", "ServerStatus", "Status", "discover"]
