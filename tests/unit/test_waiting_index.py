"""What waits in one task: the index against a plain model, its timers, its room, and what a row holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.avro.codec import Codec
from streams.errors import HandlerError, WaitingFullError
from streams.failures.waiting import Waiting
from streams.failures.waiting_record import WaitingRecord, WaitingStatus
from streams.record import RawRecord, Record, TopicPartition
from streams.state.protocol import Rows
from streams.state.task_state import TaskState
from streams.topic import Store

STORE = Store("waiting", int, WaitingRecord, "g.waiting")
SOURCE = TopicPartition("g.waiting", 0)
MOST, BYTES = 8, 2_000
KEYS = st.sampled_from([b"a", b"b", b"", None])
STATUSES = st.sampled_from([WaitingStatus.RETRYING, WaitingStatus.PARKED])


class Kept:
    """The committed rows in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, _name: str, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def items(self, _name: str, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        return iter([row for row in self.rows.items() if after is None or row[0] > after])

    def position(self, _name: str) -> int | None:
        return None

    def write(self, changes: Mapping[str, Rows], _positions: Mapping[str, int]) -> None:
        for key, value in (row for rows in changes.values() for row in rows):
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value

    def wipe(self) -> None:
        self.rows.clear()

    def close(self) -> None:
        """Hold nothing."""


def make(most_records: int = MOST, most_bytes: int = BYTES) -> tuple[Waiting, TaskState]:
    state = TaskState(Kept(), {STORE: SOURCE}, {STORE: Codec(WaitingRecord, 1)})
    return Waiting(state, STORE, most_records, most_bytes), state


def record(offset: int, key: bytes | None = b"a", size: int = 10) -> RawRecord:
    return Record("in", key, b"v" * size, 1_000 + offset, 0, offset, (("h", b"1"), ("no", None)))


def commit(state: TaskState) -> None:
    state.committed(state.changes(), {})


def failure(text: str = "x") -> HandlerError:
    error = HandlerError()
    error.__cause__ = ValueError(text)
    return error


@dataclass(frozen=True)
class Row:
    """What the model knows of a record that waits."""

    key: bytes | None
    status: WaitingStatus
    due_ms: int
    attempts: int
    failed_ms: int
    size: int


class Model(RuleBasedStateMachine):
    """The rows as a dictionary, and answers computed from all of it each time."""

    @initialize()
    def start(self) -> None:
        self.waiting, self.state = make()
        self.committed: dict[int, Row] = {}
        self.rows: dict[int, Row] = {}
        self.marks: list[tuple[int, dict[int, Row]]] = []
        self.now = 0
        self.next = 0

    def pick(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.rows)))

    @rule(key=KEYS, status=STATUSES, size=st.integers(0, 700), delay=st.integers(0, 50))
    def fail_first(self, key: bytes | None, status: WaitingStatus, size: int, delay: int) -> None:
        queued = key is not None and any(row.key == key for row in self.rows.values())
        status, error = (WaitingStatus.QUEUED, None) if queued else (status, failure())
        assert self.waiting.blocks(key) is queued
        bytes_ = sum(row.size for row in self.rows.values())
        one = record(self.next, key, size)
        length = len(key or b"") + size + len("h" + "1" + "no")
        full = len(self.rows) >= MOST or (bool(self.rows) and bytes_ + length > BYTES)
        with pytest.raises(WaitingFullError) if full else nullcontext():
            self.waiting.add(one, status, due_ms=self.now + delay, now_ms=self.now, error=error)
        if full:
            assert not self.waiting.has_room(length)
            return
        self.rows[self.next] = Row(key, status, self.now + delay, 0 if queued else 1, self.now, length)
        self.next += 1

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), status=STATUSES, delay=st.integers(0, 50))
    def fail_again(self, data: st.DataObject, status: WaitingStatus, delay: int) -> None:
        at = self.pick(data)
        self.waiting.failed(at, status, due_ms=self.now + delay, now_ms=self.now, error=failure())
        row = self.rows[at]
        since = row.failed_ms if row.attempts else self.now
        self.rows[at] = replace(row, status=status, due_ms=self.now + delay, attempts=row.attempts + 1, failed_ms=since)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        at = self.pick(data)
        self.waiting.release(at, self.now)
        self.rows[at] = replace(
            self.rows[at], status=WaitingStatus.RETRYING, due_ms=self.now, attempts=0, failed_ms=self.now
        )

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def be_done(self, data: st.DataObject) -> None:
        at = self.pick(data)
        self.waiting.done(at)
        del self.rows[at]

    @rule()
    def mark(self) -> None:
        self.marks.append((self.state.mark(), dict(self.rows)))

    @precondition(lambda self: self.marks)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.marks) - 1))
        mark, self.rows = self.marks[at]
        self.state.rollback(mark)
        del self.marks[at:]

    @rule()
    def commit(self) -> None:
        commit(self.state)
        self.committed = dict(self.rows)
        self.forget_marks()

    @rule()
    def abort(self) -> None:
        self.state.discard()
        self.waiting.reload()
        self.rows = dict(self.committed)
        self.forget_marks()

    @rule()
    def restart(self) -> None:
        """Another worker reads the committed rows anew."""
        self.state.discard()
        fresh = Waiting(self.state, STORE, MOST, BYTES)
        fresh.load()
        self.waiting, self.rows = fresh, dict(self.committed)
        self.forget_marks()

    def forget_marks(self) -> None:
        self.state.forget_marks()
        self.marks.clear()

    @rule(by=st.integers(1, 40))
    def pass_time(self, by: int) -> None:
        self.now += by

    def heads(self) -> dict[int, int]:
        """Return the records that stand behind no other one and have a timer, with the time they are due."""
        first: dict[bytes | None, int] = {}
        for at in sorted(self.rows, reverse=True):
            first[self.rows[at].key] = at
        free = [at for at, row in self.rows.items() if row.key is None or first[row.key] == at]
        return {
            at: 0 if self.rows[at].status is WaitingStatus.QUEUED else self.rows[at].due_ms
            for at in free
            if self.rows[at].status is not WaitingStatus.PARKED
        }

    @invariant()
    def the_index_is_what_the_rows_say(self) -> None:
        if not hasattr(self, "waiting"):
            return
        found = {
            at: Row(one.key, one.status, one.due_ms, one.attempts, one.failed_ms, one.size)
            for at, one in self.waiting.entries.items()
        }
        assert found == self.rows
        assert len(self.waiting) == len(self.rows)
        assert bool(self.waiting) is bool(self.rows)
        keys = {row.key for row in self.rows.values()}
        assert set(self.waiting.queues) == keys - {None}
        for key in keys:
            assert self.waiting.of_key(key) == sorted(at for at, row in self.rows.items() if row.key == key)
        for status in WaitingStatus:
            assert sum(entry.status is status for entry in self.waiting.entries.values()) == sum(
                row.status is status for row in self.rows.values()
            )

    @invariant()
    def whoever_is_due_is_told_once_and_stays(self) -> None:
        if not hasattr(self, "waiting"):
            return
        heads = self.heads()
        assert self.waiting.next_due() == min(heads.values(), default=None)
        due = {at for at, due_ms in heads.items() if due_ms <= self.now}
        for _ in range(2):
            assert {one.offset for one in self.waiting.due(self.now, 100)} == due
        assert len(self.waiting.due(self.now, 2)) == min(2, len(due))

    @invariant()
    def a_run_is_what_only_stood_behind_others(self) -> None:
        if not hasattr(self, "waiting"):
            return
        expected: list[int] = []
        for head, due_ms in self.heads().items():
            if due_ms > self.now:
                continue
            row, behind = self.rows[head], [head]
            if row.status is WaitingStatus.QUEUED and row.key is not None:
                same = sorted(at for at, one in self.rows.items() if one.key == row.key)
                behind = list(takewhile(lambda at: self.rows[at].status is WaitingStatus.QUEUED, same))
            expected += behind
        told = [one.offset for one in self.waiting.due(self.now, 100, runs=True)]
        assert sorted(told) == sorted(expected)
        for key in {row.key for row in self.rows.values()} - {None}:
            mine = [at for at in told if self.rows[at].key == key]
            assert mine == sorted(mine)
        assert self.waiting.due(self.now, 1, runs=True) == self.waiting.due(self.now, 100, runs=True)[:1]


