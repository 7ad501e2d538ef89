"""Moving a group: the plan, what stands against it, and doing it, its state included.

State is emptied by tombstones for every key of its changelogs, in one transaction with the offsets: a reset that is
killed did nothing, local state on whatever machine follows its changelog on and empties itself, and so do the tables
of others. Deleting the records would not do: compacted topics do not allow it, and nobody would hear of it.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing

from streams.errors import AbortedError, IncompatibleError, StreamsError
from streams.kafka import config
from streams.kafka.admin import Admin, Range
from streams.kafka.consumer import Reader
from streams.kafka.offsets import GroupOffsets, Place
from streams.kafka.producer import TransactionalProducer
from streams.kafka.snapshot import edge_times, read_through
from streams.record import RawRecord, Record, TopicPartition
from streams.replay.moves import Destination, Kind, Move, moves
from streams.replay.subject import Subject
from streams.settings import Settings
from streams.state.stamps import RESET, committed_by_partition, only_committed

TIMEOUT = 60.0  # seconds; also what a call of the transaction may take
_TRANSACTION = 300_000  # milliseconds; the tombstones of a large state take a while
_MARKER = b"\xffstreams.reset"  # a key that no store has: neither text nor eight bytes


class Reset:
    """One reset of one group: `plan` and `obstacles` only look, `execute` does it."""

    def __init__(self, settings: Settings, admin: Admin, subject: Subject) -> None:
        self._settings = settings
        self._admin = admin
        self._subject = subject

    def plan(self, destination: Destination, partitions: Collection[TopicPartition]) -> list[Move]:
        """Say where each of the partitions goes.

        Raises:
            UsageError: the destination is nowhere.
        """
        held = self._admin.ranges(partitions)
        timed = destination.kind is Kind.TIME
        at_time = self._admin.offsets_at(held, destination.value) if timed else {}
        return moves(destination, held, self._admin.committed(self._subject.group), at_time)

    def times(self, planned: Sequence[Move]) -> dict[TopicPartition, tuple[int, int]]:
        """Return the times of the first and the last record that each move reads again or skips."""
        with closing(self._reader()) as reader:
            return edge_times(reader, {move.source: move.span for move in planned})

    def rows(self, planned: Sequence[Move]) -> Counter[str]:
        """Count the rows that the state of the planned partitions has, by changelog."""
        live: dict[tuple[TopicPartition, bytes | None], bool] = {}
        for record in self._records(self._subject.changelogs, planned):
            live[record.origin, record.key] = record.value is not None
        return Counter(source.topic for (source, _), alive in live.items() if alive)

    def obstacles(self, planned: Sequence[Move], *, with_state: bool, keep_state: bool) -> Iterator[str]:
        """Say what stands against it, each with what to do about it."""
        if members := self._members():
            yield (
                f"the group has {members} members: stop its workers; a stopped one counts until its session times out "
                f"({self._settings.session_timeout.total_seconds():g} s), --wait 1m waits for that"
            )
        if waiting := self.waiting(planned):
            group, where = self._subject.group, ", ".join(f"{n} in partition {p}" for p, n in sorted(waiting.items()))
            yield (
                f"records wait or are parked in {self._subject.waiting} ({where}): start its workers, then release "
                f"them, `streams dlq redrive {group} --waiting --execute`, or give them up, `streams dlq drop …`"
            )
        if not with_state and self._spans(self._subject.changelogs, planned):
            yield from self._about_state(planned, keep_state=keep_state)

    def _about_state(self, planned: Sequence[Move], *, keep_state: bool) -> Iterator[str]:
        state = f"it has state ({', '.join(self._subject.changelogs)})"
        if any(move.again for move in planned):
            what = (
                "--with-state empties it" if self._subject.main else "only its input can be read again, with its state"
            )
            yield f"{state}, which would count records twice that are read again: {what}"
        elif any(move.skipped for move in planned) and not keep_state:
            ways = "--keep-state goes on with it" + (", --with-state empties it" if self._subject.main else "")
            yield f"{state}: {ways}"

    def execute(self, planned: Sequence[Move], *, with_state: bool) -> None:
        """Move the group; all of it happens or nothing.

        Raises:
            IncompatibleError: a worker joined meanwhile; nothing happened.
            StreamsError: it was not done.
        """
        places = {move.source: Place(move.to) for move in planned}
        with GroupOffsets(self._settings, self._subject.group, TIMEOUT) as offsets:
            if self._subject.main and (with_state or any(move.again for move in planned)):
                changes = list(self._changes(planned, with_state=with_state))
                if changes:
                    self._transact(changes, places, offsets)
                    return
            offsets.commit(places)

    def await_empty(self, seconds: float) -> None:
        """Wait until the group has no members, so long at the most."""
        deadline = time.monotonic() + seconds
        while self._members() and time.monotonic() < deadline:
            time.sleep(0.5)

    def _transact(
        self, changes: Sequence[RawRecord], places: Mapping[TopicPartition, Place], offsets: GroupOffsets
    ) -> None:
        """Send the changes and the offsets in one transaction; a second reset of the group fences this one."""
        client = config.transactional_producer(self._settings, f"{self._subject.group}.reset")
        producer = TransactionalProducer({**client, "transaction.timeout.ms": _TRANSACTION}, TIMEOUT)
        try:
            producer.send(changes)
            producer.flush()
            producer.commit_places(places, offsets.membership(), self._confirm)
        except AbortedError as error:
            raise StreamsError(f"the reset was rolled back: {error}", fix="try again") from error
        finally:
            producer.close()

    def _confirm(self) -> None:
        if self._members():
            raise IncompatibleError(
                f"a worker joined group {self._subject.group} meanwhile; everything is as it was",
                fix="stop its workers, then try again",
            )

    def _members(self) -> int:
        group = self._subject.group
        return len(self._admin.group(group).members) if group in self._admin.groups() else 0

    def waiting(self, planned: Sequence[Move]) -> Counter[int]:
        """Count the records that wait, by partition; they come from the input."""
        if not self._subject.main:
            return Counter()
        offsets = self._admin.committed(self._subject.group)
        committed = committed_by_partition(offsets, f"{self._subject.group}.redrive")
        waiting = only_committed(self._records([self._subject.waiting], planned), committed)
        rows = {(record.partition, record.key): record.value is not None for record in waiting}
        return Counter(number for (number, _), alive in rows.items() if alive)

    def _changes(self, planned: Sequence[Move], *, with_state: bool) -> Iterator[RawRecord]:
        """Yield what goes to changelogs that are not empty: a mark of the reset, and tombstones for the state's keys.

        Every key that ever had a value gets one: without a transaction a deletion may not have been committed. So do
        the rows of what waited: nothing does, so what is left of them was never committed.
        """
        keys: dict[TopicPartition, dict[bytes, None]] = defaultdict(dict)
        emptied = [*(self._subject.changelogs if with_state else ()), self._subject.waiting]
        for record in self._records(emptied, planned):
            if record.key is not None and record.value is not None:
                keys[record.origin][record.key] = None
        to = {move.source.partition: move.to for move in planned}
        now = time.time_ns() // 1_000_000
        for topic, number in self._spans([*self._subject.changelogs, self._subject.waiting], planned):
            headers = ((RESET, b"%d" % to[number]),)
            for key in (_MARKER, *keys[TopicPartition(topic, number)]):
                yield Record(topic, key, None, now, number, headers=headers)

    def _records(self, topics: Collection[str], planned: Sequence[Move]) -> Iterator[RawRecord]:
        if spans := self._spans(topics, planned):
            with closing(self._reader()) as reader:
                for batch in read_through(reader, spans):
                    yield from batch

    def _reader(self) -> Reader:
        return Reader(config.reader(self._settings, f"{self._subject.group}.reset"))

    def _spans(self, topics: Collection[str], planned: Sequence[Move]) -> dict[TopicPartition, Range]:
        """Return what the planned partitions of topics hold, where they were ever written to."""
        existing = self._admin.topics()
        numbers = {move.source.partition for move in planned}
        whole = [TopicPartition(topic, number) for topic in topics for number in range(existing.get(topic, 0))]
        asked = [tp for tp in whole if tp.partition in numbers]
        return {tp: held for tp, held in self._admin.ranges(asked).items() if held.end > 0}
