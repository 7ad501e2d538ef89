"""A Kafka in memory: partitions, offsets, groups, transactions and a registry, with the clients that a worker needs.

It is as unkind as the real one: records that were not flushed are in no transaction, uncommitted records lie in the
log and hold up its readers, markers take offsets and may come late, a member that was thrown out cannot commit, and a
producer whose id was taken over is fenced.
"""

from streams.testing.memory.consumer import MemoryConsumer, MemoryReader
from streams.testing.memory.group import Group
from streams.testing.memory.log import Entry, Log, Outcome, Transaction
from streams.testing.memory.producer import MemoryProducer, OutcomeUnknown, PlainProducer
from streams.testing.memory.registry import MemoryRegistry

__all__ = [
    "Entry",
    "Group",
    "Log",
    "MemoryConsumer",
    "MemoryProducer",
    "MemoryReader",
    "MemoryRegistry",
    "Outcome",
    "OutcomeUnknown",
    "PlainProducer",
    "Transaction",
]
