"""Testing apps: in memory with faults, on a real Kafka, in containers; and suites for what others plug in.

Importing this imports neither pytest nor a container client.
"""

from streams.failpoints import Failpoint
from streams.testing.driver import MemoryDriver
from streams.testing.faults import (
    Abort,
    Crash,
    DuplicateDelivery,
    Eviction,
    Fault,
    FencedProducer,
    PoisonRecord,
    Rebalance,
    RegistryUnavailable,
    SlowCommit,
    UnknownOutcome,
)
from streams.testing.surface import DeadLetter, Driver

__all__ = [
    # drivers
    "DeadLetter",
    "Driver",
    "MemoryDriver",
    # what goes wrong, and where
    "Failpoint",
    "Fault",
    "Abort",
    "Crash",
    "DuplicateDelivery",
    "Eviction",
    "FencedProducer",
    "PoisonRecord",
    "Rebalance",
    "RegistryUnavailable",
    "SlowCommit",
    "UnknownOutcome",
]
