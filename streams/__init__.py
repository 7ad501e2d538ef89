"""A typed, exactly-once event-streaming toolkit for Apache Kafka.

Declare topics, tables, stores and processors on an `App`; `streams worker` runs them.
"""

from streams.app import App
from streams.breaker import Dependency
from streams.columnar.context import BatchContext
from streams.context import Context
from streams.errors import CircuitOpenError, ReplyTimeoutError, StreamsError, UsageError
from streams.failures.policy import Failure, FailurePolicy, Retry
from streams.idempotency.inbox import Inbox
from streams.publisher import Publisher
from streams.record import Record, TopicPartition
from streams.requests.requester import Requester
from streams.topic import Store, Table, Topic

DEAD_LETTER = FailurePolicy.DEAD_LETTER
PARK = FailurePolicy.PARK
SKIP = FailurePolicy.SKIP
STOP = FailurePolicy.STOP

__all__ = [
    # declaring
    "App",
    "Dependency",
    "Inbox",
    "Store",
    "Table",
    "Topic",
    # handling
    "BatchContext",
    "Context",
    "Publisher",
    "Record",
    "Requester",
    "TopicPartition",
    # failing
    "CircuitOpenError",
    "DEAD_LETTER",
    "PARK",
    "SKIP",
    "STOP",
    "Failure",
    "FailurePolicy",
    "ReplyTimeoutError",
    "Retry",
    "StreamsError",
    "UsageError",
]
