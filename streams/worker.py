"""One worker: one processor, one slot, one process, and one thread that owns every client.

`run_once` is the straight path: poll → step (decode, process, encode) → produce → mark; commit when due.
The clients are passed in, so that tests drive this very code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import structlog

from streams.checkpoint import Checkpoint
from streams.errors import (
    AbortedError,
    EncodeError,
    FencedError,
    IncompatibleError,
    KilledError,
    RecordError,
    SendError,
)
from streams.failpoints import Failpoint, reach
from streams.failures.journal import Journal
from streams.failures.judgement import Judgement
from streams.failures.narrowing import Narrowing
from streams.health.progress import Activity
from streams.lanes.handling import Handling
from streams.owned import Owned
from streams.partitions import Partitions, numbers
from streams.ports import Input, Output
from streams.record import TopicPartition, runs
from streams.schema_lookup import SchemaLookup
from streams.state.restore import Restorer
from streams.stepper import Stepper
from streams.task import Task

_log = structlog.get_logger(__name__)

IDLE_POLL = 0.05  # seconds without work; a signal waits no longer
MOST_ABORTS = 10  # in a row, without a commit between them
REPORT_EVERY = 10.0  # seconds


class Worker:
    """Drives the tasks of one processor; also the listener of its consumer's rebalances."""

    def __init__(
        self,
        consumer: Input,
        producer: Output,
        restorer: Restorer,
        lookup: SchemaLookup,
        open_task: Callable[[TopicPartition], Task],
        *,
        loops: bool,
        poll_records: int,
        commit_interval: float,
        commit_records: int,
        stable_timeout: float,
        stamped: bool = False,
        redrive_topic: str | None = None,
        waiting_topic: str | None = None,
        judgement: Judgement | None = None,
        journal: Journal | None = None,
        handling: Handling | None = None,
        keeps: Collection[str] = (),
        examine: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`loops` says that the processor writes to its own input; `stable_timeout` bounds the wait for owners before.

        `stamped` is for a producer without transactions: changelog records name the offset that goes with them.
        `judgement` is the one that the tasks share; `handling` says where handlers run if not in `step`. `keeps` are
        the topics for what failed: what these refuse is no record's fault. `examine` is called after an abort that is
        nobody's fault, and raises what people have to mend. Times are seconds.
        """
        self._consumer = consumer
        self._producer = producer
        self._restorer = restorer
        self._lookup = lookup
        self._handling = handling or Handling()
        self._partitions = Partitions(consumer, restorer, open_task, self._handling, redrive_topic, stable_timeout)
        self._loops = loops
        self._poll_records = poll_records
        self._checkpoint = Checkpoint(
            producer,
            self._partitions.states,
            consumer.group_metadata,
            interval=commit_interval,
            most_records=commit_records,
            clock=clock,
            now_ms=now_ms,
            stamped=stamped,
            last=waiting_topic,
            beside=self._partitions.beside,
        )
        self._narrowing = Narrowing(poll_records)
        self._journal = journal
        if journal is not None and journal.before is not None and journal.before.deaths > 1:
            self._narrowing.suspect(min(journal.before.last - journal.before.first + 1, poll_records))
        self.activity = Activity(clock)
        self._stepper = Stepper(
            self._partitions,
            self._handling,
            producer,
            self._checkpoint,
            self._narrowing,
            lookup,
            judgement or Judgement(),
            journal,
            self.activity,
            clock=clock,
            now_ms=now_ms,
        )
        self._keeps = keeps
        self._examine = examine
        self._aborts = 0
        self._failed = False
        self._redo: AbortedError | None = None  # an abort during a rebalance is finished after it
        self._clock = clock
        self._reported = clock()
        self._told: dict[str, Any] = {}
        self.counts = self._stepper.counts

    def run_once(self) -> None:
        """Poll, step, produce, mark, and commit when it is due.

        Raises:
            StreamsError: the worker cannot go on; nothing uncommitted will be seen.
        """
        try:
            self._receive()
            self._restorer.poll()
            self._lookup.poll()
            self._work_off(self._stepper.steps())
            self._mark_ends()
            if self._checkpoint.due():
                self._commit()
        except AbortedError as error:
            self._start_over(error)
        self._report()

    def unfinished(self) -> bool:
        """Tell whether a turn would do something although nothing new arrived."""
        return self._lookup.answered() or bool(self._partitions.released()) or self._stepper.has_work()

    def next_due(self) -> int | None:
        """Return when the next record that waits is tried again, in milliseconds since the epoch; None if none is."""
        return self._stepper.next_due()

    @property
    def suspended(self) -> bool:
        """Tell whether most keys fail, so that nothing new is begun."""
        return self._stepper.suspended

    def waits(self) -> bool:
        """Tell whether something goes on only as time passes: a partition that is held, or a record's next attempt."""
        return any(owned.hold is not None or owned.task.waiting for owned in self._partitions.owned.values())

    @property
    def owned(self) -> Mapping[TopicPartition, Owned]:
        """The partitions that it owns."""
        return self._partitions.owned

    def left_to_restore(self, owned: Owned) -> int:
        """Return how many records a partition's state is away from running; from any thread."""
        return self._restorer.left(owned.task.state)

    def uncommitted(self) -> bool:
        """Tell whether there is something that a commit would commit."""
        return bool(self._checkpoint.marks)

    def drain(self, patience: float = 0.0) -> None:
        """Commit what is done, and what handlers in lanes finish within `patience` seconds; leave the rest."""
        try:
            self._handling.stop()
            until = self._clock() + patience
            while self._handling.running and self._clock() < until:
                self._handling.turn(IDLE_POLL)
                self._work_off(self._stepper.finish())
            self._commit_finished()
        except AbortedError as error:
            _log.warning("last transaction aborted", reason=str(error))
            self.fail()  # leaving the group must not commit what was marked: its outputs are rolled back
            self._producer.abort()

    def fail(self) -> None:
        """Give up: from now on nothing is committed, whatever the consumer still reports."""
        self._failed = True

    def close(self) -> None:
        """Close the state of every partition that is still owned."""
        self._close(list(self._partitions.owned))
        self._handling.end()

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Take over partitions; without any, too, the worker is in its group."""
        self.activity.joined = True
        if not partitions:
            return
        self._partitions.open(partitions)
        for partition in partitions:
            killer = None if self._journal is None else self._journal.killer(partition.partition)
            for offset in (*self._handling.killers(partition), *([] if killer is None else [killer])):
                self._partitions.owned[partition].refusals[offset] = KilledError()

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Commit, then close (INV-6); not a transaction that is to be aborted anyway."""
        if not self._failed and self._redo is None:
            reach(Failpoint.REVOKING)
            try:
                self._commit_finished()
            except AbortedError as error:
                self._redo = error
            reach(Failpoint.REVOKED)
        self._give_up(partitions, "revoked")
        self._handling.go_on()

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Discard, then close; never commit (INV-6)."""
        self.activity.joined = False
        self._redo = AbortedError("partitions were lost")
        self._give_up(partitions, "lost")

    def _receive(self) -> None:
        """Poll; with work at hand just enough to stay in the group."""
        busy, running = self._stepper.runnable(), self._handling.running > 0
        soon = IDLE_POLL / 10 if running or self._checkpoint.marks or self._restorer.remaining() else IDLE_POLL
        wait = 0.0 if busy or running or self._stepper.has_work() else soon
        polled = self._consumer.poll(1 if busy else self._poll_records, wait)
        if polled.records:
            reach(Failpoint.POLLED)
        if self._redo is not None:
            error, self._redo = self._redo, None
            raise error
        owners = self._partitions.owned
        for partition, records in runs(polled.records):
            owned = owners.get(partition)
            if owned is not None and owned.ready:
                owned.receive(records)
        for partition, end in polled.ends.items():
            if partition in owners:
                owners[partition].reach_end(end)
        self._partitions.release()
        self._handling.turn(0.0 if busy or polled.records or not running else soon)

    def _work_off(self, steps: Iterator[None]) -> None:
        """Take steps, and commit between them when it is due."""
        for _ in steps:
            if self._checkpoint.due() or self._narrowing.room() < 1:
                self._commit()

    def _commit_finished(self) -> None:
        """Commit what is done, with what handlers in lanes have finished; what still runs ends into nothing."""
        self._handling.stop()
        self._work_off(self._stepper.finish())
        self._commit()

    def _mark_ends(self) -> None:
        """Commit the end offset of idle partitions, or their lag would stay at 1 behind a transaction marker (INV-10).

        Not where the processor feeds itself: each such commit would write a marker to be committed again.
        """
        if self._loops:
            return
        for feeds in (self._partitions.owned, self._partitions.redrives):
            for partition, feed in feeds.items():
                end = feed.take_end()
                if end is not None:
                    self._checkpoint.mark(partition, end)

    def _commit(self) -> None:
        """Commit, and remember where each partition stands."""
        self.activity.begin_commit()
        try:
            offsets = self._checkpoint.commit()
        except EncodeError as error:  # a state value; the record that put it is found like one the broker refuses
            raise AbortedError(str(error), error) from error
        if offsets:
            self._handling.committed()
            self.activity.end_commit()
            self._partitions.committed(offsets)
            self._aborts = 0
            self._narrowing.committed()

    def _start_over(self, error: AbortedError) -> None:
        """Abort, go back to the last commit, and narrow down to the record that is to blame, if one is.

        Raises:
            FencedError: this happened too often in a row.
            IncompatibleError: people have to mend something first.
        """
        self.activity.aborts += 1
        self._producer.abort()  # at once: a client with records it may not send takes a whole core (librdkafka#2565)
        self._checkpoint.clear()
        if error.fault is None:
            self._examine()
        if error.fault is not None and self._narrowing.attempts:
            offender = self._narrowing.refused()
            if offender is not None:
                self._blame(*offender, error.fault)
        else:
            self._narrowing.aborted()
            self._count_abort(error)
        self._partitions.rewind()

    def _blame(self, partition: TopicPartition, offset: int, fault: RecordError) -> None:
        """Have one record refused when it comes again.

        Raises:
            IncompatibleError: what failed cannot be kept: the broker refuses its dead letter, or to let it wait.
        """
        owned = self._partitions.owned.get(partition)
        if owned is None and partition not in self._partitions.redrives:
            return
        keeper = fault.topic if isinstance(fault, SendError) else ""
        if owned is None or offset in owned.refusals or keeper in self._keeps:
            remedy = fault.fix if isinstance(fault, SendError) else ""
            raise IncompatibleError(
                f"a record that failed cannot be kept: {fault}",
                where=f"{partition.topic}[{partition.partition}] offset {offset}",
                fix=f"{remedy or 'look at the topics for dead letters and for what waits'}; "
                "the record stays uncommitted until then",
            )
        owned.refusals[offset] = fault

    def _count_abort(self, error: AbortedError) -> None:
        self._aborts += 1
        _log.warning("transaction aborted", reason=str(error), in_a_row=self._aborts)
        if self._aborts >= MOST_ABORTS:
            raise FencedError(
                f"{self._aborts} transactions in a row were aborted: {error}",
                fix="look at the broker's health",
            ) from error

    def _give_up(self, partitions: Sequence[TopicPartition], how: str) -> None:
        self._close(partitions)
        self._stepper.judge_anew()
        _log.info(how, partitions=numbers(partitions))

    def _close(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self._checkpoint.marks.pop(partition, None)
            back = self._partitions.beside(partition)
            if back is not None:
                self._checkpoint.marks.pop(back, None)
        self._partitions.close(partitions)

    def _report(self) -> None:
        if self._clock() - self._reported < REPORT_EVERY:
            return
        self._reported = self._clock()
        owned = self._partitions.owned
        found = {
            "restoring": len(self._restorer.remaining()),
            "held": {tp.partition: one.hold.reason for tp, one in owned.items() if one.hold is not None},
            "waiting": sum(len(one.task.waiting) for one in owned.values() if one.task.waiting is not None),
        }
        told = {**self.counts, **{f"now_{name}": value for name, value in found.items() if value}}
        if told != self._told:
            _log.info("progress", **told)
            self._told = told
