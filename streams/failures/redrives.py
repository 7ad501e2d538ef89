"""What comes back to a processor: dead letters that are tried again, and commands for records that wait.

They lie in the processor's re-drive topic, whose partition N is worked off by the task of input partition N; the
offset is committed with the task's own in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from streams.failures.dead_letters import ORIGIN, as_number, origin_of
from streams.owned import Feed
from streams.record import RawRecord, TopicPartition

COMMAND = "streams.command"
"""The header that makes a record a command: `release` or `drop`; with any other value it is a note for people."""
OFFSET = "streams.offset"
"""The header that keeps a command to one record, by its offset in the input."""
RELEASE, DROP = "release", "drop"

BACK, NOTE = "back", "note"

MOST_BUFFERED = 1_000
MOST_BYTES = 16 << 20
BEHIND_ALL = 1 << 62  # the offset of what was read elsewhere first, so that it stands behind the records of its key


class Redrives(Feed):
    """The re-drive partition of one task, read beside its input."""

    def __init__(self, committed: int | None) -> None:
        super().__init__(committed)
        self._obeyed: set[int] = set()
        self.started = False  # its task runs
        self.reading = False  # not while enough is buffered

    @property
    def full(self) -> bool:
        """Tell whether enough is buffered for now."""
        return len(self.buffer) >= MOST_BUFFERED or sum(map(_size, self.buffer)) >= MOST_BYTES

    def batch(self, most: int) -> list[RawRecord]:
        """Return the next records that come back, or the next notes, or the next command alone."""
        first = self._kind(self.buffer[0])
        if first == COMMAND:
            return self.buffer[:1]
        batch = self.buffer[:most]
        at = next((at for at, record in enumerate(batch) if self._kind(record) != first), len(batch))
        return batch[:at]

    def order(self) -> RawRecord | None:
        """Return the next command, whatever stands before it: one that makes room must not wait for room."""
        return next((record for record in self.buffer if self._kind(record) == COMMAND), None)

    def obeyed(self, record: RawRecord) -> None:
        """Take a command for a note from now on."""
        self._obeyed.add(record.offset)

    def advance(self, records: int) -> None:
        """Note that the first records of the buffer are dealt with."""
        self._obeyed.difference_update(record.offset for record in self.buffer[:records])
        super().advance(records)

    def rewind(self) -> None:
        """Forget everything since the last commit."""
        self._obeyed.clear()
        super().rewind()

    def _kind(self, record: RawRecord) -> str:
        ordered = command(record)
        if ordered is None:
            return BACK
        return COMMAND if ordered in {RELEASE, DROP} and record.offset not in self._obeyed else NOTE


def command(record: RawRecord) -> str | None:
    """Return what a record commands; None if it is one that comes back."""
    return _header(record, COMMAND)


def chosen(record: RawRecord) -> int | None:
    """Return the offset that a command is kept to; one that cannot be read is that of no record."""
    written = _header(record, OFFSET)
    if written is None:
        return None
    number = as_number(written)
    return -1 if number is None else number


def as_read_first(records: Sequence[RawRecord], source: TopicPartition) -> list[RawRecord]:
    """Give records that come back the place in `source` where they were read first.

    One that was not read there, as when somebody wrote it by hand, gets a place behind all others: no record that
    waits may be taken for it.
    """
    return [_as_read_first(record, source) for record in records]


def _as_read_first(record: RawRecord, source: TopicPartition) -> RawRecord:
    topic, partition, offset = origin_of(record)
    if (topic, partition) == source:
        return record._replace(topic=topic, partition=partition, offset=offset)
    noted = (ORIGIN, f"{topic}/{partition}/{offset}".encode())  # again where it was; where there is none, from now on
    headers = (*(header for header in record.headers if header[0] != ORIGIN), noted)
    return record._replace(partition=source.partition, offset=BEHIND_ALL + record.offset, headers=headers)


def _size(record: RawRecord) -> int:
    return len(record.value or b"") + sum(len(value or b"") for _, value in record.headers)


def _header(record: RawRecord, name: str) -> str | None:
    value = next((value for header, value in record.headers if header == name), None)
    return None if value is None else value.decode(errors="replace")
