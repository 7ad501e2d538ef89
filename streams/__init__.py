"""A typed, exactly-once event-streaming toolkit for Apache Kafka.

Declare topics, tables, stores and processors on an `App`; `streams worker` runs them.
"""

from streams.app import App
from streams.context import Context
from streams.errors import StreamsError, UsageError
from streams.policy import FailurePolicy
from streams.publisher import Publisher
from streams.record import Record, TopicPartition
from streams.topic import Store, Table, Topic

DEAD_LETTER = FailurePolicy.DEAD_LETTER
SKIP = FailurePolicy.SKIP
STOP = FailurePolicy.STOP

__all__ = [
    # declaring
    "App",
    "Store",
    "Table",
    "Topic",
    # handling
    "Context",
    "Publisher",
    "Record",
    "TopicPartition",
    # failing
    "DEAD_LETTER",
    "SKIP",
    "STOP",
    "FailurePolicy",
    "StreamsError",
    "UsageError",
]
