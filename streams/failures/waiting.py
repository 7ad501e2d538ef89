"""Records that a task has not dealt with yet: failed and tried again later, parked, or behind another one of their key.

Each is a row of the task's `waiting` store, whose changelog is committed with the offset that moved on (INV-1). This
index says which keys are blocked and whose turn it is; it follows the same undo log as the store.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Iterable
from itertools import takewhile
from typing import Any, NamedTuple, cast

from streams.avro.construction import trusted
from streams.errors import RecordError, WaitingFullError
from streams.failures.dead_letters import describe, kind_of
from streams.failures.waiting_record import WaitingHeader, WaitingRecord, WaitingStatus
from streams.record import RawRecord, Record
from streams.state.task_state import TaskState
from streams.topic import Store

MAX_TEXT = 1024  # characters of an error's message
_ROOM = 0.9  # of the limits: below it a full store takes records again


class Entry(NamedTuple):
    """What the index knows of a row."""

    key: bytes | None
    status: WaitingStatus
    due_ms: int
    attempts: int
    failed_ms: int
    size: int
    timestamp_ms: int


class Waiting:
    """The waiting rows of one task by key, in the order of their offsets. Null keys block nothing."""

    def __init__(self, state: TaskState, store: Store[int, WaitingRecord], most_records: int, most_bytes: int) -> None:
        self._state = state
        self._store = store
        self._most_records = most_records
        self._most_bytes = most_bytes
        self.entries: dict[int, Entry] = {}
        self.queues: dict[bytes | None, list[int]] = {}  # never of None: it blocks nothing
        self._timers: list[tuple[int, int]] = []  # due_ms and offset of heads; outdated ones are passed over
        self._bytes = 0
        self._changed = False

    def __bool__(self) -> bool:
        return bool(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def blocks(self, key: bytes | None) -> bool:
        """Tell whether a record of this key has to queue."""
        return key is not None and key in self.queues

    def find(self, offset: int) -> Entry | None:
        """Return what is known of a waiting record."""
        return self.entries.get(offset)

    def is_first(self, offset: int) -> bool:
        """Tell whether a waiting record stands behind no other one."""
        entry = self.entries.get(offset)
        return entry is not None and (entry.key is None or self.queues[entry.key][0] == offset)

    def has_room(self, size: int) -> bool:
        """Tell whether a store that was full takes records again, the one of this size at least."""
        few = len(self.entries) < self._most_records * _ROOM and self._bytes < self._most_bytes * _ROOM
        return few and (not self.entries or self._bytes + size <= self._most_bytes)

    def add(
        self, record: RawRecord, status: WaitingStatus, *, due_ms: int, now_ms: int, error: RecordError | None
    ) -> None:
        """Take a record in; it is a new one.

        Raises:
            WaitingFullError: there is no room.
        """
        size = _size(record.key, record.value, record.headers)
        if len(self.entries) >= self._most_records or (self.entries and self._bytes + size > self._most_bytes):
            raise WaitingFullError(size)
        row = _made(
            status=status,
            key=record.key,
            value=record.value,
            timestamp_ms=record.timestamp_ms,
            headers=_headers(record),
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            attempts=0 if error is None else 1,
            due_ms=due_ms,
            failed_ms=now_ms,
            stage="" if error is None else error.stage,
            kind="" if error is None else kind_of(error),
            message="" if error is None else _message(error),
        )
        self._put(record.offset, row, size)

    def failed(self, offset: int, status: WaitingStatus, *, due_ms: int, now_ms: int, error: RecordError) -> None:
        """Note that a waiting record failed once more, or for the first time if it was queued."""
        row = self._row(offset)
        self._put(
            offset,
            row.model_copy(
                update={
                    "status": status,
                    "due_ms": due_ms,
                    "attempts": row.attempts + 1,
                    "failed_ms": row.failed_ms if row.attempts else now_ms,
                    "stage": error.stage,
                    "kind": kind_of(error),
                    "message": _message(error),
                }
            ),
            self.entries[offset].size,
        )

    def release(self, offset: int, now_ms: int) -> None:
        """Have a record tried at once, with a fresh budget."""
        row = self._row(offset)
        self._put(
            offset,
            row.model_copy(
                update={"status": WaitingStatus.RETRYING, "due_ms": now_ms, "attempts": 0, "failed_ms": now_ms}
            ),
            self.entries[offset].size,
        )

    def done(self, offset: int) -> None:
        """Let a record go: it was dealt with. The next one of its key is due."""
        self._put(offset, None)

    def of_key(self, key: bytes | None) -> list[int]:
        """Return the offsets that wait of a key, in their order; of null keys all of them."""
        if key is None:
            return sorted(offset for offset, entry in self.entries.items() if entry.key is None)
        return list(self.queues.get(key, ()))

    def due(self, now_ms: int, most: int, *, runs: bool = False) -> list[RawRecord]:
        """Return records whose turn it is, each key's in order; they stay until they are done.

        That is the first one of a key; with `runs`, if it only stood behind another one, also those behind it.
        """
        timers: dict[int, tuple[int, int]] = {}  # a head may have several
        taken: list[int] = []
        while len(taken) < most and (due_ms := self.next_due()) is not None and due_ms <= now_ms:
            timer = heapq.heappop(self._timers)
            _, head = timer
            if head not in timers:
                taken += self._run(head) if runs else [head]
            timers[head] = timer
        for timer in timers.values():
            heapq.heappush(self._timers, timer)
        return [self.record(offset) for offset in taken[:most]]

    def next_due(self) -> int | None:
        """Return the time at which the next one is due, in milliseconds; None where none ever is."""
        while self._timers and not self._is_current(*self._timers[0]):
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def record(self, offset: int) -> RawRecord:
        """Return a waiting record as it was read."""
        row = self._row(offset)
        headers = tuple((header.name, header.value) for header in row.headers)
        return Record(row.topic, row.key, row.value, row.timestamp_ms, row.partition, row.offset, headers)

    def load(self) -> None:
        """Read the index anew from the committed rows: after a restore, or when what was not committed is discarded."""
        for kept in (self.entries, self.queues, self._timers):
            kept.clear()
        self._bytes, self._changed = 0, False
        for offset, row in self._state.items(self._store):
            self._apply(offset, _entry(row, _size(row.key, row.value, [(one.name, one.value) for one in row.headers])))

    def reload(self) -> None:
        """Read it anew if it changed since it was read."""
        if self._changed:
            self.load()

    def restore(self, offset: int, before: object, was_dirty: bool) -> None:  # noqa: ARG002 - what the undo log calls
        """Take one change back."""
        self._apply(offset, before if isinstance(before, Entry) else None)

    def _run(self, head: int) -> list[int]:
        """Return the offsets that nothing stands in front of once the first one of a key is dealt with."""
        entry = self.entries[head]
        if entry.key is None or entry.status is not WaitingStatus.QUEUED:
            return [head]
        return list(takewhile(lambda at: self.entries[at].status is WaitingStatus.QUEUED, self.queues[entry.key]))

    def _row(self, offset: int) -> WaitingRecord:
        row = self._state.get(self._store, offset)
        assert row is not None, f"the index names offset {offset}, the store does not have it"
        return row

    def _put(self, offset: int, row: WaitingRecord | None, size: int = 0) -> None:
        self._state.put(self._store, offset, row)
        self._state.undo.append((self, offset, self.entries.get(offset), False))
        self._changed = True
        self._apply(offset, None if row is None else _entry(row, size))

    def _apply(self, offset: int, entry: Entry | None) -> None:
        before = self.entries.pop(offset, None)
        if before is not None:
            self._bytes -= before.size
            self._leave(before.key, offset)
        if entry is None:
            if before is not None:
                self._time(before.key)
            return
        self.entries[offset] = entry
        self._bytes += entry.size
        if entry.key is not None:
            insort(self.queues.setdefault(entry.key, []), offset)
        if self.is_first(offset):
            self._push(offset, entry)

    def _leave(self, key: bytes | None, offset: int) -> None:
        if key is None:
            return
        queue = self.queues[key]
        queue.remove(offset)
        if not queue:
            del self.queues[key]

    def _time(self, key: bytes | None) -> None:
        """Set the timer of a key's first record."""
        if key is not None and key in self.queues:
            offset = self.queues[key][0]
            self._push(offset, self.entries[offset])

    def _push(self, offset: int, entry: Entry) -> None:
        if entry.status is not WaitingStatus.PARKED:
            heapq.heappush(self._timers, (_due(entry), offset))

    def _is_current(self, due_ms: int, offset: int) -> bool:
        entry = self.entries.get(offset)
        if entry is None or entry.status is WaitingStatus.PARKED or _due(entry) != due_ms:
            return False
        return self.is_first(offset)


def _made(**fields: Any) -> WaitingRecord:
    """Make a row of values that have their types: to check them again is a third of what it takes to let one wait."""
    (row,) = trusted(WaitingRecord, [fields], set(fields))
    return cast("WaitingRecord", row)


def _headers(record: RawRecord) -> tuple[WaitingHeader, ...]:
    named = [{"name": name, "value": value} for name, value in record.headers]
    return tuple(trusted(WaitingHeader, named, {"name", "value"})) if named else ()


def _due(entry: Entry) -> int:
    """Return when a head is due: one that only stood behind another is due at once."""
    return 0 if entry.status is WaitingStatus.QUEUED else entry.due_ms


def _message(error: RecordError) -> str:
    """Say what went wrong in text that can be encoded: an exception may say anything."""
    return describe(error)[:MAX_TEXT].encode(errors="replace").decode()


def _entry(row: WaitingRecord, size: int) -> Entry:
    return Entry(row.key, row.status, row.due_ms, row.attempts, row.failed_ms, size, row.timestamp_ms)


def _size(key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> int:
    size = len(key or b"") + len(value or b"")
    for name, held in headers:
        size += len(name) + len(held or b"")
    return size
