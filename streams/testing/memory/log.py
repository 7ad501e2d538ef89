"""The broker's side: partitions with their records and markers, transactions, committed offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from random import Random
from typing import NamedTuple, Protocol

from streams.errors import UsageError
from streams.kafka.admin import partition_of
from streams.record import UNSET, RawRecord, Record, TopicPartition
from streams.state.restore import Bounds
from streams.topology import DEFAULT_MAX_MESSAGE_BYTES, TopicSpec

RECORD_OVERHEAD = 70  # bytes of a batch and a record beside key and value, about


class Outcome(Enum):
    """What the coordinator decided."""

    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(eq=False)
class Transaction:
    """What the coordinator knows of one transaction; `begun` is in seconds, `offsets` are of one group."""

    begun: float = 0.0
    outcome: Outcome = Outcome.OPEN
    touched: dict[TopicPartition, None] = field(default_factory=dict)  # without their marker yet
    group: str = ""
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    marked_after: int = 0  # turns of the log until the markers of a decided transaction are written


class Entry(NamedTuple):
    """One offset of a partition: a record, or None for a marker; `writer` is the producer's id."""

    record: RawRecord | None
    transaction: Transaction | None
    writer: str


class Writer(Protocol):
    """A producer as the broker sees it; without transactions it never has one."""

    transaction: Transaction | None

    def fence(self) -> None:
        """Roll back what is open; nothing works any more."""

    def expire(self) -> None:
        """Be fenced if the open transaction is too old."""


