"""Stepping: records of one partition go through its task, their outputs to the producer, and the partition is marked.

They are new, waited, or come back. Nothing in here commits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

from streams.checkpoint import Checkpoint
from streams.errors import HoldError, UnknownSchemaError, WaitingFullError
from streams.failpoints import Failpoint, reach
from streams.failures.journal import Journal
from streams.failures.judgement import Judgement
from streams.failures.log import FailureLog
from streams.failures.narrowing import Narrowing
from streams.failures.redrives import RELEASE, Redrives, as_read_first, chosen, command
from streams.health.progress import Activity
from streams.lanes.handling import Handling
from streams.owned import Feed, Hold, Owned
from streams.partitions import Partitions
from streams.ports import Output
from streams.record import RawRecord, TopicPartition
from streams.schema_lookup import SchemaLookup
from streams.task import Step

MOST_RETRIES = 64  # waiting records of a partition that are tried in one turn
PROBE_EVERY_MS = 1_000  # while most keys fail, one record is tried so often
_PASSED_OVER = frozenset({"tombstones", "duplicates", "skipped"})
_COUNTED = _PASSED_OVER | {"processed", "without_id", "waiting", "queued", "parked"}  # else of a dead letter


def outcomes(step: Step) -> dict[str, int]:
    """Return the counts of a step as people see them: dead letters by where they failed, and outputs."""
    named = {name if name in _COUNTED else f"failed_in_{name}": count for name, count in step.counts.items()}
    return {**named, "outputs": len(step.outputs)}


class Stepper:
    """Takes the next records of every partition that may go on."""

    def __init__(
        self,
        partitions: Partitions,
        handling: Handling,
        producer: Output,
        checkpoint: Checkpoint,
        narrowing: Narrowing,
        lookup: SchemaLookup,
        judgement: Judgement,
        journal: Journal | None,
        activity: Activity,
        *,
        clock: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        """`judgement` is the one that the tasks share; `clock` is in seconds."""
        self._partitions = partitions
        self._handling = handling
        self._producer = producer
        self._checkpoint = checkpoint
        self._narrowing = narrowing
        self._lookup = lookup
        self._judgement = judgement
        self._journal = journal
        self._activity = activity
        self._failures = FailureLog(clock)
        self._now_ms = now_ms
        self._probe_ms = 0
        self.counts: Counter[str] = Counter()

    def steps(self) -> Iterator[None]:
        """Step what waits and is due, what came back, and what is new; a commit may follow on each.

        Raises:
            AbortedError: the open transaction has to be aborted.
            StreamsError: the worker cannot go on.
        """
        yield from self._retry()
        yield from self._take_back()
        for partition, owned in self._partitions.runnable():
            if owned.hold is not None:  # a step before may have suspended all of them
                continue
            self._handling.begin(partition, owned)
            batch = self._handling.ready(owned, owned.batch(self._narrowing.room()))
            if batch:
                self._step(partition, owned, batch, owned)
                yield

    def finish(self) -> Iterator[None]:
        """Step what handlers in lanes have finished; a commit may follow on each.

        Raises:
            AbortedError, StreamsError: as `steps`.
        """
        self._handling.turn(0)
        for partition, owned in self._partitions.runnable() if self._handling.ahead else ():
            while owned.runnable and (batch := self._handling.ready(owned, owned.batch(self._narrowing.room()))):
                self._step(partition, owned, batch, owned)
                yield

    def runnable(self) -> bool:
        """Tell whether there is a new record to begin or to step now."""
        return any(self._handling.has_news(partition, owned) for partition, owned in self._partitions.runnable())

    @property
    def suspended(self) -> bool:
        """Tell whether most keys fail, so that nothing new is begun."""
        return self._judgement.suspended

    def judge_anew(self) -> None:
        """Forget which keys failed: they may never be tried again here, so nothing would end a pause."""
        self._judgement.forget()

    def has_work(self) -> bool:
        """Tell whether there is anything to step now."""
        return self.runnable() or self._may_take_back() or self._may_retry()

    def _may_take_back(self) -> bool:
        for partition, owned in self._partitions.owned.items():
            redrives = self._partitions.redrives_of(partition)
            if redrives is None or not redrives.buffer or not owned.retries:
                continue
            head = redrives.buffer[0]
            ordered = redrives.order() is not None if not owned.free else command(head) is not None
            if ordered or (owned.free and self._handling.can_go_on(owned, *as_read_first([head], partition))):
                return True
        return False

    def _may_retry(self) -> bool:
        now_ms, due = self._now_ms(), self.next_due()
        if due is None or due > now_ms or not self._handling.ahead:
            return due is not None and due <= now_ms
        return any(
            self._handling.can_go_on(owned, record)
            for owned in self._partitions.owned.values()
            if owned.task.waiting and owned.retries
            for record in owned.task.waiting.due(now_ms, 1 if self.suspended else MOST_RETRIES)
        )

    def next_due(self) -> int | None:
        """Return when the next record that waits is tried again, in milliseconds since the epoch; None if none is."""
        due = min(self._due_times().values(), default=None)
        return max(self._probe_ms, due) if due is not None and self._judgement.suspended else due

    def _retry(self) -> Iterator[None]:
        """Try again what waits and is due; while most keys fail, one record now and then."""
        times = self._due_times()
        if self._judgement.suspended and not times:
            self.judge_anew()
        for partition in sorted(times, key=lambda one: times[one]):  # nobody's records keep others' from being tried
            owned = self._partitions.owned[partition]
            now_ms, suspended = self._now_ms(), self._judgement.suspended
            if owned.task.waiting is None or (suspended and now_ms < self._probe_ms):
                return
            most, runs = 1 if suspended else MOST_RETRIES, not self._handling.ahead
            ended = self._handling.retry(owned, owned.task.waiting.due(now_ms, most, runs=runs))
            batch = owned.before_refusal(ended[: self._narrowing.room()])
            if batch:
                step = self._step(partition, owned, batch, None)
                if suspended and not step.counts["processed"]:
                    self._probe_ms = now_ms + PROBE_EVERY_MS
                yield

    def _due_times(self) -> dict[TopicPartition, int]:
        """Return when the next record is tried again in each partition where one is, in milliseconds."""
        return {
            partition: due
            for partition, owned in self._partitions.owned.items()
            if owned.task.waiting and owned.retries and (due := owned.task.waiting.next_due()) is not None
        }

    def _take_back(self) -> Iterator[None]:
        """Handle dead letters that come back, and obey commands; these also where records cannot be stepped."""
        for partition, owned in list(self._partitions.owned.items()):
            redrives = self._partitions.redrives_of(partition)
            if redrives is None or not redrives.buffer or not owned.retries:
                continue
            if not owned.free:
                ordered = redrives.order()
                if ordered is not None:
                    self._obey(partition, owned, ordered, None)
                    redrives.obeyed(ordered)
                    yield
                continue
            batch = redrives.batch(self._narrowing.room())
            if command(batch[0]) is None:
                records = owned.before_refusal(as_read_first(batch, partition))
                records = self._handling.come_back(owned, records)
                if not records:
                    continue
                self._step(partition, owned, records, redrives)
            elif redrives.order() is batch[0]:
                self._obey(partition, owned, batch[0], redrives)
            else:
                self._checkpoint.begin()
                self._hand_over(partition, owned, Step(len(batch), [], Counter()), redrives)
            yield
        self._partitions.read_redrives()

    def _obey(self, partition: TopicPartition, owned: Owned, record: RawRecord, source: Redrives | None) -> None:
        """Release or give up records that wait."""
        self._checkpoint.begin()
        owned.task.state.forget_marks()
        letters: list[RawRecord] = []
        if command(record) == RELEASE:
            owned.task.failures.release(record.key, chosen(record), self._now_ms())
        else:
            letters = owned.task.failures.drop(record.key, chosen(record), self._now_ms())
            self.judge_anew()
        step = Step(1, letters, Counter({"dropped": len(letters)} if letters else {}))
        self._narrowing.attempted(1, record.origin, record.offset)
        self._hand_over(partition, owned, step, source)
        self._handling.review(partition, owned)

    def _step(self, partition: TopicPartition, owned: Owned, batch: list[RawRecord], source: Feed | None) -> Step:
        """Step records of one partition, hand over their outputs, and mark it (INV-1); without a feed they waited."""
        self._checkpoint.begin()
        self._activity.begin_step(partition)
        with self._journal.attempt(partition.partition, batch) if self._journal is not None else nullcontext():
            step = self._handle(owned, batch, again=source is None)
        self._activity.end_step(step.consumed)
        if source is None:
            self.counts["retries"] += step.consumed
        if step.consumed:
            reach(Failpoint.PROCESSED)
            self._narrowing.attempted(step.consumed, partition, batch[step.consumed - 1].offset)
            self._hand_over(partition, owned, step, source)
            self._handling.stepped(owned, batch[: step.consumed])
        if step.hold is not None:
            self._hold(partition, owned, step.hold)
        if self._judgement.suspended:
            self._suspend()
        return step

    def _handle(self, owned: Owned, batch: list[RawRecord], *, again: bool) -> Step:
        refusal = owned.refusals.get(batch[0].offset)
        if refusal is None:
            return owned.task.step(batch, self._checkpoint.expired, self._now_ms(), again=again)
        step = owned.task.refuse(batch[0], refusal, self._now_ms())
        if step.consumed and not step.counts["queued"]:
            owned.answered.add(batch[0].offset)
        return step

    def _hand_over(self, partition: TopicPartition, owned: Owned, step: Step, source: Feed | None) -> None:
        """Produce what a step gave and mark how far it came; a partition goes along with what waits in it."""
        self._producer.send(step.outputs)
        reach(Failpoint.PRODUCED)
        if source is not None:
            source.advance(step.consumed)
        if owned.done is not None:
            self._checkpoint.mark(partition, owned.done, outputs=len(step.outputs))
        back, redrives = self._partitions.beside(partition), self._partitions.redrives_of(partition)
        if back is not None and redrives is not None and (source is redrives or owned.done is None):
            self._checkpoint.mark(back, redrives.done or 0)
        self.counts.update(outcomes(step))
        self._failures.tell(owned.task.failures.take_told())

    def _hold(self, partition: TopicPartition, owned: Owned, error: HoldError) -> None:
        """Let a partition wait until its next record can be dealt with."""
        if isinstance(error, UnknownSchemaError):
            schema_id = error.schema_id
            self._lookup.request(schema_id)
            hold = Hold(str(error), lambda: not self._lookup.is_waiting(schema_id))
        elif isinstance(error, WaitingFullError) and owned.task.waiting is not None:
            hold = Hold(str(error), partial(owned.task.waiting.has_room, error.size), retries=True)
        else:
            hold = Hold(str(error), error.ready)
        self._partitions.hold(partition, hold)

    def _suspend(self) -> None:
        """Begin nothing new while most keys fail; what waits goes on, to find out when that is over."""
        judgement = self._judgement
        for partition, _ in self._partitions.free():
            reason = f"dependency: the handler failed for {judgement.failed} of the last {judgement.seen} keys"
            self._partitions.hold(partition, Hold(reason, lambda: not judgement.suspended, retries=True))
