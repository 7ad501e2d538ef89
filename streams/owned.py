"""A partition that a worker owns: what was polled and not yet stepped, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence

from streams.errors import RecordError
from streams.record import RawRecord
from streams.task import Task


class Owned:
    """The progress of one task between poll and commit.

    `committed` is where an abort goes back to, `done` is the next offset to deal with; None is the beginning.
    """

    def __init__(self, task: Task, committed: int | None) -> None:
        self.task = task
        self.committed = committed
        self.done = committed
        self.buffer: list[RawRecord] = []
        self.ready = False
        self.missing: int | None = None  # the schema id that the next record waits for
        self.refusals: dict[int, RecordError] = {}  # offsets whose outputs the broker would not take
        self._end: int | None = None

    @property
    def runnable(self) -> bool:
        """Tell whether there is a record to step."""
        return bool(self.buffer) and self.ready and self.missing is None

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
        if self.buffer or self._end is None or not self.ready:
            return None
        end, self._end = self._end, None
        if end <= (self.done or 0):
            return None
        self.done = end
        return end

    def batch(self, most: int) -> list[RawRecord]:
        """Return the next records to step: one alone if it is to be refused, else all before the next such one."""
        batch = self.buffer[:most]
        for index, record in enumerate(batch) if self.refusals else ():
            if record.offset in self.refusals:
                return batch[: index or 1]
        return batch

    def advance(self, records: int) -> None:
        """Note that the first records of the buffer are dealt with."""
        if records:
            self.done = self.buffer[records - 1].offset + 1
            del self.buffer[:records]

    def resume(self) -> None:
        """Run, reading on from `done`; what was buffered meanwhile, an end event too, is read again."""
        self.ready, self.missing = True, None
        self._drop()

    def rewind(self) -> None:
        """Forget everything since the last commit."""
        self.done, self.missing = self.committed, None
        self._drop()
        self.task.state.discard()

    def _drop(self) -> None:
        self.buffer.clear()
        self._end = None  # an end that was seen behind dropped records would pass for their being done
