"""The one noun: `Record`. It keeps its shape from poll to produce; only key and value change type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final, Generic, NamedTuple, TypeVar

K = TypeVar("K")
V = TypeVar("V")

Headers = tuple[tuple[str, bytes | None], ...]

UNSET = -1  # partition and offset of a record that has not been produced yet


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Record(NamedTuple, Generic[K, V]):
    """A record on its way through the toolkit.

    Consumed records carry `partition` and `offset`; produced ones leave `offset` unset and set `partition`
    only where the key must not decide (changelogs). `timestamp_ms` is the record's time in milliseconds since
    the epoch. A `value` of None is a tombstone and never reaches a codec.
    """

    topic: str
    key: K
    value: V
    timestamp_ms: int
    partition: int = UNSET
    offset: int = UNSET
    headers: Headers = ()

    @property
    def origin(self) -> TopicPartition:
        """The partition that this record was read from."""
        return TopicPartition(self.topic, self.partition)


RawRecord = Record[bytes | None, bytes | None]

_PLACE: Final = attrgetter("topic", "partition")
_make: Final[Callable[[tuple[object, ...]], RawRecord]] = partial(tuple.__new__, Record)


def as_records(rows: Iterable[tuple[object, ...]]) -> Iterator[RawRecord]:
    """Make a record of each tuple of all its fields, as `Record(…)` does, in half of its time."""
    return map(_make, rows)


def runs(records: Iterable[RawRecord]) -> Iterator[tuple[TopicPartition, list[RawRecord]]]:
    """Yield neighbours of the same partition together; a name of the partition for each record would cost more."""
    for (topic, partition), run in groupby(records, _PLACE):
        yield TopicPartition(topic, partition), list(run)


Positions = Mapping[TopicPartition, int | None]
"""Where to read partitions from; None means the beginning."""


class Polled(NamedTuple):
    """Records in the order of each partition, and the end offset of each partition whose end was reached."""

    records: list[RawRecord]
    ends: dict[TopicPartition, int]
