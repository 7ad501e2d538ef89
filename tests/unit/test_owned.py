"""The progress of one partition between poll and commit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import CODECS, Item

from streams import App
from streams.errors import SendError
from streams.owned import Hold, Owned
from streams.record import RawRecord, Record
from streams.state.task_state import TaskState
from streams.task import Task

app = App("owned")
source = app.topic("in", Item, key="key")


@app.processor(source)
def ignore(item: object, ctx: object) -> None:
    del item, ctx


def owned(committed: int | None = None, *, ready: bool = True) -> Owned:
    made = Owned(Task(app.processors["ignore"], CODECS, TaskState()), committed)
    made.ready = ready
    return made


def records(*offsets: int) -> list[RawRecord]:
    return [Record("in", b"k", b"v", 0, 0, offset) for offset in offsets]


def offsets(batch: list[RawRecord]) -> list[int]:
    return [record.offset for record in batch]


def test_it_begins_where_the_group_stands() -> None:
    one = owned(5)
    one.receive(records(3, 4, 5, 7))
    assert offsets(one.batch(10)) == [5, 7]


def test_records_that_come_again_are_dropped() -> None:
    """A batch polled around a rebalance or a seek may repeat what is buffered or done."""
    one = owned()
    one.receive(records(0, 1, 2))
    one.receive(records(1, 2, 3))
    assert offsets(one.batch(10)) == [0, 1, 2, 3]
    one.advance(4)
    one.receive(records(2, 3))
    assert not one.runnable
    one.receive(records(3, 4))
    assert offsets(one.batch(10)) == [4]


def test_a_run_that_repeats_itself_is_taken_once() -> None:
    """As polled around a partition that was given up and came back."""
    one = owned(3)
    one.receive(records(3, 4, 5, 3, 4, 5, 6))
    assert offsets(one.batch(10)) == [3, 4, 5, 6]


def test_a_partition_waits_until_its_state_is_ready() -> None:
    fresh = Owned(Task(app.processors["ignore"], CODECS, TaskState()), None)
    fresh.receive(records(0))
    assert not fresh.runnable


def test_a_rewind_discards_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """INV-3."""
    one = owned()
    discarded: list[bool] = []
    monkeypatch.setattr(one.task.state, "discard", lambda: discarded.append(True))
    one.rewind()
    assert discarded == [True]


@given(runs=st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=8).map(sorted), max_size=8))
def test_whatever_is_received_each_offset_is_dealt_with_at_most_once_in_order(runs: list[list[int]]) -> None:
    one = owned()
    done: list[int] = []
    for run in runs:
        one.receive(records(*dict.fromkeys(run)))
        batch = one.batch(3)
        done += offsets(batch)
        one.advance(len(batch))
    assert done == sorted(set(done))


def test_progress_is_what_was_dealt_with_plus_one() -> None:
    """INV-10: also over gaps that markers and compaction leave."""
    one = owned()
    one.receive(records(0, 4, 9))
    one.advance(0)
    assert one.done is None
    one.advance(2)
    assert one.done == 5
    one.advance(1)
    assert one.done == 10


def test_an_end_counts_once_everything_before_it_is_dealt_with() -> None:
    """INV-10."""
    one = owned()
    one.receive(records(0))
    one.reach_end(3)
    assert one.take_end() is None
    one.advance(1)
    assert one.take_end() == 3
    assert one.done == 3
    assert one.take_end() is None


def test_an_end_that_is_behind_is_none() -> None:
    one = owned(8)
    one.reach_end(8)
    assert one.take_end() is None
    fresh = owned()
    fresh.reach_end(0)
    assert fresh.take_end() is None


def test_no_end_counts_while_the_state_is_restored() -> None:
    one = owned(ready=False)
    one.reach_end(3)
    assert one.take_end() is None
    assert not one.runnable


def test_after_a_wait_everything_is_read_again() -> None:
    """INV-10: what was buffered is dropped, so an end seen behind it must not pass for its being done."""
    one = owned(2, ready=False)
    one.hold = Hold("schema 7", lambda: False)
    one.receive(records(2, 3))
    one.reach_end(4)
    one.resume()
    assert (one.ready, one.hold, one.runnable) == (True, None, False)
    assert one.take_end() is None
    one.receive(records(2, 3))
    assert offsets(one.batch(10)) == [2, 3]


def test_a_rewind_forgets_everything_since_the_commit() -> None:
    one = owned(2)
    one.receive(records(2, 3, 4))
    one.advance(2)
    one.hold = Hold("schema 7", lambda: False)
    one.reach_end(9)
    one.refusals[3] = SendError("too large")
    one.rewind()
    assert (one.done, one.hold, one.take_end(), one.buffer) == (2, None, None, [])
    assert set(one.refusals) == {3}  # what the broker refuses, it refuses again


def test_a_refusal_lasts_until_its_answer_is_committed() -> None:
    """Then whoever comes again, from what waits or back, is tried again; its place may be before what is committed."""
    one = owned(9)
    one.refusals = {3: SendError("too large"), 5: SendError("too large")}
    one.settle()
    assert set(one.refusals) == {3, 5}
    one.answered.add(3)
    one.rewind()
    one.settle()
    assert set(one.refusals) == {3, 5}
    one.answered.add(3)
    one.settle()
    assert set(one.refusals) == {5}
    assert not one.answered


def test_a_record_that_is_to_be_refused_is_stepped_alone() -> None:
    one = owned()
    one.refusals = {1: SendError("x"), 2: SendError("y")}
    one.receive(records(0, 1, 2, 3, 4))
    batches = []
    while one.buffer:
        batch = one.batch(10)
        batches.append(offsets(batch))
        one.advance(len(batch))
    assert batches == [[0], [1], [2], [3, 4]]


def test_nothing_runs_while_a_schema_is_missing() -> None:
    one = owned()
    one.receive(records(0))
    assert one.runnable
    one.hold = Hold("schema 7", lambda: False)
    assert not one.runnable
