"""One worker: one processor, one slot, one process, and one thread that owns every client.

`run_once` is the straight path: poll → step (decode, process, encode) → produce → mark; commit when due.
The clients are passed in, so that tests drive this very code.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Protocol

import structlog

from streams.checkpoint import Checkpoint, Transaction
from streams.errors import AbortedError, EncodeError, FencedError, IncompatibleError, RecordError
from streams.failpoints import Failpoint, reach
from streams.owned import Owned
from streams.record import Polled, Positions, TopicPartition
from streams.refusals import RefusalLog
from streams.schema_lookup import SchemaLookup
from streams.state.restore import Restorer
from streams.task import Step, Task

_log = structlog.get_logger(__name__)

IDLE_POLL = 0.05  # seconds without work; a signal waits no longer
MOST_ABORTS = 10  # in a row, without a commit between them
REPORT_EVERY = 10.0  # seconds
_COUNTED = {"processed": "processed", "tombstones": "tombstones"}  # every other outcome is the stage of a failure

_PARTITION = attrgetter("partition")


class Input(Protocol):
    """What the worker needs of the group's consumer; `poll` tells the worker of rebalances."""

    def poll(self, most: int, timeout: float) -> Polled:
        """Take what is there."""

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> dict[TopicPartition, int | None]:
        """Return the group's stable committed offsets."""

    def assign(self, positions: Positions) -> None:
        """Begin to read partitions."""

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop delivering partitions."""

    def restart(self, positions: Positions) -> None:
        """Read from these positions, whether paused or not."""

    def group_metadata(self) -> Any:
        """Return the member's generation."""


