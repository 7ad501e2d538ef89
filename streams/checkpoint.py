"""mark · due · commit: the only place where offsets move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from streams.errors import AbortedError
from streams.failpoints import Failpoint, reach
from streams.record import UNSET, Headers, RawRecord, TopicPartition, as_records
from streams.state.stamps import SOURCE, SOURCE_BACK
from streams.state.task_state import Changes, TaskState


class Transaction(Protocol):
    """What a checkpoint needs of the producer."""

    def send(self, records: list[RawRecord]) -> None:
        """Hand records over."""

    def send_tracked(self, record: RawRecord, delivered: Callable[[int], None]) -> None:
        """Hand one record over and learn its offset during `flush`."""

    def flush(self) -> None:
        """Wait until every record is acknowledged."""

    def commit(self, offsets: Mapping[TopicPartition, int], group: Any) -> None:
        """Commit the transaction with the offsets in it."""


class Checkpoint:
    """What was processed since the last commit, and the commit itself.

    `marks` holds the offset to go on from for each partition: what was processed, plus one; never the consumer's
    own position (INV-10).
    """

    def __init__(
        self,
        producer: Transaction,
        states: Mapping[TopicPartition, TaskState],
        group: Callable[[], Any],
        *,
        interval: float,
        most_records: int,
        clock: Callable[[], float],
        now_ms: Callable[[], int],
        stamped: bool = False,
        last: str | None = None,
        beside: Callable[[TopicPartition], TopicPartition | None] = lambda _: None,
    ) -> None:
        """Commit every `interval` seconds of `clock`, or after `most_records` outputs and changelog records.

        `stamped` has every changelog record name the offset that is committed with it, and that of the partition
        `beside`: without a transaction it can be in the topic although those never were. `last` names the changelog of
        what waits: a row that says that a record is done stands for all that came of it, as an offset does.
        """
        self._producer = producer
        self._states = states
        self._group = group
        self._interval = interval
        self._most_records = most_records
        self._clock = clock
        self._now_ms = now_ms
        self._stamped = stamped
        self._last = last
        self._beside = beside
        self.marks: dict[TopicPartition, int] = {}
        self._outputs = 0
        self._since = clock()

    def begin(self) -> None:
        """Start the interval with the first work after a commit."""
        if not self.marks:
            self._since = self._clock()

    def expired(self) -> bool:
        """Tell whether the interval is over; a step asks between two records."""
        return self._clock() - self._since >= self._interval

    def mark(self, partition: TopicPartition, next_offset: int, *, outputs: int = 0) -> None:
        """Note that everything of a partition below `next_offset` is dealt with and handed over (INV-1, INV-5)."""
        self.marks[partition] = next_offset
        self._outputs += outputs

    def due(self) -> bool:
        """Tell whether it is time to commit."""
        return bool(self.marks) and (self.expired() or self._written() >= self._most_records)

    def commit(self) -> dict[TopicPartition, int]:
        """Commit what was marked and return the committed offsets; the order of these lines is the guarantee.

        Raises:
            AbortedError: nothing was committed.
            EncodeError: a state value does not fit its schema; nothing was committed.
            FencedError: start afresh.
        """
        if not self.marks:
            return {}
        offsets = dict(self.marks)
        changes = {tp: state.changes(self._until(tp, offsets)) for tp, state in self._states.items()}
        if self._stamped and any(changes.values()):
            self._producer.flush()  # no row may stand for a record whose output is refused: it would stay
        try:
            positions = self._send_changelog(changes, offsets)
            reach(Failpoint.CHANGELOG_PRODUCED)
            self._producer.flush()  # INV-2
            reach(Failpoint.FLUSHED)
            self._producer.commit(offsets, self._group())
        except AbortedError:
            if self._stamped:  # else the transaction takes them back
                self._doubt(changes, offsets)
            raise
        reach(Failpoint.COMMITTED)
        for partition, state in self._states.items():
            state.committed(changes[partition], positions.get(partition, {}), offsets.get(partition))  # INV-3
        self.clear()
        return offsets

    def clear(self) -> None:
        """Forget the marks: they were committed, or their transaction was aborted."""
        self.marks.clear()
        self._outputs = 0

    def _until(self, partition: TopicPartition, offsets: Mapping[TopicPartition, int]) -> int | None:
        """Return the offset that the rows of a partition go with; None if nothing of it is committed."""
        return offsets.get(partition, 0 if self._beside(partition) in offsets else None)

    def _doubt(self, changes: Mapping[TopicPartition, list[Changes]], offsets: Mapping[TopicPartition, int]) -> None:
        for partition, sent in changes.items():
            self._states[partition].doubt(sent, offsets.get(partition))

    def _written(self) -> int:
        return self._outputs + sum(state.pending() for state in self._states.values())

    def _send_changelog(
        self, changes: Mapping[TopicPartition, list[Changes]], offsets: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, dict[str, int]]:
        """Send each store's rows to the task's own changelog partition, and follow the last one's offset."""
        positions: dict[TopicPartition, dict[str, int]] = {partition: {} for partition in changes}
        now = self._now_ms()
        listed = [(partition, change) for partition, stores in changes.items() for change in stores]
        unsure = False
        for partition, change in sorted(listed, key=lambda one: one[1].name == self._last):
            if change.name != self._last:
                unsure = self._stamped
            elif unsure:
                self._producer.flush()
                unsure = False
            topic, number = change.changelog
            stamp = self._stamp(partition, offsets)
            rows = list(as_records((topic, key, value, now, number, UNSET, stamp) for key, value in change.rows))
            self._producer.send(rows[:-1])
            self._producer.send_tracked(rows[-1], _note(positions[partition], change.name))
        return positions

    def _stamp(self, partition: TopicPartition, offsets: Mapping[TopicPartition, int]) -> Headers:
        if not self._stamped:
            return ()
        named = ((SOURCE, partition), (SOURCE_BACK, self._beside(partition)))
        return tuple((name, b"%d" % offsets[at]) for name, at in named if at is not None and at in offsets)


def _note(positions: dict[str, int], name: str) -> Callable[[int], None]:
    def delivered(offset: int) -> None:
        positions[name] = offset + 1

    return delivered
