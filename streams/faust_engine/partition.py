"""One partition: its records in their order through the task, their outputs out, and then the offset that is safe."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from typing import NamedTuple

from streams.errors import (
    HoldError,
    IncompatibleError,
    KilledError,
    RetryLaterError,
    SendError,
    UnknownSchemaError,
)
from streams.failures.journal import Journal
from streams.failures.log import FailureLog
from streams.health.progress import Activity
from streams.owned import Hold, Owned
from streams.record import RawRecord, TopicPartition
from streams.schema_lookup import SchemaLookup
from streams.stepper import outcomes
from streams.task import Step, Task

STEP = 0.1  # seconds of handlers before others have their turn
LOOK = 0.05  # seconds between two looks at what holds a partition
FULL = 5_000  # buffered records from which nothing more is fetched, until half of them are gone


class Surroundings(NamedTuple):
    """What the partitions of a worker share.

    `send` raises SendError for a record that is refused for good. `press` says of a partition that it is full, or no
    longer.
    """

    send: Callable[[Sequence[RawRecord]], Awaitable[None]]
    press: Callable[[TopicPartition, bool], None]
    lookup: SchemaLookup
    journal: Journal | None
    failures: FailureLog
    activity: Activity
    counts: Counter[str]
    batch: int
    clock: Callable[[], float] = time.monotonic
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000


class Partition:
    """Steps the records of one partition, one batch after the other; `run` is its coroutine."""

    def __init__(self, source: TopicPartition, task: Task, around: Surroundings) -> None:
        self.source = source
        self.owned = Owned(task, None)
        self.owned.ready = True
        self._around = around
        self._arrived = asyncio.Event()
        self._ending = False
        self._sending = False
        self._full = False
        self._alone_until = 0  # records before this offset are stepped one by one: one of them is to blame
        self._suspect(source.partition)

    def receive(self, record: RawRecord) -> None:
        """Take a record; those dealt with or buffered before are left out."""
        owned = self.owned
        if owned.done is None:  # the group stands here, or behind what is no record
            owned.done = owned.committed = record.offset
        owned.receive([record])
        self._arrived.set()
        if len(owned.buffer) >= FULL:
            self._full = True
            self._around.press(self.source, True)

    async def run(self) -> None:
        """Step what arrives until `finish`.

        Raises:
            StreamsError: the worker cannot go on.
        """
        while not self._ending:
            if self.owned.buffer:
                await self._turn()
                await asyncio.sleep(0)
            else:
                self._arrived.clear()
                await self._arrived.wait()

    async def finish(self, running: asyncio.Task[None], patience: float) -> None:
        """Begin nothing more, and wait until what was sent is acknowledged, so many seconds at the most."""
        self._ending = True
        if self._sending:
            await asyncio.wait([running], timeout=patience)
        running.cancel()
        with suppress(asyncio.CancelledError, Exception):  # whoever looks after the tasks tells of errors
            await running

    async def _turn(self) -> None:
        owned, around = self.owned, self._around
        alone = owned.buffer[0].offset < self._alone_until
        batch = owned.batch(1 if alone else around.batch)
        step = self._step(batch)
        around.failures.tell(owned.task.failures.take_told())
        if step.consumed:
            try:
                self._sending = True
                await around.send(step.outputs)
            except SendError as refused:
                self._blame(batch[: step.consumed], refused)
                return
            finally:
                self._sending = False
            self._advance(step)
        if step.hold is not None:
            await self._wait(step.hold)

    def _step(self, batch: Sequence[RawRecord]) -> Step:
        around, task = self._around, self.owned.task
        refusal, until = self.owned.refusals.get(batch[0].offset), around.clock() + STEP
        if refusal is not None:
            return task.refuse(batch[0], refusal, around.now_ms())
        around.activity.begin_step(self.source)
        with around.journal.attempt(self.source.partition, batch) if around.journal is not None else nullcontext():
            step = task.step(batch, lambda: around.clock() > until, around.now_ms())
        around.activity.end_step(step.consumed)
        return step

    def _advance(self, step: Step) -> None:
        owned = self.owned
        owned.advance(step.consumed)
        self._around.counts.update(outcomes(step))
        if self._full and len(owned.buffer) <= FULL // 2:
            self._full = False
            self._around.press(self.source, False)

    def _blame(self, batch: Sequence[RawRecord], refused: SendError) -> None:
        """Find the record whose output was refused, and have it refused in turn; those before it are sent again.

        Raises:
            IncompatibleError: its dead letter is refused as well.
        """
        first = batch[0]
        if len(batch) > 1:
            self._alone_until = batch[-1].offset + 1
        elif first.offset not in self.owned.refusals:
            self.owned.refusals[first.offset] = refused
        else:
            raise IncompatibleError(
                f"a record that failed cannot be kept: {refused}",
                where=f"{first.topic}[{first.partition}] offset {first.offset}",
                fix=f"{refused.fix or 'look at the topic for dead letters'}; the record stays uncommitted until then",
            )

    async def _wait(self, hold: HoldError) -> None:
        """Wait until the next record can be dealt with; only this partition does."""
        ready = self._readiness(hold)
        self.owned.hold = Hold(str(hold), ready)
        try:
            while not ready():  # noqa: ASYNC110 - the answer comes by time or from a thread
                await asyncio.sleep(LOOK)
        finally:
            self.owned.hold = None

    def _readiness(self, hold: HoldError) -> Callable[[], bool]:
        around = self._around
        if isinstance(hold, UnknownSchemaError):
            schema_id = hold.schema_id
            around.lookup.request(schema_id)
            return lambda: not around.lookup.is_waiting(schema_id)
        if isinstance(hold, RetryLaterError):
            due_ms = hold.due_ms
            return lambda: around.now_ms() >= due_ms
        return hold.ready

    def _suspect(self, number: int) -> None:
        """Step alone what processes died over before, and refuse the one that killed enough of them."""
        journal = self._around.journal
        before = None if journal is None else journal.before
        if journal is None or before is None or before.partition != number:
            return
        if before.deaths > 1:
            self._alone_until = before.last + 1
        killer = journal.killer(number)
        if killer is not None:
            self.owned.refusals[killer] = KilledError()