class Output(Transaction, Protocol):
    """What the worker needs of the producer beside what a checkpoint needs."""

    def abort(self) -> None:
        """Roll the open transaction back."""


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
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`loops` says that the processor writes to its own input; `stable_timeout` bounds the wait for owners before.

        `stamped` is for a producer without transactions: changelog records name the offset that goes with them.
        Times are seconds.
        """
        self._consumer = consumer
        self._producer = producer
        self._restorer = restorer
        self._lookup = lookup
        self._open_task = open_task
        self._loops = loops
        self._poll_records = poll_records
        self._stable_timeout = stable_timeout
        self._owned: dict[TopicPartition, Owned] = {}
        self._states: dict[TopicPartition, Any] = {}
        self._checkpoint = Checkpoint(
            producer,
            self._states,
            consumer.group_metadata,
            interval=commit_interval,
            most_records=commit_records,
            clock=clock,
            now_ms=now_ms,
            stamped=stamped,
        )
        self._attempts = 0  # records stepped since the last commit
        self._last: tuple[TopicPartition, int] | None = None  # the newest of them
        # Records that a transaction may hold: few while an offender is looked for, and few at first: a handler
        # that takes longer than a transaction lives lets it expire if other outputs wait in it; a new process must not.
        self._most_attempts: int | None = 1
        self._suspects = 0  # records of a refused transaction that did not pass yet; until then the few stay few
        self._aborts = 0
        self._failed = False
        self._redo: AbortedError | None = None  # an abort during a rebalance is finished after it
        self._refusals = RefusalLog(clock)
        self._clock = clock
        self._reported = clock()
        self._told: dict[str, Any] = {}
        self.counts: Counter[str] = Counter()

    def run_once(self) -> None:
        """Poll, step, produce, mark, and commit when it is due.

        Raises:
            StreamsError: the worker cannot go on; nothing uncommitted will be seen.
        """
        try:
            self._receive()
            self._restorer.poll()
            self._lookup.poll()
            for partition, owned in self._runnable():
                self._step(partition, owned)
                if self._checkpoint.due() or self._room() < 1:
                    self._commit()
            self._mark_ends()
            if self._checkpoint.due():
                self._commit()
        except AbortedError as error:
            self._start_over(error)
        self._report()

    def unfinished(self) -> bool:
        """Tell whether a turn would do something although nothing new arrived."""
        return self._lookup.answered() or bool(self._runnable()) or bool(self._released())

    def waits(self) -> bool:
        """Tell whether something goes on only as time passes: a schema that is asked for."""
        return any(owned.missing is not None for owned in self._owned.values())

    def uncommitted(self) -> bool:
        """Tell whether there is something that a commit would commit."""
        return bool(self._checkpoint.marks)

    def drain(self) -> None:
        """Commit what is done; what is polled and not stepped stays for the next owner."""
        try:
            self._commit()
        except AbortedError as error:
            _log.warning("last transaction aborted", reason=str(error))
            self.fail()  # leaving the group must not commit what was marked: its outputs are rolled back
            self._producer.abort()

    def fail(self) -> None:
        """Give up: from now on nothing is committed, whatever the consumer still reports."""
        self._failed = True

    def close(self) -> None:
        """Close the state of every partition that is still owned."""
        for partition in list(self._owned):
            self._close(partition)

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Take over partitions: committed offsets first, then the bounds of what is restored (the order matters).

        With the bounds first, a transaction that commits in between would give newer offsets than state.
        """
        if not partitions:
            return
        committed = self._consumer.committed(partitions, self._stable_timeout)
        reach(Failpoint.OFFSETS_KNOWN)
        opened = {partition: Owned(self._open_task(partition), committed[partition]) for partition in partitions}
        self._consumer.assign({partition: owned.committed for partition, owned in opened.items()})
        self._owned.update(opened)
        self._states.update({partition: owned.task.state for partition, owned in opened.items()})
        for owned in opened.values():
            owned.task.state.restore_until(owned.committed)
        self._restorer.begin([owned.task.state for owned in opened.values()])
        for owned in opened.values():
            owned.ready = self._restorer.is_ready(owned.task.state)
        waiting = [partition for partition, owned in opened.items() if not owned.ready]
        if waiting:
            self._consumer.pause(waiting)
        _log.info("assigned", partitions=_numbers(partitions), restoring=_numbers(waiting))

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Commit, then close (INV-6); not a transaction that is to be aborted anyway."""
        if not self._failed and self._redo is None:
            reach(Failpoint.REVOKING)
            try:
                self._commit()
            except AbortedError as error:
                self._redo = error
            reach(Failpoint.REVOKED)
        self._give_up(partitions, "revoked")

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Discard, then close; never commit (INV-6)."""
        self._redo = AbortedError("partitions were lost")
        self._give_up(partitions, "lost")

    def _receive(self) -> None:
        """Poll; with work at hand just enough to stay in the group."""
        busy = bool(self._runnable())
        wait = 0.0 if busy else IDLE_POLL / 10 if self._checkpoint.marks or self._restorer.remaining() else IDLE_POLL
        polled = self._consumer.poll(1 if busy else self._poll_records, wait)
        if polled.records:
            reach(Failpoint.POLLED)
        if self._redo is not None:
            error, self._redo = self._redo, None
            raise error
        for _, run in groupby(polled.records, _PARTITION):  # the group reads one topic
            records = list(run)
            owned = self._owned.get(records[0].origin)
            if owned is not None and owned.ready:
                owned.receive(records)
        for partition, end in polled.ends.items():
            if partition in self._owned:
                self._owned[partition].reach_end(end)
        self._release()

    def _release(self) -> None:
        """Let partitions run whose state is restored, or whose missing schema has been decided."""
        released = self._released()
        for _, owned in released:
            owned.resume()
        if released:
            self._consumer.restart({partition: owned.done for partition, owned in released})
            _log.info("running", partitions=_numbers([partition for partition, _ in released]))

    def _released(self) -> list[tuple[TopicPartition, Owned]]:
        held = [(tp, owned) for tp, owned in self._owned.items() if not owned.ready or owned.missing is not None]
        return [(tp, owned) for tp, owned in held if self._is_released(owned)]

    def _is_released(self, owned: Owned) -> bool:
        if not owned.ready:
            return self._restorer.is_ready(owned.task.state)
        return owned.missing is not None and not self._lookup.is_waiting(owned.missing)

    def _runnable(self) -> list[tuple[TopicPartition, Owned]]:
        return [(partition, owned) for partition, owned in self._owned.items() if owned.buffer and owned.runnable]

    def _step(self, partition: TopicPartition, owned: Owned) -> None:
        """Step what is buffered of one partition, hand over its outputs, and mark it (INV-1)."""
        batch = owned.batch(self._room())
        self._checkpoint.begin()
        refusal = owned.refusals.get(batch[0].offset)
        if refusal is not None:
            step = Step(1, owned.task.refuse(batch[0], refusal), Counter({refusal.stage: 1}))
        else:
            step = owned.task.step(batch, self._checkpoint.expired)
        self._attempts += step.consumed
        if step.consumed:
            reach(Failpoint.PROCESSED)
            self._last = (partition, batch[step.consumed - 1].offset)
            self._producer.send(step.outputs)
            reach(Failpoint.PRODUCED)
            owned.advance(step.consumed)
            self._checkpoint.mark(partition, owned.done or 0, outputs=len(step.outputs))
            self.counts.update({_COUNTED.get(name, f"failed_in_{name}"): n for name, n in step.counts.items()})
            self.counts["outputs"] += len(step.outputs)
            self._refusals.tell(owned.task.take_refusals())
        if step.missing is not None:
            owned.missing = step.missing
            self._lookup.request(step.missing)
            self._consumer.pause([partition])

    def _room(self) -> int:
        """Say how many records the open transaction may still take."""
        return self._poll_records if self._most_attempts is None else self._most_attempts - self._attempts

    def _mark_ends(self) -> None:
        """Commit the end offset of idle partitions, or their lag would stay at 1 behind a transaction marker (INV-10).

        Not where the processor feeds itself: each such commit would write a marker to be committed again.
        """
        if self._loops:
            return
        for partition, owned in self._owned.items():
            end = owned.take_end()
            if end is not None:
                self._checkpoint.mark(partition, end)

    def _commit(self) -> None:
        """Commit, and remember where each partition stands."""
        try:
            offsets = self._checkpoint.commit()
        except EncodeError as error:  # a state value; the record that put it is found like one the broker refuses
            raise AbortedError(str(error), error) from error
        for partition, offset in offsets.items():
            owned = self._owned[partition]
            owned.committed = offset
            owned.refusals = {at: why for at, why in owned.refusals.items() if at >= offset}
        if offsets:
            self._suspects = max(0, self._suspects - self._attempts)
            self._attempts, self._aborts = 0, 0
            if self._most_attempts is not None and not self._suspects:
                self._most_attempts = None if self._most_attempts >= self._poll_records else self._most_attempts * 2

    def _start_over(self, error: AbortedError) -> None:
        """Abort, go back to the last commit, and narrow down to the record that is to blame, if one is.

        Raises:
            FencedError: this happened too often in a row.
        """
        self._producer.abort()
        self._checkpoint.clear()
        if error.fault is not None and self._attempts == 1 and self._last is not None:
            self._suspects = 0
            self._blame(*self._last, error.fault)
        elif error.fault is not None and self._attempts:
            self._suspects = self._attempts
            self._most_attempts = max(1, self._attempts // 16)  # an abort costs half a second, a small commit 5 ms
        else:
            self._count_abort(error)
        self._attempts = 0
        for owned in self._owned.values():
            owned.rewind()
        running = {partition: owned.committed for partition, owned in self._owned.items() if owned.ready}
        if running:
            self._consumer.restart(running)

    def _blame(self, partition: TopicPartition, offset: int, fault: RecordError) -> None:
        """Have one record refused when it comes again.

        Raises:
            IncompatibleError: it was refused already, so it is the dead letter that the broker does not take.
        """
        owned = self._owned.get(partition)
        if owned is None:
            return
        if offset in owned.refusals:
            raise IncompatibleError(
                f"the dead letter of a record cannot be written: {fault}",
                where=f"{partition.topic}[{partition.partition}] offset {offset}",
                fix="raise max.message.bytes of the dead-letter topic; the record stays uncommitted until then",
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
        for partition in partitions:
            self._close(partition)
        _log.info(how, partitions=_numbers(partitions))

    def _close(self, partition: TopicPartition) -> None:
        owned = self._owned.pop(partition, None)
        if owned is None:
            return
        del self._states[partition]
        self._checkpoint.marks.pop(partition, None)
        self._restorer.forget(owned.task.state)
        owned.task.state.discard()
        owned.task.state.close()

    def _report(self) -> None:
        if self._clock() - self._reported < REPORT_EVERY:
            return
        self._reported = self._clock()
        waiting = {p.partition: o.missing for p, o in self._owned.items() if o.missing is not None}
        found = {"restoring": len(self._restorer.remaining()), "waiting_for_schema": waiting}
        told = {**self.counts, **{name: value for name, value in found.items() if value}}
        if told != self._told:
            _log.info("progress", **told)
            self._told = told


def _numbers(partitions: Sequence[TopicPartition]) -> list[int]:
    return sorted(partition.partition for partition in partitions)