Model.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestModel = Model.TestCase


def test_a_row_is_the_record_as_it_was_read() -> None:
    waiting, state = make()
    one = Record("in", b"\x00\xff", None, -1, 0, 5, (("h", b""), ("h", None), ("ü", b"\xff")))
    waiting.add(one, WaitingStatus.RETRYING, due_ms=9, now_ms=3, error=failure("why"))
    commit(state)
    state.discard()
    assert waiting.record(5) == one
    row = state.get(STORE, 5)
    assert row is not None
    assert (row.stage, row.kind, row.message) == ("process", "builtins.ValueError", "ValueError: why")
    assert (row.attempts, row.due_ms, row.failed_ms) == (1, 9, 3)


@pytest.mark.parametrize("text", ["\ud800", "ä" * 5_000, ""])
def test_whatever_an_exception_says_the_row_is_kept(text: str) -> None:
    waiting, state = make()
    waiting.add(record(1), WaitingStatus.RETRYING, due_ms=9, now_ms=3, error=failure(text))
    waiting.failed(1, WaitingStatus.RETRYING, due_ms=9, now_ms=3, error=failure(text))
    (change,) = state.changes()
    assert len(change.rows[0][1] or b"") < 4_000


def test_the_earliest_are_tried_first() -> None:
    waiting, _ = make(most_records=100)
    for offset, due_ms in enumerate([50, 10, 40, 20, 30]):
        waiting.add(record(offset, b"%d" % offset), WaitingStatus.RETRYING, due_ms=due_ms, now_ms=0, error=failure())
    assert [one.offset for one in waiting.due(100, 3)] == [1, 3, 4]
    assert [one.offset for one in waiting.due(25, 10)] == [1, 3]
    assert waiting.due(9, 10) == []
    assert waiting.due(100, 0) == []


