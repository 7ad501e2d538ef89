"""What a test sees of an app: the same calls on a cluster in memory and on a real one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from streams.failures.dead_letters import REASONS
from streams.keys import Key
from streams.record import Headers, RawRecord, Record
from streams.topic import Store, Table, Topic

K = TypeVar("K", bound=Key)
V = TypeVar("V")


class DeadLetter(NamedTuple):
    """A record that a processor refused, as it was read, and why: `topic`, `partition` and `offset` say from where."""

    processor: str
    record: RawRecord
    stage: str
    kind: str
    message: str
    topic: str
    partition: int
    offset: int


def dead_letter_of(record: RawRecord, processor: str) -> DeadLetter:
    """Read a record of a processor's dead-letter topic: the reason stands in its headers.

    Raises:
        KeyError: the record is no dead letter.
    """
    reason = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    topic, partition = reason["__connect.errors.topic"], int(reason["__connect.errors.partition"])
    offset = int(reason["__connect.errors.offset"])
    own = tuple(header for header in record.headers if not header[0].startswith(REASONS))
    return DeadLetter(
        processor,
        Record(topic, record.key, record.value, record.timestamp_ms, partition, offset, own),
        reason["__connect.errors.stage"],
        reason["streams.error.kind"],
        reason["__connect.errors.exception.message"],
        topic,
        partition,
        offset,
    )


class Driver(Protocol):
    """An app under test. Topics, tables and stores are the app's own objects, and records carry their names.

    Whatever reads (`published`, `records`, `dead_letters`, `store`) first waits as `settle` does.
    """

    def send(
        self,
        topic: Topic[V] | Table[Any, V],
        *values: V,
        timestamp: datetime | None = None,
        ids: Sequence[str] | None = None,
    ) -> None:
        """Append values, encoded by their contract; without `timestamp` their time is now.

        `ids` are their event ids; without them they get new ones where the topic is declared with `event_ids=True`.
        """

    def send_raw(
        self,
        topic: Topic[Any] | Table[Any, Any],
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
        partition: int | None = None,
    ) -> None:
        """Append one record as it is; without `partition` the key decides."""

    def delete(self, topic: Topic[Any] | Table[Any, Any], key: Key) -> None:
        """Append a tombstone."""

    def settle(self) -> None:
        """Return once every processor has committed all that its input holds."""

    def published(self, topic: Topic[V]) -> list[V]:
        """Return the committed values of a topic by partition, then offset; tombstones are left out."""

    def records(self, topic: Topic[V] | Table[Any, V]) -> list[Record[bytes | None, V | None]]:
        """Return the committed records of a topic, with decoded values, by partition, then offset."""

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The records that were refused, by processor, partition and offset of the dead letter."""

    def store(self, store: Store[K, V]) -> dict[K, V]:
        """Return what the committed changelog of a store says, over all partitions."""

    @property
    def lag(self) -> dict[str, int]:
        """How many records each processor is behind now."""

    def close(self) -> None:
        """Stop the app; what it made goes with it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
