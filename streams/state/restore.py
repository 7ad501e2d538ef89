"""Bringing local state up to date: changelogs once, tables for ever. No client in here; a reader is passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import structlog

from streams.failpoints import Failpoint, reach
from streams.record import Polled, Positions, RawRecord, TopicPartition, runs
from streams.state.task_state import TaskState

_log = structlog.get_logger(__name__)

BATCH = 5_000  # records per poll; each source's part of it is one write


class Reader(Protocol):
    """An assign-only consumer of committed records."""

    def follow(self, positions: Positions) -> None:
        """Read these partitions too."""

    def unfollow(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these partitions no longer."""

    def poll(self, most: int, timeout: float) -> Polled:
        """Take what is there."""


class Fed(Protocol):
    """Somebody else's records that come by the same reader."""

    @property
    def done(self) -> int | None:
        """The offset to read from."""

    def receive(self, records: Sequence[RawRecord]) -> None:
        """Take records of one partition in their order."""

    def reach_end(self, offset: int) -> None:
        """Hear that the partition ends here for now."""


class Bounds(NamedTuple):
    """What a partition holds: `start` up to and without `end`, the high watermark of READ_UNCOMMITTED."""

    start: int
    end: int


class Restorer:
    """Follows the changelogs and tables of every task of a worker. Not thread-safe."""

    def __init__(
        self, reader: Reader, bounds: Callable[[Iterable[TopicPartition]], Mapping[TopicPartition, Bounds]]
    ) -> None:
        """`bounds` asks the cluster; it must be called after the committed offsets of the input are known."""
        self._reader = reader
        self._bounds = bounds
        self._states: dict[TopicPartition, TaskState] = {}
        self._targets: dict[TopicPartition, int] = {}
        self._at: dict[TopicPartition, int] = {}  # how far they are
        self._fed: dict[TopicPartition, Fed] = {}

    def begin(self, states: Iterable[TaskState]) -> None:
        """Take up the sources of tasks that were just opened; unusable local state is dropped and read anew."""
        opened = list(states)
        bounds = self._bounds([source for state in opened for source in state.sources()])
        following: dict[TopicPartition, int | None] = {}
        for state in opened:
            following |= self._take_up(state, {source: bounds[source] for source in state.sources()})
        if following:  # all at once: each call goes through every partition that is followed
            self._reader.follow(following)

    def _take_up(self, state: TaskState, bounds: Mapping[TopicPartition, Bounds]) -> dict[TopicPartition, int]:
        """Note how far one task has to read, and return what of it is to be followed from where."""
        if any(not _continues(position, bounds[tp]) for tp, position in state.sources().items()):
            _log.warning("state wiped", reason="its topics do not continue it", topics=[tp.topic for tp in bounds])
            state.wipe()
        begin = {tp: bounds[tp].start if at is None else at for tp, at in state.sources().items()}
        self._states.update(dict.fromkeys(bounds, state))
        behind = {tp: at for tp, at in begin.items() if at < bounds[tp].end}
        self._targets.update({tp: bounds[tp].end for tp in behind})
        self._at.update(behind)
        return {tp: at for tp, at in begin.items() if tp in behind or state.is_table(tp)}

    def poll(self, timeout: float = 0.0) -> None:
        """Apply what the reader has; each source's rows and position in one write."""
        if not self._states and not self._fed:
            return
        polled = self._reader.poll(BATCH, timeout)
        rows: dict[TopicPartition, list[RawRecord]] = {}
        for source, run in runs(polled.records):
            rows.setdefault(source, []).extend(run)
        for source, records in rows.items():
            if source in self._fed:
                self._fed[source].receive(records)
                continue
            self._states[source].follow(source, records, records[-1].offset + 1)
            if source in self._targets:
                reach(Failpoint.RESTORING)
            self._reached(source, records[-1].offset + 1)
        for source, end in polled.ends.items():
            if source in self._fed:
                self._fed[source].reach_end(end)
                continue
            self._states[source].follow(source, [], end)
            self._reached(source, end)

    def is_ready(self, state: TaskState) -> bool:
        """Tell whether every source of a task was read to its target."""
        return not any(source in self._targets for source in state.sources())

    def remaining(self) -> dict[TopicPartition, int]:
        """Return the offset that each unfinished source has to be read to."""
        return dict(self._targets)

    def left(self, state: TaskState) -> int:
        """Return how many offsets the sources of a task are away from their targets; from any thread."""
        targets = [(tp, target) for tp in state.sources() if (target := self._targets.get(tp)) is not None]
        return sum(max(0, target - self._at.get(tp, target)) for tp, target in targets)

    def forget(self, states: Iterable[TaskState]) -> None:
        """Stop reading for tasks that are given up."""
        sources = [source for state in states for source in state.sources() if source in self._states]
        for source in sources:
            del self._states[source]
            self._targets.pop(source, None)
            self._at.pop(source, None)
        self._reader.unfollow(sources)

    def feed(self, fed: Mapping[TopicPartition, Fed]) -> None:
        """Give somebody the records of each partition, from where it is done."""
        if fed:
            self._fed.update(fed)
            self._reader.follow({source: one.done for source, one in fed.items()})

    def unfeed(self, sources: Iterable[TopicPartition]) -> None:
        """Stop giving."""
        given = [source for source in sources if self._fed.pop(source, None) is not None]
        if given:
            self._reader.unfollow(given)

    def _reached(self, source: TopicPartition, position: int) -> None:
        """Note progress. The end event counts too: the last record may be a marker or have been compacted away."""
        target = self._targets.get(source)
        if target is None:
            return
        if position < target:
            self._at[source] = position
            return
        del self._targets[source], self._at[source]
        if not self._states[source].is_table(source):
            self._reader.unfollow([source])


def _continues(position: int | None, bounds: Bounds) -> bool:
    """Tell whether a topic still is the one that a position was taken from, as far as offsets can tell."""
    return position is None or bounds.start <= position <= bounds.end
