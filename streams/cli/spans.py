"""Which part of a topic a command reads: partitions, offsets, times."""

from __future__ import annotations

import time
from typing import NamedTuple

from streams.cli.moments import milliseconds, shown
from streams.errors import UsageError
from streams.kafka.admin import Admin, Range
from streams.record import TopicPartition

BEGINNING, END = "beginning", "end"


class Selection(NamedTuple):
    """What the options of a command say; `select` checks them."""

    partition: int | None
    offset: str | None
    since_ms: int | None
    until_ms: int | None


def select(
    *, partition: int | None, offset: str | None, since: str | None, until: str | None, follow: bool
) -> Selection:
    """Read the options.

    Raises:
        UsageError: they contradict each other, or a time is none.
    """
    if since is not None and offset is not None:
        raise UsageError(f"--from {since} and --offset {offset} both say where to begin", fix="leave one of them out")
    if until is not None and follow:
        raise UsageError(f"--to {until} ends what --follow goes on with", fix="leave one of them out")
    now = time.time_ns() // 1_000_000
    since_ms = None if since is None else milliseconds(since, "--from", now)
    until_ms = None if until is None else milliseconds(until, "--to", now)
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise UsageError(
            f"--from {shown(since_ms)} is not before --to {shown(until_ms)}", fix="--to is exclusive: name a later time"
        )
    return Selection(partition, offset, since_ms, until_ms)


def spans(admin: Admin, topic: str, selection: Selection) -> dict[TopicPartition, Range]:
    """Return the offsets to read of each partition.

    A time stands for a partition's first record of that time or later, by Kafka's own index; where there is none it
    stands for the end.

    Raises:
        UsageError: there is no such topic, partition or offset.
    """
    held = admin.ranges(_partitions(admin, topic, selection.partition))
    starts = _offsets_at(admin, held, selection.since_ms)
    ends = _offsets_at(admin, held, selection.until_ms)
    found = {}
    for tp, whole in held.items():
        start = starts[tp] if starts else _start(selection.offset or BEGINNING, whole)
        found[tp] = Range(start, max(start, ends[tp]) if ends else whole.end)
    return found


def known_topic(admin: Admin, topic: str) -> int:
    """Return how many partitions a topic has.

    Raises:
        UsageError: there is no such topic.
    """
    partitions = admin.topics().get(topic)
    if partitions is None:
        raise UsageError(f"there is no topic {topic}", fix="`streams topic list` shows what there is")
    return partitions


def _partitions(admin: Admin, topic: str, partition: int | None) -> list[TopicPartition]:
    partitions = known_topic(admin, topic)
    if partition is not None and partition >= partitions:
        raise UsageError(f"topic {topic} has no partition {partition}", fix=f"use 0 to {partitions - 1}")
    chosen = range(partitions) if partition is None else [partition]
    return [TopicPartition(topic, number) for number in chosen]


def _offsets_at(
    admin: Admin, held: dict[TopicPartition, Range], moment_ms: int | None
) -> dict[TopicPartition, int] | None:
    if moment_ms is None:
        return None
    found = admin.offsets_at(held, moment_ms)
    return {tp: whole.end if (at := found[tp]) is None else at for tp, whole in held.items()}


def _start(offset: str, held: Range) -> int:
    if offset == BEGINNING:
        return held.start
    if offset == END:
        return held.end
    try:
        number = int(offset)
    except ValueError:
        raise UsageError(f"--offset {offset}: not an offset", fix="write a number, -N, beginning or end") from None
    start = held.end + number if number < 0 else number
    if start > held.end:
        raise UsageError(f"--offset {offset} is beyond the end, which is {held.end}", fix="choose an earlier one")
    return max(start, held.start)