class Held:
    """The entries of one partition, and the transactions that hold up its readers."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.undecided: dict[Transaction, int] = {}  # with the first offset of each

    def stable_end(self) -> int:
        """Return the last stable offset: readers of committed records get no further."""
        return min(self.undecided.values()) if self.undecided else len(self.entries)


class Log:
    """Every partition of a cluster, the committed offsets of its groups, and the open transactions."""

    def __init__(
        self,
        specs: Iterable[TopicSpec],
        *,
        seconds: Callable[[], float] = lambda: 0.0,
        random: Random | None = None,
        late_markers: int = 0,
    ) -> None:
        """Markers of a transaction come up to `late_markers` turns after its decision; `random` says when."""
        self.topics: dict[str, TopicSpec] = {spec.name: spec for spec in specs}
        self.offsets: dict[str, dict[TopicPartition, int]] = {}
        self.producers: dict[str, Writer] = {}
        self.changes = 0  # counts what a reader could notice
        self.seconds = seconds
        self._random = random or Random(0)  # noqa: S311 - has to be repeatable, not secret
        self._late_markers = late_markers
        self._unmarked: list[Transaction] = []
        self._partitions: dict[TopicPartition, Held] = {
            TopicPartition(spec.name, number): Held()
            for spec in self.topics.values()
            for number in range(spec.partitions)
        }

    def create(self, spec: TopicSpec) -> None:
        """Make a topic, unless there is one of its name."""
        if self.topics.setdefault(spec.name, spec) is spec:
            self._partitions.update({TopicPartition(spec.name, number): Held() for number in range(spec.partitions)})

    def partitions(self, topic: str) -> list[TopicPartition]:
        """Return the partitions of a topic."""
        return [TopicPartition(topic, number) for number in range(self.spec(topic).partitions)]

    def spec(self, topic: str) -> TopicSpec:
        """Return what a topic was made as.

        Raises:
            UsageError: there is no such topic.
        """
        try:
            return self.topics[topic]
        except KeyError:
            raise UsageError(
                f"the test's cluster has no topic {topic}", fix=f"use one of {', '.join(sorted(self.topics))}"
            ) from None

    def takes(self, record: RawRecord) -> bool:
        """Tell whether a record is within its topic's max.message.bytes, as if it were a batch of its own."""
        limit = int(self.spec(record.topic).config.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES))
        headers = sum(len(name) + len(value or b"") for name, value in record.headers)
        return len(record.key or b"") + len(record.value or b"") + headers + RECORD_OVERHEAD <= limit

    def append(self, record: RawRecord, transaction: Transaction | None = None, writer: str = "") -> int:
        """Write one record and return its offset; the key decides where it goes unless it names a partition."""
        number = record.partition if record.partition != UNSET else self._place(record)
        source = TopicPartition(record.topic, number)
        partition = self._partitions[source]
        offset = len(partition.entries)
        placed = Record(record.topic, record.key, record.value, record.timestamp_ms, number, offset, record.headers)
        partition.entries.append(Entry(placed, transaction, writer))
        self.changes += 1
        if transaction is not None:
            transaction.touched[source] = None
            partition.undecided.setdefault(transaction, offset)
        return offset

    def decide(self, transaction: Transaction, outcome: Outcome) -> None:
        """End a transaction: from now on its offsets count; its markers may come later."""
        transaction.outcome = outcome
        self.changes += 1
        if outcome is Outcome.COMMITTED:
            self.offsets.setdefault(transaction.group, {}).update(transaction.offsets)
        transaction.marked_after = self._random.randint(0, self._late_markers)
        self._unmarked.append(transaction)
        self.turn(0)

    def turn(self, turns: int = 1) -> None:
        """Write the markers whose time has come."""
        for transaction in self._unmarked:
            transaction.marked_after -= turns
        due = [transaction for transaction in self._unmarked if transaction.marked_after <= 0]
        for transaction in due:
            self.complete(transaction)

    def complete(self, transaction: Transaction) -> None:
        """Write the markers of a decided transaction, as its producer's next one makes the coordinator do."""
        if transaction not in self._unmarked:
            return
        self._unmarked.remove(transaction)
        self.changes += 1
        for source in transaction.touched:
            partition = self._partitions[source]
            partition.entries.append(Entry(None, transaction, ""))
            del partition.undecided[transaction]

    def unmarked(self) -> int:
        """Count the decided transactions whose markers are not written."""
        return len(self._unmarked)

    def stable_offsets(self, group: str, asked: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Return a group's committed offsets once no open transaction holds others.

        As the transactions' owners stand still while this is asked, it takes until they are out of time.
        """
        partitions = list(asked)
        for producer in list(self.producers.values()):
            held = producer.transaction
            if held is not None and held.group == group and held.offsets.keys() & set(partitions):
                producer.fence()
        committed = self.offsets.get(group, {})
        return {partition: committed.get(partition) for partition in partitions}

    def held(self, partition: TopicPartition) -> Held:
        """Return what a partition holds, for a reader that looks often."""
        return self._partitions[partition]

    def high_watermark(self, partition: TopicPartition) -> int:
        """Return the offset that the next record gets."""
        return len(self._partitions[partition].entries)

    def stable_end(self, partition: TopicPartition) -> int:
        """Return the last stable offset: readers of committed records get no further."""
        return self._partitions[partition].stable_end()

    def read(self, partition: TopicPartition, start: int, most: int | None = None) -> list[RawRecord]:
        """Return committed records from an offset on."""
        return list(islice((entry.record for entry in self.entries(partition, start) if entry.record), most))

    def entries(self, partition: TopicPartition, start: int = 0) -> Iterable[Entry]:
        """Yield what a reader of committed records gets, with who wrote it."""
        held = self._partitions[partition]
        for entry in islice(held.entries, start, held.stable_end()):
            if entry.record is not None and (
                entry.transaction is None or entry.transaction.outcome is Outcome.COMMITTED
            ):
                yield entry

    def committed(self, topic: str) -> list[RawRecord]:
        """Return the committed records of a topic, partition by partition."""
        return [record for partition in self.partitions(topic) for record in self.read(partition, 0)]

    def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return what partitions hold, up to the high watermark."""
        return {partition: Bounds(0, self.high_watermark(partition)) for partition in partitions}

    def lag(self, group: str, topic: str) -> int:
        """Count the offsets of a topic that a group has not committed."""
        committed = self.offsets.get(group, {})
        return sum(self.high_watermark(tp) - committed.get(tp, 0) for tp in self.partitions(topic))

    def _place(self, record: RawRecord) -> int:
        count = self.spec(record.topic).partitions
        return self._random.randrange(count) if record.key is None else partition_of(record.key, count)
