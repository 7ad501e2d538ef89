"""A partition that a worker owns: what was polled and not yet stepped, how far it is, and what holds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from streams.errors import RecordError
from streams.record import RawRecord
from streams.task import Task


class Hold(NamedTuple):
    """Why a partition may not go on, in words, and whether it may again; `retries` says that what waits goes on."""

    reason: str
    released: Callable[[], bool]
    retries: bool = False


class Feed:
    """Records of one partition on their way to the task: polled, buffered, dealt with, committed.

    `committed` is where an abort goes back to, `done` is the next offset to deal with; None is the beginning.
    """

    def __init__(self, committed: int | None) -> None:
        self.committed = committed
        self.done = committed
        self.buffer: list[RawRecord] = []
        self._end: int | None = None

    @property
    def end(self) -> int | None:
        """The end that was reached, if everything before it is not dealt with yet or it is never committed."""
        return self._end

    def receive(self, records: Sequence[RawRecord]) -> None:
        """Take polled records of this partition in their order, without those dealt with or buffered before."""
        expected = self.buffer[-1].offset + 1 if self.buffer else self.done or 0
        first, last = records[0].offset, records[-1].offset
        if first >= expected and last - first >= len(records) - 1:
            self.buffer += records
            return
        for record in records:
            if record.offset >= expected:
                self.buffer.append(record)
                expected = record.offset + 1

    def reach_end(self, offset: int) -> None:
        """Note that the partition ends here for now, perhaps behind a transaction marker."""
        self._end = offset

    def take_end(self) -> int | None:
        """Return the end offset once everything before it is dealt with (INV-10)."""
        if self.buffer or self._end is None:
            return None
        end, self._end = self._end, None
        if end <= (self.done or 0):
            return None
        self.done = end
        return end

    def advance(self, records: int) -> None:
        """Note that the first records of the buffer are dealt with."""
        if records:
            self.done = self.buffer[records - 1].offset + 1
            del self.buffer[:records]

    def drop(self) -> None:
        """Forget what is buffered; it is read again. An end seen behind it would pass for its being done."""
        self.buffer.clear()
        self._end = None

    def rewind(self) -> None:
        """Forget everything since the last commit."""
        self.done = self.committed
        self.drop()


class Owned(Feed):
    """The progress of one task between poll and commit."""

    def __init__(self, task: Task, committed: int | None) -> None:
        super().__init__(committed)
        self.task = task
        self.ready = False
        self.hold: Hold | None = None
        self.refusals: dict[int, RecordError] = {}  # offsets whose outputs the broker would not take
        self.answered: set[int] = set()  # those of them that were refused since the last commit

    @property
    def free(self) -> bool:
        """Tell whether records may be stepped, if there are any."""
        return self.ready and self.hold is None

    @property
    def retries(self) -> bool:
        """Tell whether records that wait may be tried again."""
        return self.ready and (self.hold is None or self.hold.retries)

    @property
    def runnable(self) -> bool:
        """Tell whether there is a record to step."""
        return bool(self.buffer) and self.ready and self.hold is None

    def take_end(self) -> int | None:
        """Return the end offset once everything before it is dealt with and the task runs."""
        return super().take_end() if self.ready else None

    def batch(self, most: int) -> list[RawRecord]:
        """Return the next records to step: one alone if it is to be refused, else all before the next such one."""
        return self.before_refusal(self.buffer[:most])

    def before_refusal(self, batch: list[RawRecord]) -> list[RawRecord]:
        """Cut a batch off before a record that is to be refused, or after it if it is the first."""
        for index, record in enumerate(batch) if self.refusals else ():
            if record.offset in self.refusals:
                return batch[: index or 1]
        return batch

    def settle(self) -> None:
        """Note that a commit took what was refused; whoever comes again, from what waits or back, is tried again."""
        for at in self.answered:
            del self.refusals[at]
        self.answered.clear()

    def resume(self) -> None:
        """Run, reading on from `done`; what was buffered meanwhile, an end event too, is read again."""
        self.ready, self.hold = True, None
        self.drop()

    def rewind(self) -> None:
        """Forget everything since the last commit."""
        super().rewind()
        self.hold = None
        self.answered.clear()
        self.task.discard()
