"""An in-memory Kafka with the two clients that a worker needs: partitions, offsets, transactions, rebalances.

It is as unkind as the real one: records that were not flushed are not in a transaction, uncommitted records lie in the
log and hold up its readers, markers take offsets, a member that was thrown out cannot commit until it is back, and any
call can fail. Tests judge by what is committed in the log, never by what the worker believes.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from streams.errors import AbortedError, FencedError, SendError
from streams.record import UNSET, Polled, Positions, RawRecord, Record, TopicPartition
from streams.state.restore import Bounds

TRANSMITTED_AT_ONCE = 3  # records that a producer keeps before it sends them on its own
ABORTABLE = frozenset({"send", "send_tracked", "flush", "commit"})  # calls that may say: abort


class Crash(BaseException):
    """The process ends here, whatever it was doing."""


class Outcome(Enum):
    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass
class Transaction:
    """What the coordinator knows of one transaction."""

    outcome: Outcome = Outcome.OPEN
    touched: set[TopicPartition] = field(default_factory=set)


class Entry(NamedTuple):
    """One offset of a partition: a record, or None for a marker."""

    record: RawRecord | None
    transaction: Transaction | None


class Chaos:
    """Lets the n-th call from now fail."""

    def __init__(self) -> None:
        self._armed: list[tuple[int, BaseException]] = []
        self.calls: list[str] = []

    def arm(self, calls: int, failure: BaseException) -> None:
        """Fail once `calls` more calls were made."""
        self._armed.append((len(self.calls) + calls, failure))

    def disarm(self) -> None:
        """Let everything work from now on."""
        self._armed.clear()

    def call(self, name: str) -> None:
        """Note a call, and fail it if it is its turn."""
        self.calls.append(name)
        for armed in self._armed:
            if len(self.calls) > armed[0] and (name in ABORTABLE or not isinstance(armed[1], AbortedError)):
                self._armed.remove(armed)
                raise armed[1]


class Log:
    """Every partition of a cluster, the committed offsets of one group, and the open transactions."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        self.topics = dict(topics)
        self.entries: dict[TopicPartition, list[Entry]] = {
            TopicPartition(topic, number): [] for topic, count in topics.items() for number in range(count)
        }
        self.offsets: dict[TopicPartition, int] = {}
        self.producers: dict[str, FakeProducer] = {}

    def append(self, record: RawRecord, transaction: Transaction | None = None) -> int:
        """Write one record and return its offset."""
        number = record.partition
        if number == UNSET:
            number = zlib.crc32(record.key or b"") % self.topics[record.topic]
        partition = TopicPartition(record.topic, number)
        offset = len(self.entries[partition])
        self.entries[partition].append(Entry(record._replace(partition=number, offset=offset), transaction))
        if transaction is not None:
            transaction.touched.add(partition)
        return offset

    def end(self, transaction: Transaction, outcome: Outcome) -> None:
        """Decide a transaction and write its markers."""
        transaction.outcome = outcome
        for partition in sorted(transaction.touched):
            self.entries[partition].append(Entry(None, transaction))

    def high_watermark(self, partition: TopicPartition) -> int:
        return len(self.entries[partition])

    def stable_end(self, partition: TopicPartition) -> int:
        """Return the last stable offset: readers of committed records get no further."""
        for offset, entry in enumerate(self.entries[partition]):
            if entry.transaction is not None and entry.transaction.outcome is Outcome.OPEN:
                return offset
        return len(self.entries[partition])

    def committed(self, topic: str) -> list[RawRecord]:
        """Return the records of a topic that a reader of committed records gets, partition by partition."""
        return [record for tp in self.entries if tp.topic == topic for record in self.read(tp, 0)]

    def read(self, partition: TopicPartition, start: int) -> list[RawRecord]:
        return [
            entry.record
            for entry in self.entries[partition][start : self.stable_end(partition)]
            if entry.record is not None
            and (entry.transaction is None or entry.transaction.outcome is Outcome.COMMITTED)
        ]

    def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Bounds]:
        return {tp: Bounds(0, self.high_watermark(tp)) for tp in partitions}


class Cursor:
    """Where one reader stands in one partition."""

    def __init__(self, log: Log, partition: TopicPartition, position: int | None) -> None:
        self._log = log
        self.partition = partition
        self.paused = False
        self.seek(position)

    def seek(self, position: int | None) -> None:
        self.position = position or 0
        self._end_told: int | None = None

    def take(self, most: int) -> tuple[list[RawRecord], int | None]:
        """Return the next records, and the end offset if this reader just reached it."""
        if self.paused:
            return [], None
        records = self._log.read(self.partition, self.position)[:most]
        if records:
            self.position = records[-1].offset + 1
        end = self._log.stable_end(self.partition)
        if self._log.read(self.partition, self.position) or end == self._end_told or len(records) == most:
            return records, None
        self.position, self._end_told = max(self.position, end), end
        return records, end


