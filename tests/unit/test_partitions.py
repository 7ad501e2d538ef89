"""The partitions that a worker owns: the order in which they are opened, what lets them run, and how they go back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from rig import CODECS
from test_owned import app, records

from streams.lanes.handling import Handling
from streams.owned import Hold
from streams.partitions import Partitions, numbers
from streams.record import Polled, Positions, TopicPartition
from streams.state.restore import Bounds, Restorer
from streams.state.task_state import TaskState
from streams.task import Task

ZERO, ONE = TopicPartition("in", 0), TopicPartition("in", 1)
BACK_0 = TopicPartition("g.redrive", 0)


class Consumer:
    """Notes what it is told, and knows what is committed."""

    def __init__(self, told: list[Any], committed: Mapping[TopicPartition, int]) -> None:
        self._told = told
        self._committed = committed

    def poll(self, _most: int, _timeout: float) -> Polled:
        raise AssertionError("nobody polls")

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> dict[TopicPartition, int | None]:
        self._told.append(("committed", list(partitions), timeout))
        return {tp: self._committed.get(tp) for tp in partitions}

    def assign(self, positions: Positions) -> None:
        self._told.append(("assign", dict(positions)))

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._told.append(("pause", list(partitions)))

    def restart(self, positions: Positions) -> None:
        self._told.append(("restart", dict(positions)))

    def group_metadata(self) -> Any:
        return None


class Reader:
    """Notes what it follows."""

    def __init__(self, told: list[Any]) -> None:
        self._told = told

    def follow(self, positions: Positions) -> None:
        self._told.append(("follow", dict(positions)))

    def unfollow(self, partitions: Iterable[TopicPartition]) -> None:
        self._told.append(("unfollow", list(partitions)))

    def poll(self, _most: int, _timeout: float) -> Polled:
        return Polled([], {})


class Lanes(Handling):
    """Notes what it hears."""

    def __init__(self, told: list[Any]) -> None:
        self._told = told

    def hold(self, partition: TopicPartition, _owned: Any) -> None:
        self._told.append(("lanes hold", partition))

    def rewind(self, partition: TopicPartition, _owned: Any) -> None:
        self._told.append(("lanes rewind", partition))

    def close(self, partition: TopicPartition) -> None:
        self._told.append(("lanes close", partition))


class Bench:
    """Partitions over such clients; `unready` are restored when a test says so."""

    def __init__(self, committed: Mapping[TopicPartition, int] | None = None, *, redrive: str | None = None) -> None:
        self.told: list[Any] = []
        self.unready: set[TopicPartition] = set()
        self.opened: dict[TopicPartition, Task] = {}
        restorer = Restorer(Reader(self.told), self._bounds)
        restorer.is_ready = lambda state: self._partition(state) not in self.unready  # type: ignore[method-assign] # as a test says
        consumer = Consumer(self.told, committed or {})
        self.partitions = Partitions(consumer, restorer, self._open, Lanes(self.told), redrive, 7.0)

    def _open(self, partition: TopicPartition) -> Task:
        self.opened[partition] = Task(app.processors["ignore"], CODECS, TaskState())
        return self.opened[partition]

    def _bounds(self, sources: Iterable[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        self.told.append("bounds")
        return {tp: Bounds(0, 0) for tp in sources}

    def _partition(self, state: TaskState) -> TopicPartition:
        return next(tp for tp, task in self.opened.items() if task.state is state)

    def take(self) -> list[Any]:
        taken, self.told[:] = list(self.told), []
        return taken


def test_committed_offsets_are_asked_for_before_the_bounds() -> None:
    bench = Bench({ZERO: 5, BACK_0: 2}, redrive="g.redrive")
    bench.partitions.open([ZERO])

    assert bench.take() == [
        ("committed", [ZERO, BACK_0], 7.0),
        ("assign", {ZERO: 5}),
        "bounds",
        ("follow", {BACK_0: 2}),
    ]
    assert bench.partitions.owned[ZERO].free
    assert (bench.partitions.beside(ONE), bench.partitions.redrives_of(ZERO)) == (
        TopicPartition("g.redrive", 1),
        bench.partitions.redrives[BACK_0],
    )


def test_a_processor_to_which_nothing_comes_back_has_nothing_beside() -> None:
    bench = Bench({ZERO: 5})
    bench.partitions.open([ZERO])

    assert (bench.partitions.beside(ZERO), bench.partitions.redrives_of(ZERO), bench.partitions.redrives) == (
        None,
        None,
        {},
    )


def test_a_partition_whose_state_is_not_restored_is_paused_until_it_is() -> None:
    bench = Bench({ZERO: 5, BACK_0: 2}, redrive="g.redrive")
    bench.unready = {ZERO}
    bench.partitions.open([ZERO, ONE])
    assert bench.take()[-1] == ("pause", [ZERO])
    bench.partitions.release()
    assert [tp for tp, _ in bench.partitions.free()] == [ONE]
    assert bench.take() == []
    bench.unready.clear()
    bench.partitions.owned[ZERO].receive(records(9))  # fetched before the pause
    bench.partitions.release()

    assert bench.take() == [("follow", {BACK_0: 2}), ("restart", {ZERO: 5})]
    assert [tp for tp, _ in bench.partitions.free()] == [ZERO, ONE]
    assert bench.partitions.runnable() == []


def test_a_held_partition_reads_on_from_where_it_is_done_once_its_reason_has_passed() -> None:
    bench = Bench({ZERO: 5})
    bench.partitions.open([ZERO, ONE])
    passed = False
    bench.partitions.owned[ZERO].receive(records(5, 6))
    bench.partitions.owned[ZERO].advance(1)
    bench.take()
    bench.partitions.hold(ZERO, Hold("a reason", lambda: passed))
    bench.partitions.release()

    assert bench.take() == [("lanes hold", ZERO), ("pause", [ZERO])]
    assert [tp for tp, _ in bench.partitions.free()] == [ONE]
    assert bench.partitions.runnable() == []
    passed = True
    assert [tp for tp, _ in bench.partitions.released()] == [ZERO]
    bench.partitions.release()
    assert bench.take() == [("restart", {ZERO: 6})]
    assert bench.partitions.owned[ZERO].hold is None


def test_an_abort_goes_back_to_the_last_commit_of_input_and_redrives() -> None:
    bench = Bench({ZERO: 5, BACK_0: 2}, redrive="g.redrive")
    bench.unready = {ONE}
    bench.partitions.open([ZERO, ONE])
    bench.partitions.owned[ZERO].receive(records(5, 6, 7))
    bench.partitions.owned[ZERO].advance(2)
    bench.partitions.committed({ZERO: 6, BACK_0: 3})
    bench.partitions.redrives[BACK_0].done = 9
    bench.take()
    bench.partitions.rewind()

    assert bench.partitions.owned[ZERO].done == 6
    assert bench.take() == [
        ("lanes rewind", ZERO),
        ("lanes rewind", ONE),
        ("unfollow", [BACK_0]),
        ("follow", {BACK_0: 3}),
        ("restart", {ZERO: 6}),
    ]


def test_what_was_refused_is_forgotten_with_the_commit_that_took_it() -> None:
    bench = Bench()
    bench.partitions.open([ZERO])
    owned = bench.partitions.owned[ZERO]
    owned.refusals = {3: RuntimeError(), 4: RuntimeError()}  # type: ignore[dict-item] # any error
    owned.answered = {3}
    bench.partitions.committed({ZERO: 4})

    assert (list(owned.refusals), owned.committed) == ([4], 4)


def test_redrives_are_read_only_as_far_as_there_is_room_and_again_once_all_is_dealt_with() -> None:
    bench = Bench({BACK_0: 0}, redrive="g.redrive")
    bench.partitions.open([ZERO])
    redrives = bench.partitions.redrives[BACK_0]
    bench.take()
    redrives.receive(records(*range(1_000)))
    bench.partitions.read_redrives()
    assert bench.take() == [("unfollow", [BACK_0])]
    redrives.advance(999)
    bench.partitions.read_redrives()
    assert bench.take() == []
    redrives.advance(1)
    bench.partitions.read_redrives()
    bench.partitions.read_redrives()
    assert bench.take() == [("follow", {BACK_0: 1_000})]


def test_a_partition_that_is_given_up_leaves_nothing_behind() -> None:
    bench = Bench({ZERO: 5}, redrive="g.redrive")
    bench.partitions.open([ZERO, ONE])
    bench.take()
    bench.partitions.close([ZERO])
    bench.partitions.close([ZERO])

    assert bench.take()[:2] == [("lanes close", ZERO), ("unfollow", [BACK_0])]
    assert list(bench.partitions.owned) == list(bench.partitions.states) == [ONE]
    assert list(bench.partitions.redrives) == [TopicPartition("g.redrive", 1)]


@pytest.mark.parametrize(("partitions", "shown"), [([ONE, ZERO], [0, 1]), ([], [])])
def test_the_log_has_their_numbers(partitions: list[TopicPartition], shown: list[int]) -> None:
    assert numbers(partitions) == shown


def test_many_partitions_are_followed_and_given_up_with_one_call() -> None:
    bench = Bench({ZERO: 5, ONE: 6, BACK_0: 2}, redrive="g.redrive")
    back_1 = TopicPartition("g.redrive", 1)
    bench.partitions.open([ZERO, ONE])
    assert bench.take() == [
        ("committed", [ZERO, ONE, BACK_0, back_1], 7.0),
        ("assign", {ZERO: 5, ONE: 6}),
        "bounds",
        ("follow", {BACK_0: 2, back_1: None}),
    ]
    bench.partitions.close([ZERO, ONE])
    assert [told for told in bench.take() if told[0] == "unfollow" and told[1]] == [("unfollow", [BACK_0, back_1])]
