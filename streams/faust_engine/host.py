"""All partitions of one processor in a Faust app: who owns them, what of them is safe, and what went wrong.

Faust tells of rebalances by signals and hands every partition's records to one stream; from there each partition goes
its own way, so that one that is held does not hold up the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog

from streams.errors import StreamsError
from streams.faust_engine.partition import Partition
from streams.health.progress import Activity
from streams.owned import Owned
from streams.partitions import numbers
from streams.record import RawRecord, TopicPartition

_log = structlog.get_logger(__name__)

Commit = Callable[[Mapping[TopicPartition, int]], Awaitable[bool]]


class Host:
    """Runs the partitions that this process owns; used in one event loop, looked at from other threads."""

    def __init__(
        self,
        open_partition: Callable[[TopicPartition], Partition],
        commit: Commit,
        activity: Activity,
        counts: Counter[str],
        patience: float,
    ) -> None:
        """`commit` says whether the offsets were taken; a rebalance waits `patience` seconds for what is being sent."""
        self.activity = activity
        self.counts = counts
        self._open = open_partition
        self._commit = commit
        self._patience = patience
        self._partitions: dict[TopicPartition, Partition] = {}
        self._running: dict[TopicPartition, asyncio.Task[None]] = {}
        self._failed: BaseException | None = None

    @property
    def owned(self) -> Mapping[TopicPartition, Owned]:
        """The partitions that it owns."""
        return {source: partition.owned for source, partition in self._partitions.items()}

    def left_to_restore(self, owned: Owned) -> int:
        """There is no state to restore."""
        del owned
        return 0

    def receive(self, record: RawRecord) -> None:
        """Take a record of a partition that is owned."""
        self._partition(record.origin).receive(record)

    def assigned(self, sources: Iterable[TopicPartition]) -> None:
        """Take over partitions; all that were there before were given up."""
        self.activity.joined = True
        taken = sorted(sources)
        for source in taken:
            self._partition(source)
        _log.info("assigned", partitions=numbers(taken))

    async def revoked(self) -> None:
        """Commit, then close (INV-6): Faust gives all partitions up before each rebalance."""
        self.activity.joined = False
        await self.drain(self._patience)
        if self._partitions:
            _log.info("revoked", partitions=numbers(list(self._partitions)))
        self._partitions.clear()
        self._running.clear()

    async def drain(self, patience: float) -> None:
        """Begin nothing more, let what is sent be acknowledged, and commit it."""
        running = self._running
        await asyncio.gather(*(self._partitions[source].finish(task, patience) for source, task in running.items()))
        if self._failed is None:
            await self.commit()

    async def commit(self) -> None:
        """Commit what is dealt with (INV-10: the own table of `offset + 1`)."""
        owned = self.owned
        marks = {at: one.done for at, one in owned.items() if one.done is not None and one.done != one.committed}
        if not marks:
            return
        self.activity.begin_commit()
        if await self._commit(marks):
            for source, done in marks.items():
                owned[source].committed = done
            self.activity.end_commit()

    def fail(self, error: BaseException) -> None:
        """Note what ends the worker, whatever comes later."""
        self._failed = self._failed or error

    def check(self) -> None:
        """Tell what ended a partition.

        Raises:
            StreamsError: the worker cannot go on.
        """
        if isinstance(self._failed, StreamsError):
            raise self._failed
        if self._failed is not None:
            raise RuntimeError("a partition failed") from self._failed

    def _partition(self, source: TopicPartition) -> Partition:
        found = self._partitions.get(source)
        if found is None:
            found = self._partitions[source] = self._open(source)
            running = self._running[source] = asyncio.create_task(found.run(), name=f"partition {source.partition}")
            running.add_done_callback(self._ended)
        return found

    def _ended(self, running: asyncio.Task[None]) -> None:
        error = None if running.cancelled() else running.exception()
        if error is not None:
            self.fail(error)