def test_one_large_record_finds_room_in_an_empty_store() -> None:
    """Or it would hold its partition for ever."""
    waiting, _ = make(most_bytes=100)
    waiting.add(record(1, size=500), WaitingStatus.RETRYING, due_ms=0, now_ms=0, error=failure())
    assert not waiting.has_room(1)
    with pytest.raises(WaitingFullError):
        waiting.add(record(2, b"b", 1), WaitingStatus.RETRYING, due_ms=0, now_ms=0, error=failure())
    waiting.done(1)
    assert waiting.has_room(500)


def test_a_full_store_waits_for_some_room_before_it_goes_on() -> None:
    """A partition that is resumed reads anew: not for every single record that got done."""
    waiting, _ = make(most_records=100, most_bytes=1 << 20)
    for offset in range(100):
        waiting.add(record(offset, b"%d" % offset), WaitingStatus.PARKED, due_ms=0, now_ms=0, error=failure())
    rooms = []
    for offset in range(20):
        waiting.done(offset)
        rooms.append(waiting.has_room(1))
    assert rooms == [False] * 10 + [True] * 10


def test_a_key_with_many_records_costs_no_memory_for_timers() -> None:
    """Only the first one has one."""
    waiting, _ = make(most_records=20_000, most_bytes=1 << 30)
    waiting.add(record(0), WaitingStatus.RETRYING, due_ms=10, now_ms=0, error=failure())
    for offset in range(1, 2_000):
        waiting.add(record(offset), WaitingStatus.QUEUED, due_ms=0, now_ms=0, error=None)
    assert len(waiting._timers) == 1
    for offset in range(1_000):
        assert [one.offset for one in waiting.due(10, 64)] == [offset]
        waiting.done(offset)
    assert [one.offset for one in waiting.due(10, 64, runs=True)] == list(range(1_000, 1_064))
    for offset in range(1_000, 2_000):
        waiting.done(offset)
    assert (len(waiting), waiting.next_due(), waiting._timers, waiting.queues) == (0, None, [], {})


def test_what_is_no_row_has_no_answer() -> None:
    waiting, _ = make()
    given: Any = (waiting.find(1), waiting.is_first(1), waiting.of_key(b"x"), waiting.next_due(), waiting.blocks(None))
    assert given == (None, False, [], None, False)
