"""Where a reset moves a group in each partition, and what that reads again or skips. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from streams.errors import UsageError
from streams.kafka.admin import Range
from streams.record import TopicPartition


class Kind(Enum):
    """How a destination is named."""

    EARLIEST = "earliest"
    LATEST = "latest"
    COMMITTED = "committed"  # where the group stands, as far as that is still there
    OFFSET = "offset"
    TIME = "time"
    SHIFT = "shift"


class Destination(NamedTuple):
    """Where to go; `value` is the offset, the time in milliseconds since the epoch, or the records to shift by."""

    kind: Kind
    value: int = 0


class Move(NamedTuple):
    """What a reset does to one partition.

    `committed` is where the group stands, None where it never was; it would begin at the earliest record then. `asked`
    is the destination before it was moved into what the partition holds, `None` for a time that no record has yet.
    """

    source: TopicPartition
    held: Range
    committed: int | None
    asked: int | None

    @property
    def at(self) -> int:
        """Where the group would go on without the reset."""
        return self.held.start if self.committed is None else _within(self.committed, self.held)

    @property
    def to(self) -> int:
        """Where it goes on after it."""
        return self.held.end if self.asked is None else _within(self.asked, self.held)

    @property
    def again(self) -> int:
        """The offsets that are read a second time."""
        return max(0, self.at - self.to)

    @property
    def skipped(self) -> int:
        """The offsets that are never read."""
        return max(0, self.to - self.at)

    @property
    def span(self) -> Range:
        """The offsets that are read again or skipped."""
        return Range(min(self.at, self.to), max(self.at, self.to))

    def notes(self) -> Iterator[str]:
        """Say what is special about it."""
        start, end = self.held
        if self.committed is not None and self.committed < start:
            yield f"{start - self.committed:,} were deleted before they were read"
        if self.committed is not None and self.committed > end:
            yield f"committed beyond the end {end}: the topic was made anew"
        if self.asked is None:
            yield "no record of that time or later"
        elif self.asked < start and self.asked != self.committed:
            yield f"{self.asked} is no longer there, the first is {start}"
        elif self.asked > end and self.asked != self.committed:
            yield f"{self.asked} is beyond the end {end}"
        if self.skipped:
            yield f"skips {self.skipped:,} unread"


def moves(
    destination: Destination,
    held: Mapping[TopicPartition, Range],
    committed: Mapping[TopicPartition, int],
    at_time: Mapping[TopicPartition, int | None],
) -> list[Move]:
    """Plan a reset; `at_time` has each partition's first offset of the destination's time, if it is one.

    Raises:
        UsageError: no partition holds the offset that was asked for.
    """
    planned = [
        Move(tp, whole, committed.get(tp), _asked(destination, tp, whole, committed, at_time))
        for tp, whole in sorted(held.items())
    ]
    if destination.kind is Kind.OFFSET and not any(m.held.start <= destination.value <= m.held.end for m in planned):
        ranges = ", ".join(f"{m.source.partition}: {m.held.start} to {m.held.end}" for m in planned)
        raise UsageError(
            f"no partition of {planned[0].source.topic} has offset {destination.value}",
            where=f"offsets by partition: {ranges}",
            fix="name one of them, earliest or latest; a time is written 2026-02-03T04:05:06 or -1h (so long ago)",
        )
    return planned


def _asked(
    destination: Destination,
    tp: TopicPartition,
    held: Range,
    committed: Mapping[TopicPartition, int],
    at_time: Mapping[TopicPartition, int | None],
) -> int | None:
    at = committed.get(tp, held.start)
    match destination.kind:
        case Kind.EARLIEST:
            return held.start
        case Kind.LATEST:
            return held.end
        case Kind.COMMITTED:
            return at
        case Kind.SHIFT:
            return _within(at, held) + destination.value
        case Kind.TIME:
            return at_time[tp]
        case Kind.OFFSET:
            return destination.value


def _within(offset: int, held: Range) -> int:
    return min(max(offset, held.start), held.end)
