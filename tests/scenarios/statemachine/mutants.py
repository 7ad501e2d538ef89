"""Mistakes that are easily made in a runtime like this one, planted; the random runs have to fail with each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from streams.checkpoint import Checkpoint
from streams.failpoints import Failpoint, reach
from streams.failures.failures import Failures
from streams.failures.waiting import Waiting
from streams.record import RawRecord, TopicPartition
from streams.state.backend import Backend
from streams.state.restore import Bounds
from streams.state.task_state import Changes, TaskState
from streams.testing.memory import Log, MemoryConsumer, MemoryProducer
from streams.testing.memory.group import Membership
from streams.worker import Worker

Mutant = Callable[[], AbstractContextManager[Any]]


def offsets_before_the_flush() -> AbstractContextManager[Any]:
    """Commit, and only then make sure that the records have arrived."""
    flush, commit = MemoryProducer.flush, MemoryProducer.commit

    def early(self: MemoryProducer, offsets: Mapping[TopicPartition, int], group: Membership) -> None:
        commit(self, offsets, group)
        flush(self)

    return patch.multiple(MemoryProducer, flush=lambda _self: None, commit=early)


def position_committed() -> AbstractContextManager[Any]:
    """Commit where the consumer is, not what was processed."""
    commit = Checkpoint.commit

    def eager(self: Checkpoint) -> dict[TopicPartition, int]:
        consumer = self._group().member
        self.marks.update({tp: consumer.cursors[tp].position for tp in self.marks if tp in consumer.cursors})
        return commit(self)

    return patch.object(Checkpoint, "commit", eager)


def state_applied_before_the_commit() -> AbstractContextManager[Any]:
    """Write the local store, then commit."""

    def commit(self: Checkpoint) -> dict[TopicPartition, int]:
        offsets = dict(self.marks)
        if offsets:
            changes = {partition: state.changes() for partition, state in self._states.items()}
            positions = self._send_changelog(changes, offsets)
            self._producer.flush()
            for partition, state in self._states.items():
                state.committed(changes[partition], positions.get(partition, {}), offsets.get(partition))
            reach(Failpoint.FLUSHED)
            self._producer.commit(offsets, self._group())
            self.clear()
        return offsets

    return patch.object(Checkpoint, "commit", commit)


def dead_letters_by_a_second_producer() -> AbstractContextManager[Any]:
    """Send dead letters at once, outside the transaction."""
    send = MemoryProducer.send

    def split(self: MemoryProducer, records: list[RawRecord]) -> None:
        letters = [record for record in records if record.topic.endswith(".dlq")]
        for letter in letters:
            self._log.append(letter, None, self.name)
        send(self, [record for record in records if record not in letters])

    return patch.object(MemoryProducer, "send", split)


def no_group_metadata() -> AbstractContextManager[Any]:
    """Send offsets with a transaction that nothing fences."""
    metadata = MemoryConsumer.group_metadata
    return patch.object(MemoryConsumer, "group_metadata", lambda self: metadata(self)._replace(member=None))


def restored_to_the_last_stable_offset() -> AbstractContextManager[Any]:
    """Take READ_COMMITTED's end for the end of the changelog."""

    def bounds(self: Log, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        return {partition: Bounds(0, self.stable_end(partition)) for partition in partitions}

    return patch.object(Log, "bounds", bounds)


def committed_after_lost() -> AbstractContextManager[Any]:
    """Treat lost partitions as revoked ones."""
    return patch.object(Worker, "on_lost", Worker.on_revoked)


def revoked_without_a_commit() -> AbstractContextManager[Any]:
    """Give partitions up with their outputs in the open transaction, and their offsets not."""

    def on_revoked(self: Worker, partitions: Sequence[TopicPartition]) -> None:
        self._give_up(partitions, "revoked")

    return patch.object(Worker, "on_revoked", on_revoked)


def store_written_in_two_steps() -> AbstractContextManager[Any]:
    """Write positions first and rows after them."""
    write = Backend.write

    def halves(self: Backend, changes: Mapping[str, Any], positions: Mapping[str, int]) -> None:
        write(self, {}, positions)
        if any(changes.values()):
            reach(Failpoint.STATE_WRITING)
        write(self, changes, {})

    return patch.object(Backend, "write", halves)


def key_not_blocked_while_it_waits() -> AbstractContextManager[Any]:
    """Handle a record although an earlier one of its key waits."""
    return patch.object(Failures, "queue", lambda _self, _record, _now_ms: False)


def waiting_rows_outside_the_transaction() -> AbstractContextManager[Any]:
    """Send the rows of what waits by a second producer, without a transaction."""
    tracked = MemoryProducer.send_tracked

    def split(self: MemoryProducer, record: RawRecord, delivered: Callable[[int], None]) -> None:
        if record.topic.endswith(".waiting"):
            delivered(self._log.append(record, None, self.name))
        else:
            tracked(self, record, delivered)

    return patch.object(MemoryProducer, "send_tracked", split)


def offset_moves_before_the_row() -> AbstractContextManager[Any]:
    """Commit the offset, and what waits with the next commit."""
    changes = TaskState.changes

    def late(self: TaskState, until: int | None = None) -> list[Changes]:
        made = changes(self, until)
        return [one for one in made if not one.name.endswith(".waiting")]

    return patch.object(TaskState, "changes", late)


def retries_out_of_order() -> AbstractContextManager[Any]:
    """Give every record that waits a timer, not the first one of each key alone."""
    return patch.object(Waiting, "is_first", lambda self, offset: offset in self.entries)


def index_not_loaded() -> AbstractContextManager[Any]:
    """Take a partition over without looking at what waits in it."""
    return patch.object(Waiting, "load", lambda _self: None)


def place_of_what_came_back_not_committed() -> AbstractContextManager[Any]:
    """Commit what came of a re-driven record, and not how far the re-drives are."""
    mark = Checkpoint.mark

    def forgetful(self: Checkpoint, partition: TopicPartition, next_offset: int, *, outputs: int = 0) -> None:
        if not partition.topic.endswith(".redrive"):
            mark(self, partition, next_offset, outputs=outputs)

    return patch.object(Checkpoint, "mark", forgetful)


def origin_of_what_came_back_forgotten() -> AbstractContextManager[Any]:
    """Take a re-driven record for the one of the input that has its offset."""

    def misplaced(records: Sequence[RawRecord], source: TopicPartition) -> list[RawRecord]:
        return [one._replace(topic=source.topic, headers=()) for one in records]

    return patch("streams.stepper.as_read_first", misplaced)


MUTANTS: tuple[Mutant, ...] = (
    offsets_before_the_flush,
    position_committed,
    state_applied_before_the_commit,
    dead_letters_by_a_second_producer,
    no_group_metadata,
    restored_to_the_last_stable_offset,
    committed_after_lost,
    revoked_without_a_commit,
    store_written_in_two_steps,
    key_not_blocked_while_it_waits,
    waiting_rows_outside_the_transaction,
    offset_moves_before_the_row,
    retries_out_of_order,
    index_not_loaded,
    place_of_what_came_back_not_committed,
    origin_of_what_came_back_forgotten,
)
