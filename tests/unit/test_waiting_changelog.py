"""Without a transaction: what a changelog says of records that wait or come back, whenever the worker is killed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rig import CHANGELOG, CODECS, Items, lists

from streams.avro.codec import Codec
from streams.checkpoint import Checkpoint
from streams.failures.waiting_record import WaitingRecord, WaitingStatus
from streams.record import RawRecord, Record, TopicPartition
from streams.state.backend import Backend
from streams.state.stamps import SOURCE, SOURCE_BACK
from streams.state.task_state import TaskState
from streams.topic import Store

SOURCE_0, BACK_0 = TopicPartition("in", 0), TopicPartition("g.redrive", 0)
WAITING = Store("waiting", int, WaitingRecord, "g.waiting")
ROW = WaitingRecord(
    status=WaitingStatus.PARKED,
    timestamp_ms=1,
    headers=(),
    topic="in",
    partition=0,
    offset=3,
    attempts=1,
    due_ms=0,
    failed_ms=0,
    stage="process",
    kind="x",
    message="",
)


class Calls:
    """A producer that notes what was sent to which topic, and when it was flushed."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sent: list[RawRecord] = []

    def send(self, records: list[RawRecord]) -> None:
        self.sent += records

    def send_tracked(self, record: RawRecord, delivered: Callable[[int], None]) -> None:
        self.calls.append(record.topic)
        self.sent.append(record)
        delivered(len(self.sent))

    def flush(self) -> None:
        self.calls.append("flush")

    def commit(self, offsets: Mapping[TopicPartition, int], group: Any) -> None:
        del offsets, group
        self.calls.append("commit")


@pytest.fixture
def state(tmp_path: Path) -> TaskState:
    sources = {lists: TopicPartition(CHANGELOG, 0), WAITING: TopicPartition("g.waiting", 0)}
    codecs: dict[Any, Codec[Any]] = {lists: CODECS[CHANGELOG], WAITING: Codec(WaitingRecord, 9)}
    return TaskState(Backend(tmp_path / "0", [CHANGELOG, "g.waiting"], boot_id="one"), sources, codecs)


def committed(state: TaskState, *, stamped: bool) -> Calls:
    producer = Calls()
    checkpoint = Checkpoint(
        producer,
        {SOURCE_0: state},
        str,
        interval=1,
        most_records=9,
        clock=float,
        now_ms=int,
        stamped=stamped,
        last="g.waiting",
        beside=lambda _: BACK_0,
    )
    checkpoint.mark(SOURCE_0, 12)
    checkpoint.mark(BACK_0, 4)
    checkpoint.commit()
    return producer


def test_a_row_of_what_waits_is_sent_when_all_that_came_of_it_is_acknowledged(state: TaskState) -> None:
    """Its deletion stands for the record: killed in between, the worker tries it again and loses nothing."""
    state.put(lists, "a", Items(items=(1,)))
    state.put(WAITING, 3, None)
    assert committed(state, stamped=True).calls == ["flush", CHANGELOG, "flush", "g.waiting", "flush", "commit"]


def test_in_a_transaction_one_flush_is_enough(state: TaskState) -> None:
    state.put(lists, "a", Items(items=(1,)))
    state.put(WAITING, 3, ROW)
    assert committed(state, stamped=False).calls == [CHANGELOG, "g.waiting", "flush", "commit"]


def test_without_rows_of_stores_nothing_is_flushed_twice(state: TaskState) -> None:
    state.put(WAITING, 3, ROW)
    producer = committed(state, stamped=True)
    assert producer.calls == ["flush", "g.waiting", "flush", "commit"]
    assert [record.headers for record in producer.sent] == [((SOURCE, b"12"), (SOURCE_BACK, b"4"))]


@pytest.mark.parametrize(("back", "counts"), [(None, False), (3, False), (4, True), (9, True)])
def test_a_row_counts_once_the_offset_of_what_came_back_is_committed(
    back: int | None, counts: bool, state: TaskState
) -> None:
    """The input stands still while records come back: its offset alone would let every row pass."""
    state.restore_until(12, back)
    (frame,) = CODECS[CHANGELOG].encode([Items(items=(1,))])
    headers = ((SOURCE, b"12"), (SOURCE_BACK, b"4"))
    row: RawRecord = Record(CHANGELOG, b"a", frame, 0, 0, 0, headers)
    state.follow(TopicPartition(CHANGELOG, 0), [row], 1)
    assert (state.get(lists, "a") is not None) is counts
