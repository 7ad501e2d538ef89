"""What a handler may touch besides its record."""

from __future__ import annotations

from typing import TypeVar

from streams.idempotency.event_ids import made_of
from streams.keys import Key
from streams.record import RawRecord
from streams.state.task_state import TaskState
from streams.topic import Store, Table

K = TypeVar("K", bound=Key)
V = TypeVar("V")

PROCESSED = "processed"


class Context:
    """State of the record's own partition, and the record as it was read.

    Values are immutable; to change one, put a new one. A handler that raises leaves nothing of what it put.
    """

    __slots__ = ("_group", "_state", "now_ms", "outcome", "record")

    record: RawRecord
    """The record as it was read: bytes, headers, timestamp, partition, offset."""

    now_ms: int
    """The worker's clock, in milliseconds since the epoch; what depends on it comes out otherwise when it is redone."""

    outcome: str
    """What became of the record, as it is counted."""

    def __init__(self, state: TaskState, group: str) -> None:
        self._state = state
        self._group = group
        self.now_ms = 0
        self.outcome = PROCESSED

    @property
    def idempotency_key(self) -> str:
        """Name what this processor does for this record, for services outside that take such a key.

        It is made of the consumer group and of where the record was read first: the same whenever the record is handled
        again, by a retry, after a crash, a re-drive or a replay. A handler that does several things appends to it.
        """
        return made_of(self._group, self.record)

    def get(self, source: Store[K, V] | Table[K, V], key: K) -> V | None:
        """Return the newest value of a key in a store or table; None where there is none.

        Raises:
            UsageError: the processor does not use it; the worker stops.
            HandlerError: the key of a table lives in another partition; the record is refused.
        """
        return self._state.get(source, key)

    def put(self, store: Store[K, V], key: K, value: V | None) -> None:
        """Set the value of a key; None deletes it.

        Raises:
            UsageError: the processor does not use the store, or the value is of another model.
        """
        self._state.put(store, key, value)
