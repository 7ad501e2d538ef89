"""How a group stands as Kafka alone knows it: members, offsets, and the record that is next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from streams.kafka import config
from streams.kafka.admin import Admin, Range
from streams.kafka.consumer import Reader
from streams.record import TopicPartition
from streams.settings import Settings

WATCH = 2.0  # seconds between two looks at what is committed
NEXT_WITHIN = 3.0  # seconds to find the next records
UNKNOWN, NO_GROUP = "UNKNOWN", "NONE"  # states beside Kafka's own: it does not answer, there is no such group
REDRIVE = ".redrive"  # what comes back to a group is read by it too, and owned by nobody


class PartitionStanding(NamedTuple):
    """Where a group stands in one partition; `next_ms` is the timestamp of the next record, if that could be read."""

    topic: str
    partition: int
    committed: int
    end: int
    owner: str | None
    next_ms: int | None
    moved: bool

    @property
    def lag(self) -> int:
        """Records between what is committed and the end."""
        return max(0, self.end - self.committed)


class Standing(NamedTuple):
    """A group: its state, how many members it has, and its partitions."""

    group: str
    state: str
    members: int
    partitions: tuple[PartitionStanding, ...]


def standing(
    admin: Admin,
    settings: Settings,
    group: str,
    topic: tuple[str, int] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Standing:
    """Look at a group, twice where it is behind: has anything been committed meanwhile?

    `topic` is its input with the number of partitions; without it, what the group has read is taken for that.

    Raises:
        UsageError: there is no such group, and no topic was given.
        StreamsError: Kafka does not answer.
    """
    exists = topic is None or group in admin.groups()
    known = admin.group(group) if exists else None
    members = known.members if known else []
    owners = {tp: member.instance_id or member.member_id for member in members for tp in member.partitions}
    before = admin.committed(group) if exists else {}
    own = {tp for tp in {*owners, *before} if not tp.topic.endswith(REDRIVE)}
    wanted = {TopicPartition(topic[0], number) for number in range(topic[1])} if topic else own
    ranges = admin.ranges(sorted(wanted))
    at = {tp: max(before.get(tp, held.start), held.start) for tp, held in ranges.items()}
    behind = {tp: Range(at[tp], held.end) for tp, held in ranges.items() if at[tp] < held.end}
    if behind and exists:
        pause(WATCH)
    after = admin.committed(group) if behind and exists else before
    times = _next_times(settings, behind)
    partitions = tuple(
        PartitionStanding(
            tp.topic, tp.partition, at[tp], held.end, owners.get(tp), times.get(tp), after.get(tp) != before.get(tp)
        )
        for tp, held in sorted(ranges.items())
    )
    return Standing(group, known.state if known else NO_GROUP, len(members), partitions)


def _next_times(settings: Settings, behind: dict[TopicPartition, Range]) -> dict[TopicPartition, int]:
    """Return the timestamp of the next committed record of partitions that are behind, as far as it comes in time."""
    found: dict[TopicPartition, int] = {}
    if not behind:
        return found
    reader = Reader(config.reader(settings, "streams-why"))
    try:
        reader.follow({tp: held.start for tp, held in behind.items()})
        deadline, unknown = time.monotonic() + NEXT_WITHIN, set(behind)
        while unknown and time.monotonic() < deadline:
            polled = reader.poll(500, 0.2)
            for record in polled.records:
                found.setdefault(record.origin, record.timestamp_ms)
            unknown -= _leave(reader, unknown & {*found, *polled.ends})
    finally:
        reader.close()
    return found


def _leave(reader: Reader, known: Iterable[TopicPartition]) -> set[TopicPartition]:
    reader.unfollow(known)
    return set(known)