class FakeReader:
    """The assign-only reader of changelogs and tables."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.cursors: dict[TopicPartition, Cursor] = {}

    def follow(self, positions: Positions) -> None:
        self.cursors.update({tp: Cursor(self._log, tp, at) for tp, at in positions.items()})

    def unfollow(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in list(partitions):
            self.cursors.pop(partition, None)

    def poll(self, most: int, timeout: float) -> Polled:
        del timeout
        return _polled(self.cursors.values(), min(most, 1))  # one at a time, so that a restore takes several polls


class Group:
    """The coordinator of the group: who owns which partition, and what each member is still to be told."""

    def __init__(self, log: Log, topic: str) -> None:
        self.log = log
        self.owner: dict[TopicPartition, FakeConsumer | None] = {tp: None for tp in log.entries if tp.topic == topic}
        self._wanted: dict[TopicPartition, FakeConsumer] = {}

    def assign(self, partitions: Iterable[TopicPartition], to: FakeConsumer) -> None:
        """Move partitions cooperatively: their owners give them up first."""
        for partition in partitions:
            owner = self.owner[partition]
            if owner is to or partition in self._wanted:
                continue
            if owner is None:
                self._grant(partition, to)
            else:
                self._wanted[partition] = to
                owner.tell("revoked", [partition])

    def throw_out(self, member: FakeConsumer, successor: FakeConsumer | None) -> None:
        """Take everything from a member that does not know of it yet, as when its session ended."""
        gone = [tp for tp, owner in self.owner.items() if owner is member and tp not in member.untold()]
        if not gone:
            return
        member.in_group = False
        member.forget_events()
        lost = [tp for tp, owner in self.owner.items() if owner is member and tp in member.cursors]
        member.tell("lost", lost)
        self.leave(member, successor)

    def leave(self, member: FakeConsumer, successor: FakeConsumer | None = None) -> None:
        """Free what a member owned, for `successor` if there is one."""
        for partition, owner in self.owner.items():
            if owner is member:
                self._free(partition, successor)
        for partition in [tp for tp, wanted in self._wanted.items() if wanted is member]:
            del self._wanted[partition]

    def released(self, partition: TopicPartition, member: FakeConsumer) -> None:
        if self.owner[partition] is member:
            self._free(partition, None)

    def _free(self, partition: TopicPartition, successor: FakeConsumer | None) -> None:
        self.owner[partition] = None
        heir = self._wanted.pop(partition, successor)
        if heir is not None:
            self._grant(partition, heir)

    def _grant(self, partition: TopicPartition, to: FakeConsumer) -> None:
        self.owner[partition] = to
        to.tell("assigned", [partition])


class FakeConsumer:
    """A member of the group; implements the worker's `Input`."""

    def __init__(self, group: Group, chaos: Chaos) -> None:
        self._group = group
        self._chaos = chaos
        self._events: deque[tuple[str, list[TopicPartition]]] = deque()
        self.listener: Any = None
        self.cursors: dict[TopicPartition, Cursor] = {}
        self.in_group = True
        self.raised: BaseException | None = None

    def tell(self, event: str, partitions: list[TopicPartition]) -> None:
        """Queue an event of the coordinator for the next poll."""
        self._events.append((event, partitions))

    def untold(self) -> set[TopicPartition]:
        return {tp for event, partitions in self._events if event == "assigned" for tp in partitions}

    def forget_events(self) -> None:
        self._events.clear()

    def poll(self, most: int, timeout: float) -> Polled:
        del timeout
        self._chaos.call("poll")
        while self._events:
            self._handle(*self._events.popleft())
        if self.raised is not None:
            raised, self.raised = self.raised, None
            raise raised
        return _polled(self.cursors.values(), most)

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> dict[TopicPartition, int | None]:
        del timeout
        self._chaos.call("committed")
        return {tp: self._group.log.offsets.get(tp) for tp in partitions}

    def assign(self, positions: Positions) -> None:
        self.cursors.update({tp: Cursor(self._group.log, tp, at) for tp, at in positions.items()})

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self.cursors[partition].paused = True

    def restart(self, positions: Positions) -> None:
        for partition, position in positions.items():
            self.cursors[partition].paused = False
            self.cursors[partition].seek(position)

    def group_metadata(self) -> FakeConsumer:
        return self

    def close(self) -> None:
        """Leave the group, giving up everything."""
        mine = list(self.cursors)
        if mine:
            self._handle("revoked", mine)
        self._group.leave(self)

    def _handle(self, event: str, partitions: list[TopicPartition]) -> None:
        if event == "lost":
            self.in_group = True  # it has joined again by the time it is told: only the worker itself can hold back
        try:
            getattr(self.listener, f"on_{event}")(partitions)
        except Exception as error:  # noqa: BLE001 - as the real consumer: poll raises it
            self.raised = self.raised or error
        if event == "assigned":
            return
        for partition in partitions:
            self.cursors.pop(partition, None)
            if event == "revoked":
                self._group.released(partition, self)


