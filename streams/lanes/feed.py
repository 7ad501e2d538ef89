"""Handlers that run ahead of `step`: begun in lanes as records come, their results taken in the order of offsets.

`step` stays what it is. It gets the longest run of records whose results are there, and for each of them a handler that
gives what the real one gave: so state, outputs, policy and commit are the same as everywhere else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, NoReturn, cast

from streams.context import Context
from streams.errors import HoldError, RecordError, RevokedError
from streams.lanes.handling import Handling
from streams.lanes.job import Lane, LaneJob, Place, lane_of
from streams.lanes.lanes import Lanes
from streams.lanes.runners import Runner
from streams.lanes.suspects import Spot, Suspects, Watched
from streams.lanes.window import Window
from streams.owned import Owned
from streams.ports import Input
from streams.record import RawRecord, TopicPartition
from streams.topic import Store
from streams.topology import Processor

NOT_NEW = -1  # the position of records that waited or come back: they are stepped as soon as they have ended

_OFFSET, _POSITION = attrgetter("offset"), attrgetter("position")


class NotYetError(HoldError):
    """A record came to `step` before its handler ran on what the state is now; it comes again at once."""


class _Ahead:
    """How far the lanes are in one partition."""

    def __init__(self) -> None:
        self.window: Window[LaneJob] = Window()
        self.next = 0  # offsets before it were looked at
        self.undecided: int | None = None  # the record whose schema is not known yet
        self.paused = False  # it has more than may be in flight


class LaneFeed(Handling):
    """The lanes of one worker. Everything here happens in the worker's thread; the handlers run elsewhere."""

    def __init__(
        self,
        processor: Processor,
        runner: Runner,
        consumer: Input,
        *,
        most_records: int,
        most_bytes: int,
        now_ms: Callable[[], int],
        suspects: Suspects | None = None,
    ) -> None:
        """Keep at most so many records and bytes of a partition in flight; one that has more is not read on.

        `suspects` is told what runs, and tells what ran when the process before died.
        """
        self._processor = processor
        self._suspects = suspects
        self._refused: set[Spot] = set()  # killers that were given up since the last commit
        self._runner = runner if suspects is None else Watched(runner, suspects, lambda job: _spot(job.record))
        self._consumer = consumer
        self._lanes: Lanes[LaneJob] = Lanes(self._runner, processor.concurrency, self._finished)
        self._most_records = most_records
        self._most_bytes = most_bytes
        self._now_ms = now_ms
        self._ahead: dict[int, _Ahead] = {}  # by number: the worker reads one topic

    ahead = True

    @property
    def running(self) -> int:  # type: ignore[override]  # read only, here and there
        """How many handlers run now, those behind a fence included."""
        return self._lanes.running

    def turn(self, timeout: float) -> None:
        """Take in what has ended and answer what handlers ask; wait for the first so many seconds."""
        self._runner.turn(timeout)

    def handler(self, value: Any, ctx: Context) -> Any:  # noqa: ARG002 - as `step` calls any handler
        """Give what the handler gave for the record, and put what it put.

        Raises:
            NotYetError: it gave nothing yet, or an earlier record has changed what it had read.
        """
        job = self._job(ctx.record)
        if job is None or not job.ended or any(ctx.get(*place) != seen for place, seen in job.context.reads.items()):
            raise NotYetError("its handler")
        if job.error is not None:
            raise job.error
        ctx.outcome = job.context.outcome
        for (store, key), put in job.context.changes.items():
            ctx.put(cast("Store[Any, Any]", store), key, put)
        return job.result

    # ---- what is stepped next ----

    def begin(self, partition: TopicPartition, owned: Owned) -> None:
        """Put what is buffered into its lanes, as far as there is room."""
        ahead = self._of(partition.partition)
        for record in owned.buffer[bisect_left(owned.buffer, ahead.next, key=_OFFSET) :]:
            full = self._is_full(ahead.window) and record is not owned.buffer[0]  # the first one holds up all others
            if self._job(record) is None and (full or not self._add(owned, record, record.offset)):
                break
            ahead.next = record.offset + 1
        behind = bool(owned.buffer) and ahead.next <= owned.buffer[-1].offset
        if behind and not ahead.paused:
            self._consumer.pause([partition])
        elif ahead.paused and not behind:
            self._consumer.restart({partition: owned.buffer[-1].offset + 1 if owned.buffer else owned.done})
        ahead.paused = behind

    def has_news(self, partition: TopicPartition, owned: Owned) -> bool:
        """Tell whether a new record could begin now, or be stepped."""
        ahead, first, last = self._of(partition.partition), owned.buffer[0], owned.buffer[-1]
        job = self._job(first)
        if job is None or job.ended or self._needs_none(owned, first):
            return True
        return ahead.undecided is None and ahead.next <= last.offset and not self._is_full(ahead.window)

    def can_go_on(self, owned: Owned, record: RawRecord) -> bool:
        """Tell whether a record that waited or comes back could begin now, or be stepped."""
        job = self._job(record)
        if job is None:
            return self._is_free(owned, record)
        return job.ended or (not job.urgent and self._needs_none(owned, record))

    def ready(self, owned: Owned, batch: list[RawRecord]) -> list[RawRecord]:
        """Return the records of a batch that can be stepped, up to the first that cannot."""
        ready: list[RawRecord] = []
        changed: dict[Place, Any] = {}
        for record in batch:
            undecided = not ready and record.offset == self._of(record.partition).undecided  # `step` says what it needs
            if not (self._holds_good(owned, record, changed) or self._needs_none(owned, record) or undecided):
                break
            ready.append(record)
        return ready

    def retry(self, owned: Owned, due: list[RawRecord]) -> list[RawRecord]:
        """Begin records that waited, each as the next one of its lane; return those that can be stepped."""
        changed: dict[Place, Any] = {}
        for record in due:
            if self._job(record) is None and not self._add(owned, record, NOT_NEW, urgent=True):
                return [record]  # `step` says what it needs
        return [record for record in due if self._holds_good(owned, record, changed)]

    def come_back(self, owned: Owned, batch: list[RawRecord]) -> list[RawRecord]:
        """Begin records that come back, in their order; return those that can be stepped.

        One whose lane has work holds up those after it: if they ran, new records could wait for them, and they for new
        records.
        """
        begun: dict[int, RawRecord] = {}
        for record in batch:
            if record.offset in begun or not (
                self._job(record) or (self._is_free(owned, record) and self._add(owned, record, NOT_NEW))
            ):
                break
            begun[record.offset] = record
        return self.ready(owned, list(begun.values()) or batch[:1])

    # ---- what became of it ----

    def stepped(self, owned: Owned, records: Sequence[RawRecord]) -> None:
        """Note records that were dealt with, and let their lanes go on unless their keys wait."""
        for record in records:
            needless = self._of(record.partition).window.take(record.offset)
            if needless is not None:
                self._lanes.fence([needless])
            self._review(owned, lane_of(record))
        if self._suspects is not None:
            self._refused.update(spot for spot in map(_spot, records) if spot[1] in owned.answered)

    def review(self, partition: TopicPartition, owned: Owned) -> None:
        """Let the lanes of a partition go on whose keys wait no longer."""
        for lane in self._held(partition.partition):
            self._review(owned, lane)

    def committed(self) -> None:
        """Let go of everything that was stepped."""
        for ahead in self._ahead.values():
            ahead.window.committed()
        if self._suspects is not None:
            self._suspects.settle(self._refused)
            self._refused.clear()

    def hold(self, partition: TopicPartition, owned: Owned) -> None:
        """Begin nothing of a partition for now; what runs goes on, and its results are kept."""
        ahead = self._of(partition.partition)
        ahead.window.failed_with(HoldError)
        self._look_again(ahead)
        self.review(partition, owned)

    def rewind(self, partition: TopicPartition, owned: Owned) -> None:
        """Go back to the last commit, with the results that there are."""
        ahead = self._of(partition.partition)
        ahead.window.rewind()
        self._keep(partition)
        self._look_again(ahead)
        for lane in list(ahead.window.failing):
            self._lanes.hold(lane)
        self.review(partition, owned)

    def close(self, partition: TopicPartition) -> None:
        """Give a partition up: what runs ends into nothing."""
        self._keep(partition)
        ahead = self._ahead.pop(partition.partition, None)
        if ahead is not None:
            self._lanes.fence(ahead.window)
        for lane in self._held(partition.partition):
            self._lanes.release(lane)

    def killers(self, partition: TopicPartition) -> list[int]:
        """Return the offsets of records that killed their process often enough to be given up."""
        return [] if self._suspects is None else self._suspects.killers(partition.partition)

    def stop(self) -> None:
        """Begin nothing until `go_on`; what runs may end."""
        self._lanes.stop()

    def go_on(self) -> None:
        """Begin again what may begin."""
        self._lanes.go_on()

    def end(self) -> None:
        """Begin nothing and answer nobody any more."""
        self._lanes.close()

    def _keep(self, partition: TopicPartition) -> None:
        """Go on to know the killers of a partition: that they were given up is not committed."""
        self._refused = {spot for spot in self._refused if spot[0] != partition.partition}

    def _of(self, partition: int) -> _Ahead:
        return self._ahead.setdefault(partition, _Ahead())

    def _job(self, record: RawRecord) -> LaneJob | None:
        return self._of(record.partition).window.get(record.offset)

    def _held(self, partition: int) -> list[Lane]:
        return [lane for lane in self._lanes.held if lane[0] == partition]

    def _is_full(self, window: Window[LaneJob]) -> bool:
        return len(window) >= self._most_records or window.size >= self._most_bytes

    def _add(self, owned: Owned, record: RawRecord, position: int, *, urgent: bool = False) -> bool:
        """Put a record into its lane, unless its schema is not known."""
        ahead = self._of(record.partition)
        job = LaneJob(owned, record, self._processor.group, position, self._ask, urgent=urgent)
        job.context.now_ms = self._now_ms()
        job.alone = self._suspects is not None and _spot(record) in self._suspects
        try:
            self._set_call(job)
        except HoldError:
            ahead.undecided = record.offset
            return False
        if ahead.undecided == record.offset:
            ahead.undecided = None
        ahead.window.put(record.offset, job)
        if _is_blocked(owned, job.lane):
            self._lanes.hold(job.lane)
        self._lanes.add(job)
        return True

    def _set_call(self, job: LaneJob) -> None:
        """Have a job call the handler; for a record that failed already, fail when its turn comes."""
        error = job.owned.refusals.get(job.record.offset)
        value = job.owned.task.decode([job.record])[0] if error is None else error
        if isinstance(value, RecordError):
            job.call = partial(_fail, value)
        elif value is not None or self._processor.wants_tombstones:
            job.call = partial(self._processor.handler, value, job.context)

    def _ask(self, job: LaneJob, place: Place) -> Any:
        return self._runner.ask(lambda: self._look_up(job, place))

    def _look_up(self, job: LaneJob, place: Place) -> Any:
        """Return a value as an earlier record left it whose result is not taken yet, or as the task has it."""
        if job.fenced:
            raise RevokedError
        before = [
            other
            for other in self._of(job.record.partition).window.untaken()
            if other.position < job.position and other.ended and other.error is None and place in other.context.changes
        ]
        if before:
            return max(before, key=_POSITION).context.changes[place]
        return job.owned.task.state.get(*place)

    def _finished(self, job: LaneJob) -> None:
        """Check what a handler gave before the next one of its lane begins."""
        size = 0
        if job.error is None:
            try:
                size = job.owned.task.check(job.record, job.result)
            except RecordError as error:
                job.error, job.result = error, None
        self._of(job.record.partition).window.ended(job, size)

    def _holds_good(self, owned: Owned, record: RawRecord, changed: dict[Place, Any]) -> bool:
        """Tell whether there is a result made of what the state is after these changes; else have it made anew."""
        job = self._job(record)
        if job is None or not job.ended:
            return False
        get = owned.task.state.get
        for place, seen in job.context.reads.items():
            if (changed[place] if place in changed else get(*place)) != seen:
                if not changed:
                    self._add(owned, record, job.position, urgent=True)
                return False
        if job.error is None:
            changed |= job.context.changes
        return True

    def _needs_none(self, owned: Owned, record: RawRecord) -> bool:
        """Tell whether a record will only be put behind others of its key that wait."""
        job = self._job(record)
        return job is not None and not job.running and not job.ended and _is_blocked(owned, job.lane)

    def _is_free(self, owned: Owned, record: RawRecord) -> bool:
        """Tell whether a record that comes back may be put into its lane."""
        lane = lane_of(record)
        return self._lanes.is_idle(lane) or _is_blocked(owned, lane)

    def _review(self, owned: Owned, lane: Lane) -> None:
        if lane in self._lanes.held and not self._of(lane[0]).window.failing[lane] and not _is_blocked(owned, lane):
            self._lanes.release(lane)

    def _look_again(self, ahead: _Ahead) -> None:
        """Forget what did not begin: it is read again, and begins in the order of its offsets."""
        self._lanes.fence(ahead.window.unbegun())
        ahead.next, ahead.undecided, ahead.paused = 0, None, False


def _is_blocked(owned: Owned, lane: Lane) -> bool:
    waiting, key = owned.task.waiting, lane[1]
    return waiting is not None and isinstance(key, bytes) and waiting.blocks(key)


def _spot(record: RawRecord) -> Spot:
    return record.partition, record.offset


def _fail(error: RecordError) -> NoReturn:
    raise error
