"""Kafka and a schema registry in containers, for tests. Needs the extra `testing` and a container engine."""

from streams.testing.containers.cluster import ApacheKafkaCluster
from streams.testing.containers.engine import engine_problem
from streams.testing.containers.images import Images, find_images
from streams.testing.containers.kafka import ApacheKafkaContainer
from streams.testing.containers.owner import remove_leftovers
from streams.testing.containers.registry import SchemaRegistryContainer

__all__ = [
    "ApacheKafkaCluster",
    "ApacheKafkaContainer",
    "SchemaRegistryContainer",
    "Images",
    "engine_problem",
    "find_images",
    "remove_leftovers",
]
