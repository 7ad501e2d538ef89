"""The partitions that a worker owns: opened, restored, held, released, rewound and given up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import structlog

from streams.failpoints import Failpoint, reach
from streams.failures.redrives import Redrives
from streams.lanes.handling import Handling
from streams.owned import Feed, Hold, Owned
from streams.ports import Input
from streams.record import TopicPartition
from streams.state.restore import Restorer
from streams.state.task_state import TaskState
from streams.task import Task

_log = structlog.get_logger(__name__)


class Partitions:
    """Every owned partition with its task, and its re-drive partition beside it."""

    def __init__(
        self,
        consumer: Input,
        restorer: Restorer,
        open_task: Callable[[TopicPartition], Task],
        handling: Handling,
        redrive_topic: str | None,
        stable_timeout: float,
    ) -> None:
        """`redrive_topic` is None where nothing comes back; `stable_timeout` bounds the wait for owners before."""
        self._consumer = consumer
        self._restorer = restorer
        self._open_task = open_task
        self._handling = handling
        self._redrive_topic = redrive_topic
        self._stable_timeout = stable_timeout
        self.owned: dict[TopicPartition, Owned] = {}
        self.redrives: dict[TopicPartition, Redrives] = {}
        self.states: dict[TopicPartition, TaskState] = {}

    def open(self, partitions: Sequence[TopicPartition]) -> None:
        """Take over partitions: committed offsets first, then the bounds of what is restored (the order matters).

        With the bounds first, a transaction that commits in between would give newer offsets than state.
        """
        beside = {partition: back for partition in partitions if (back := self.beside(partition)) is not None}
        committed = self._consumer.committed([*partitions, *beside.values()], self._stable_timeout)
        reach(Failpoint.OFFSETS_KNOWN)
        opened = {partition: Owned(self._open_task(partition), committed[partition]) for partition in partitions}
        self._consumer.assign({partition: owned.committed for partition, owned in opened.items()})
        self.owned.update(opened)
        self.redrives.update({back: Redrives(committed[back]) for back in beside.values()})
        self.states.update({partition: owned.task.state for partition, owned in opened.items()})
        for partition, owned in opened.items():
            redrives = self.redrives_of(partition)
            owned.task.state.restore_until(owned.committed, None if redrives is None else redrives.committed)
        self._restorer.begin([owned.task.state for owned in opened.values()])
        self._start({tp: owned for tp, owned in opened.items() if self._restorer.is_ready(owned.task.state)})
        waiting = [partition for partition, owned in opened.items() if not owned.ready]
        if waiting:
            self._consumer.pause(waiting)
        _log.info("assigned", partitions=numbers(partitions), restoring=numbers(waiting))

    def beside(self, partition: TopicPartition) -> TopicPartition | None:
        """Return the re-drive partition of an input partition."""
        return None if self._redrive_topic is None else TopicPartition(self._redrive_topic, partition.partition)

    def redrives_of(self, partition: TopicPartition) -> Redrives | None:
        """Return what comes back to an input partition."""
        back = self.beside(partition)
        return None if back is None else self.redrives[back]

    def runnable(self) -> list[tuple[TopicPartition, Owned]]:
        """Return the partitions that have a record to step."""
        return [(partition, owned) for partition, owned in self.owned.items() if owned.buffer and owned.runnable]

    def free(self) -> Iterator[tuple[TopicPartition, Owned]]:
        """Yield the partitions that are neither restored nor held."""
        for partition, owned in list(self.owned.items()):
            if owned.free:
                yield partition, owned

    def hold(self, partition: TopicPartition, hold: Hold) -> None:
        """Let a partition wait; polling goes on without it."""
        owned = self.owned[partition]
        if owned.hold is None or owned.hold.reason != hold.reason:
            level = logging.WARNING if hold.retries else logging.INFO  # waiting for a schema takes a moment, mostly
            _log.log(level, "held", partition=partition.partition, reason=hold.reason)
        owned.hold = hold
        self._handling.hold(partition, owned)
        self._consumer.pause([partition])

    def released(self) -> list[tuple[TopicPartition, Owned]]:
        """Return the partitions that may go on: their state is restored, or what held them has passed."""
        waiting = [(tp, owned) for tp, owned in self.owned.items() if not owned.ready or owned.hold is not None]
        return [(tp, owned) for tp, owned in waiting if self._is_released(owned)]

    def release(self) -> None:
        """Let them run, and read on."""
        released = self.released()
        self._start({partition: owned for partition, owned in released if not owned.ready})
        for _, owned in released:
            owned.resume()
        if released:
            self._consumer.restart({partition: owned.done for partition, owned in released})
            _log.info("running", partitions=numbers([partition for partition, _ in released]))

    def rewind(self) -> None:
        """Go back to the last commit."""
        for partition, owned in self.owned.items():
            owned.rewind()
            self._handling.rewind(partition, owned)
        for redrives in self.redrives.values():
            redrives.rewind()
        read = {back: redrives for back, redrives in self.redrives.items() if redrives.reading}
        self._restorer.unfeed(read)
        self._restorer.feed(read)
        running = {partition: owned.committed for partition, owned in self.owned.items() if owned.ready}
        if running:
            self._consumer.restart(running)

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Note the committed offsets of inputs and of what comes back."""
        for partition, offset in offsets.items():
            feed: Feed = self.owned[partition] if partition in self.owned else self.redrives[partition]
            feed.committed = offset
        for owned in self.owned.values():
            owned.settle()

    def read_redrives(self) -> None:
        """Read on where everything that came back is dealt with."""
        for back, redrives in self.redrives.items():
            if redrives.reading and redrives.full:
                self._restorer.unfeed([back])
                redrives.reading = False
            elif redrives.started and not redrives.reading and not redrives.buffer:
                self._restorer.feed({back: redrives})
                redrives.reading = True

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        """Give partitions up; what is not committed is gone."""
        gone = {partition: self.owned.pop(partition) for partition in partitions if partition in self.owned}
        for partition in gone:
            self._handling.close(partition)
            del self.states[partition]
        backs = [back for partition in gone if (back := self.beside(partition)) is not None]
        self._restorer.unfeed(backs)
        for back in backs:
            del self.redrives[back]
        self._restorer.forget([owned.task.state for owned in gone.values()])
        for owned in gone.values():
            owned.task.state.discard()
            owned.task.state.close()

    def _start(self, ready: Mapping[TopicPartition, Owned]) -> None:
        """Begin to run partitions whose state is restored; all at once: the reader is told once."""
        for owned in ready.values():
            owned.ready = True
            if owned.task.waiting is not None:
                owned.task.waiting.load()
        backs = [back for partition in ready if (back := self.beside(partition)) is not None]
        self._restorer.feed({back: self.redrives[back] for back in backs})
        for back in backs:
            self.redrives[back].started = self.redrives[back].reading = True

    def _is_released(self, owned: Owned) -> bool:
        if not owned.ready:
            return self._restorer.is_ready(owned.task.state)
        return owned.hold is not None and owned.hold.released()


def numbers(partitions: Sequence[TopicPartition]) -> list[int]:
    """Return the partitions' numbers, for the log."""
    return sorted(partition.partition for partition in partitions)
