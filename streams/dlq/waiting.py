"""What waits per key: the newest committed row of each record in a processor's waiting topic, and commands about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from streams.dlq.fields import Describe, record_fields
from streams.dlq.letter import Place, redrives_of, short_class
from streams.dlq.plan import Action
from streams.errors import DecodeError
from streams.failures.redrives import COMMAND, OFFSET
from streams.failures.waiting_record import WaitingRecord, WaitingStatus
from streams.keys import KEY_CODECS
from streams.record import RawRecord, Record

Decode = Callable[[bytes], WaitingRecord]
"""Decodes a row, or raises DecodeError."""


class Waiter(NamedTuple):
    """A key that waits: its first record, and how many stand behind it. A record without a key waits for itself.

    `partition` and `place` are those of the row in the waiting topic.
    """

    partition: int
    place: int
    head: WaitingRecord
    behind: int

    @property
    def record(self) -> RawRecord:
        """The first record as it was read."""
        head = self.head
        headers = tuple((header.name, header.value) for header in head.headers)
        return Record(head.topic, head.key, head.value, head.timestamp_ms, head.partition, head.offset, headers)


class Waiting(NamedTuple):
    """What waits, by partition and place, and how many rows are none of ours."""

    waiters: list[Waiter]
    unreadable: int


def waiting(records: Iterable[RawRecord], decode: Decode) -> Waiting:
    """Return what is left when the newest row of each place counts and a tombstone takes it away."""
    newest: dict[tuple[int, bytes | None], bytes] = {}
    for record in records:
        if record.value is None:
            newest.pop((record.partition, record.key), None)
        else:
            newest[record.partition, record.key] = record.value
    unreadable = 0
    queues: dict[tuple[int, bytes | int], list[tuple[int, WaitingRecord]]] = {}
    for (partition, raw_place), frame in newest.items():
        try:
            place, row = KEY_CODECS[int].decode(raw_place or b""), decode(frame)
        except (DecodeError, ValueError):
            unreadable += 1
        else:
            assert isinstance(place, int)
            queues.setdefault((partition, place if row.key is None else row.key), []).append((place, row))
    found = [_waiter(partition, queue) for (partition, _), queue in queues.items()]
    return Waiting(sorted(found, key=lambda waiter: (waiter.partition, waiter.place)), unreadable)


def waiting_at(records: Iterable[RawRecord], place: Place, decode: Decode) -> Waiter | None:
    """Return one record that waits, whether it is the first of its key or not."""
    key = KEY_CODECS[int].encode(place.offset)
    rows = (record for record in records if (record.partition, record.key) == (place.partition, key))
    return next(iter(waiting(rows, decode).waiters), None)


def command(waiter: Waiter, topic: str, verb: str, audit: bytes, now_ms: int) -> Action:
    """Return the command to release or drop a key, or the one record without a key."""
    headers: list[tuple[str, bytes | None]] = [(COMMAND, verb.encode())]
    if waiter.head.key is None:
        headers.append((OFFSET, str(waiter.place).encode()))
    told: RawRecord = Record(topic, waiter.head.key, audit, now_ms, waiter.partition, headers=tuple(headers))
    return Action(None, (told,))


def waiter_fields(waiter: Waiter, describe: Describe, uses: set[str]) -> dict[str, Any]:
    """Return the fields of the first record of a key for `--where`."""
    head = waiter.head
    error = {
        "kind": head.kind,
        "type": short_class(head.kind),
        "message": head.message,
        "time": head.failed_ms,
        "attempts": head.attempts,
        "handler": "",
    }
    return {
        **record_fields(waiter.record, describe, uses),
        "error": error,
        "stage": head.stage,
        "redrives": redrives_of(waiter.record),
        "status": str(head.status),
    }


def _waiter(partition: int, queue: list[tuple[int, WaitingRecord]]) -> Waiter:
    queue.sort(key=lambda row: row[0])
    place, head = next((row for row in queue if row[1].status is not WaitingStatus.QUEUED), queue[0])
    return Waiter(partition, place, head, len(queue) - 1)