class FakeProducer:
    """Implements the worker's `Output`; an earlier producer of the same id is fenced."""

    def __init__(self, log: Log, name: str, chaos: Chaos, refuses: Callable[[RawRecord], bool] | None = None) -> None:
        self._log = log
        self._chaos = chaos
        self._refuses = refuses or (lambda _record: False)
        self._queue: list[tuple[RawRecord, Callable[[int], None] | None]] = []
        self.transaction: Transaction | None = None
        self.expires: tuple[Callable[[], float], float] = (lambda: 0.0, 1.0)  # a clock, and how long transactions live
        self._begun = 0.0
        self._refused = False
        self._fenced = False
        earlier = log.producers.get(name)
        if earlier is not None:
            earlier.fence()
        log.producers[name] = self

    def fence(self) -> None:
        """Roll back what is open; nothing works any more."""
        self._fenced = True
        self._roll_back()

    def send(self, records: list[RawRecord]) -> None:
        self._begin("send")
        for record in records:
            self._queue.append((record, None))
        if len(self._queue) > TRANSMITTED_AT_ONCE:
            self._transmit()

    def send_tracked(self, record: RawRecord, delivered: Callable[[int], None]) -> None:
        self._begin("send_tracked")
        self._queue.append((record, delivered))

    def flush(self) -> None:
        self._call("flush")
        self._transmit()

    def commit(self, offsets: Mapping[TopicPartition, int], group: FakeConsumer) -> None:
        self._begin("commit")
        if self._refused:
            raise AbortedError("too large", SendError("too large"))
        if not group.in_group:
            raise AbortedError("unknown member")
        assert self.transaction is not None
        self._log.end(self.transaction, Outcome.COMMITTED)
        self._log.offsets.update(offsets)
        self.transaction = None
        self._chaos.call("committed")

    def abort(self) -> None:
        self._call("abort")
        self._roll_back()

    def _roll_back(self) -> None:
        self._queue.clear()
        self._refused = False
        if self.transaction is not None:
            self._log.end(self.transaction, Outcome.ABORTED)
            self.transaction = None

    def _begin(self, name: str) -> None:
        self._call(name)
        if self.transaction is None:
            self.transaction = Transaction()
            self._begun = self.expires[0]()

    def _call(self, name: str) -> None:
        if self.transaction is not None and self.expires[0]() - self._begun > self.expires[1]:
            self.fence()
        if self._fenced:
            raise FencedError("fenced")
        self._chaos.call(name)

    def _transmit(self) -> None:
        queue, self._queue = self._queue, []
        for record, delivered in queue:
            if self.transaction is None:
                continue  # the broker takes no record of a transaction that is over, and flush says nothing of it
            if self._refuses(record):
                self._refused = True
                continue
            offset = self._log.append(record, self.transaction)
            if delivered is not None:
                delivered(offset)


def produce(
    log: Log, records: Iterable[tuple[str, bytes | None, bytes | None]], outcome: Outcome | None = None
) -> None:
    """Write records from outside, in a transaction that ends with `outcome` if one is given."""
    transaction = None if outcome is None else Transaction()
    for topic, key, value in records:
        log.append(Record(topic, key, value, 1_700_000_000_000), transaction)
    if transaction is not None and outcome is not None:
        log.end(transaction, outcome)


def _polled(cursors: Iterable[Cursor], most: int) -> Polled:
    records: list[RawRecord] = []
    ends: dict[TopicPartition, int] = {}
    for cursor in cursors:
        taken, end = cursor.take(most - len(records)) if len(records) < most else ([], None)
        records += taken
        if end is not None:
            ends[cursor.partition] = end
    return Polled(records, ends)
