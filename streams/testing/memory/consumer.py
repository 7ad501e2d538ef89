"""The reading clients: the group's member and the assign-only reader of changelogs and tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from streams.record import Polled, Positions, RawRecord, TopicPartition
from streams.testing.memory.group import Group, Membership
from streams.testing.memory.log import Log


class Cursor:
    """Where one reader stands in one partition."""

    def __init__(self, log: Log, partition: TopicPartition, position: int | None) -> None:
        self._log = log
        self._held = log.held(partition)
        self.partition = partition
        self.paused = False
        self.seek(position)

    def seek(self, position: int | None) -> None:
        """Read on from an offset; None is the beginning."""
        self.position = position or 0
        self._end_told: int | None = None

    def news(self) -> bool:
        """Tell whether there is something to read or an end to be told of."""
        held = self._held
        end = held.stable_end() if held.undecided else len(held.entries)
        return end != self._end_told and not self.paused

    def take(self, most: int) -> tuple[list[RawRecord], int | None]:
        """Return the next records, and the end offset if this reader just reached it."""
        if not self.news():
            return [], None
        end = self._held.stable_end()
        records = self._log.read(self.partition, self.position, most) if self.position < end else []
        if records:
            self.position = records[-1].offset + 1
        if len(records) == most or end < self.position:
            return records, None
        self.position, self._end_told = max(self.position, end), end
        return records, end


class _Cursors:
    """The cursors of one client, and whether there may be anything for them to read."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._quiet_at = -1  # the log's count of changes when a poll found nothing
        self.cursors: dict[TopicPartition, Cursor] = {}

    def has_news(self) -> bool:
        """Tell whether a poll would return something."""
        if self._quiet_at == self._log.changes:
            return False
        for cursor in self.cursors.values():
            if cursor.news():
                return True
        self._quiet_at = self._log.changes
        return False

    def _read(self, most: int) -> Polled:
        records: list[RawRecord] = []
        ends: dict[TopicPartition, int] = {}
        if self._quiet_at == self._log.changes:
            return Polled(records, ends)
        for cursor in self.cursors.values():
            taken, end = cursor.take(most - len(records)) if len(records) < most else ([], None)
            records += taken
            if end is not None:
                ends[cursor.partition] = end
        self._quiet_at = -1 if records or ends else self._log.changes
        return Polled(records, ends)

    def _begin(self, positions: Positions) -> None:
        self.cursors.update({tp: Cursor(self._log, tp, at) for tp, at in positions.items()})
        self._quiet_at = -1


class MemoryReader(_Cursors):
    """The assign-only reader; takes `most` records at a time, so that a restore can take several polls."""

    def __init__(self, log: Log, most: int = 5_000) -> None:
        super().__init__(log)
        self._most = most

    def follow(self, positions: Positions) -> None:
        """Read these partitions too."""
        self._begin(positions)

    def unfollow(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these partitions no longer."""
        for partition in list(partitions):
            self.cursors.pop(partition, None)

    def poll(self, most: int, timeout: float) -> Polled:
        """Take what is there; time does not pass."""
        del timeout
        return self._read(min(most, self._most))


class MemoryConsumer(_Cursors):
    """A member of the group; `called` hears of every call before it has an effect, and may fail it."""

    def __init__(self, group: Group, called: Callable[[str], None] = lambda _name: None) -> None:
        super().__init__(group.log)
        self._group = group
        self._called = called
        self._events: deque[tuple[str, list[TopicPartition]]] = deque()
        self.listener: Any = None
        self.in_group = True
        self._taking: list[TopicPartition] = []  # what it is being told of just now
        self.raised: BaseException | None = None

    def tell(self, event: str, partitions: list[TopicPartition]) -> None:
        """Queue an event of the coordinator for the next poll."""
        self._events.append((event, partitions))

    def untold(self) -> set[TopicPartition]:
        """Return the partitions that it owns without knowing it."""
        return {tp for event, partitions in self._events if event == "assigned" for tp in partitions}

    def holds(self, partition: TopicPartition) -> bool:
        """Tell whether it reads a partition."""
        return partition in self.cursors or partition in self._taking

    def forget_events(self) -> None:
        """Drop what was not told."""
        self._events.clear()

    def has_news(self) -> bool:
        """Tell whether a poll would return or do something."""
        return bool(self._events) or super().has_news()

    def redeliver(self, records: int) -> None:
        """Deliver the last records of every partition again, as after a fetch that was repeated."""
        for cursor in self.cursors.values():
            cursor.seek(max(0, cursor.position - records))
        self._quiet_at = -1

    def poll(self, most: int, timeout: float) -> Polled:
        """Hear of rebalances, then take what is there; time does not pass."""
        del timeout
        self._called("poll")
        while self._events:
            self._handle(*self._events.popleft())
        if self.raised is not None:
            raised, self.raised = self.raised, None
            raise raised
        return self._read(most)

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> dict[TopicPartition, int | None]:
        """Return the group's committed offsets."""
        del timeout
        self._called("committed")
        return self._log.stable_offsets(self._group.name, partitions)

    def assign(self, positions: Positions) -> None:
        """Begin to read partitions."""
        self._begin(positions)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop delivering partitions."""
        for partition in partitions:
            self.cursors[partition].paused = True

    def restart(self, positions: Positions) -> None:
        """Read from these positions, whether paused or not."""
        for partition, position in positions.items():
            self.cursors[partition].paused = False
            self.cursors[partition].seek(position)
        self._quiet_at = -1

    def group_metadata(self) -> Membership:
        """Return what proves the membership."""
        return Membership(self._group.name, self)

    def close(self) -> None:
        """Leave the group, giving up everything."""
        if self.cursors:
            self._handle("revoked", list(self.cursors))
        self._group.leave(self)

    def _handle(self, event: str, partitions: list[TopicPartition]) -> None:
        if event == "lost":
            self.in_group = True  # it has joined again by the time it is told: only the worker itself can hold back
        self._taking = partitions if event == "assigned" else []
        try:
            getattr(self.listener, f"on_{event}")(partitions)
        except Exception as error:  # noqa: BLE001 - as the real consumer: poll raises it
            self.raised = self.raised or error
        self._taking = []
        if event == "assigned":
            return
        for partition in partitions:
            self.cursors.pop(partition, None)
            if event == "revoked":
                self._group.released(partition, self)
