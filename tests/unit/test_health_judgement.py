"""Health is progress: sequences of snapshots under a virtual clock, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from streams.health.board import STEADY_AFTER, Board
from streams.health.judge import Problem, problems, stalls, unready
from streams.health.observe import DELIVERY
from streams.health.progress import PartitionProgress, State, Times, Totals, WorkerProgress

BOUND = 60.0
GROUP = "shop.count"


class Scene:
    """One supervisor's board, seen once a second."""

    def __init__(self, workers: int = 1) -> None:
        self.now = 1000.0
        self.board = Board(lambda: self.now)
        self.places = [self.board.place("count", GROUP) for _ in range(workers)]
        for place in self.places:
            self.board.started(place)

    def put(self, *partitions: PartitionProgress, place: int = 0, **more: Any) -> None:
        self.board.put(self.places[place], snapshot(*partitions, **more))

    def run(self, seconds: int, partitions: Iterable[PartitionProgress], **more: Any) -> list[Problem]:
        """Let time pass with the same snapshot; return what is wrong in the end."""
        listed = list(partitions)
        for _ in range(seconds):
            self.now += 1
            self.put(*listed, **more)
        return self.problems()

    def problems(self, bound: float = BOUND) -> list[Problem]:
        return problems(self.board.views(), bound)


def snapshot(*partitions: PartitionProgress, **more: Any) -> WorkerProgress:
    given = {"running": 5.0, "joined": True, **more}
    return WorkerProgress("count", GROUP, "shop.items", 4711, 0, partitions=partitions, **given)


def at(
    committed: int, end: int, *, position: int | None = None, state: State = "running", number: int = 0, **more: Any
) -> PartitionProgress:
    position = committed if position is None else position
    return PartitionProgress("shop.items", number, position, committed, end, state, **more)


def test_an_idle_group_is_healthy_for_ever() -> None:
    scene = Scene()
    assert scene.run(10_000, [at(7, 7, state="idle")]) == []
    (view,) = scene.board.views()
    assert view.partitions[0].progress.lag == 0
    assert view.partitions[0].stalled == 0


def test_a_busy_group_is_healthy_however_far_it_is_behind() -> None:
    scene = Scene()
    for second in range(300):
        scene.now += 1
        scene.put(at(10 * second, 1_000_000 + 20 * second, position=10 * second + 3))
        assert scene.problems() == []
    assert scene.board.views()[0].partitions[0].progress.lag > 1_000_000


def test_work_after_a_long_quiet_time_has_the_whole_bound() -> None:
    scene = Scene()
    scene.run(1000, [at(7, 7, state="idle")])
    assert scene.run(int(BOUND) - 1, [at(7, 8)]) == []
    assert scene.run(2, [at(7, 8)])


def test_a_stuck_handler_is_named_with_its_record() -> None:
    scene = Scene()
    stuck = at(5, 345, waits_on="handler count at shop.py:17", waited=61.0, offset=5, key="'7'")
    assert scene.run(59, [stuck]) == []
    (problem,) = scene.run(3, [stuck])
    assert (problem.topic, problem.partition, problem.offset, problem.key) == ("shop.items", 0, 5, "'7'")
    assert str(problem) == (
        "shop.count: shop.items[0] finished nothing for 61 s, 340 records behind, "
        "waits on handler count at shop.py:17 since 61 s at offset 5, key '7'"
    )
    assert "handler" in problem.fix


def test_what_is_stepped_again_and_again_and_never_committed_is_no_progress() -> None:
    scene = Scene()
    for second in range(65):
        scene.now += 1
        scene.put(at(5, 100, position=5 + 10 * (second % 3)))
    assert [problem.topic for problem in scene.problems()] == ["shop.items"]


def test_uncommitted_work_at_the_end_of_a_partition_is_unfinished() -> None:
    scene = Scene()
    assert scene.run(70, [at(5, 9, position=9)])


def test_a_commit_interval_counts_on_top_of_the_bound() -> None:
    scene = Scene()
    assert scene.run(170, [at(5, 9, position=9)], commit_every=120.0) == []
    assert scene.run(15, [at(5, 9, position=9)], commit_every=120.0)


def test_a_held_partition_is_red_after_the_bound_with_its_reason() -> None:
    for reason in (
        "schema 7",
        "waiting store full",
        "dependency: the handler failed for 9 of 9 keys",
        "breaker stripe",
    ):
        scene = Scene()
        held = at(7, 7, state="held", waits_on=reason)
        assert scene.run(60, [held]) == []
        (problem,) = scene.run(2, [held])
        assert reason in problem.what
        assert problem.fix != "see the worker's log"


@pytest.mark.parametrize(
    "waits_on",
    [
        "handler charge",
        "its commit",
        "commit, which Kafka has not answered",
        "rebalance: state is opened",
        "restore, 5 records to go",
        "its worker, whose handler is at in[3]",
        DELIVERY,
    ],
)
def test_whatever_it_waits_on_there_is_advice(waits_on: str) -> None:
    (problem,) = Scene().run(62, [at(5, 9, waits_on=waits_on)])
    assert problem.fix != "see the worker's log"


def test_a_hold_that_is_released_and_comes_back_without_progress_is_one_hold() -> None:
    scene = Scene()
    for _ in range(12):
        scene.run(4, [at(7, 9, state="held", waits_on="breaker stripe")])
        scene.run(2, [at(7, 9, position=8)])
    assert "breaker stripe" not in scene.problems()[0].what
    assert len(scene.problems()) == 1


def test_a_restore_that_goes_on_is_healthy_and_not_ready() -> None:
    scene = Scene()
    for second in range(200):
        scene.now += 1
        scene.put(at(7, 9, state="restoring", waits_on="restore", remaining=1000 - second))
    assert scene.problems() == []
    assert unready(scene.board.views()) == ["shop.count: restoring 801 records of shop.items[0]"]


def test_a_restore_that_stands_still_is_red() -> None:
    scene = Scene()
    stuck = at(7, 7, state="restoring", waits_on="restore, 5 records to go", remaining=5)
    assert "restore" in scene.run(62, [stuck])[0].what


def test_one_stuck_partition_beside_busy_ones_is_red() -> None:
    scene = Scene()
    for second in range(70):
        scene.now += 1
        scene.put(at(second, 1000, number=0), at(3, 4, number=1))
    assert [problem.partition for problem in scene.problems()] == [1]


def test_the_record_that_is_to_blame_comes_before_what_it_holds_up() -> None:
    scene = Scene()
    scene.run(30, [at(3, 4, position=4, number=0)])
    stuck = at(5, 9, number=1, waits_on="handler count at shop.py:17", offset=5, key="'7'")
    found = scene.run(62, [at(3, 4, position=4, number=0, waits_on="its worker, whose handler is at in[1]"), stuck])
    assert [problem.partition for problem in found] == [1, 0]
    assert found[1].fix == "see that partition"


def test_a_worker_that_says_nothing_any_more_is_red_and_does_not_answer() -> None:
    scene = Scene()
    scene.put(at(7, 7, state="idle"))
    scene.now += 59
    assert scene.problems() == []
    scene.now += 2
    (problem,) = scene.problems()
    assert problem.what == "worker 4711 has not answered for 61 s"


def test_a_silent_worker_with_work_names_its_partition_too() -> None:
    scene = Scene()
    scene.put(at(7, 9))
    scene.now += 61
    assert [problem.partition for problem in scene.problems()] == [None, 0]
    assert "has not answered" in scene.problems()[1].what


def test_a_worker_that_never_says_anything_or_never_joins_is_red() -> None:
    scene = Scene()
    assert unready(scene.board.views()) == ["shop.count: its worker starts"]
    scene.now += 61
    assert "has not said anything" in scene.problems()[0].what
    scene.put(joined=False, running=61.0)
    assert "has not joined its group for 61 s" in scene.problems()[0].what
    assert unready(scene.board.views()) == ["shop.count: its worker has not joined the group yet"]


def test_an_idle_worker_that_kafka_does_not_answer_is_red() -> None:
    scene = Scene()
    scene.put(at(7, 7, state="idle"), unanswered=61.0)
    assert "Kafka has not answered worker 4711 for 61 s" in scene.problems()[0].what


def test_a_worker_without_partitions_is_healthy_and_ready() -> None:
    scene = Scene()
    scene.put()
    assert scene.problems() == []
    assert unready(scene.board.views()) == []


def test_a_worker_that_dies_over_and_over_is_red_until_it_runs_steadily() -> None:
    scene = Scene()
    for death in (1, 2, 3):
        scene.board.ended(0)
        scene.board.died(0, death)
        scene.board.started(0)
        assert bool(scene.problems()) == (death == 3)
    assert scene.problems()[0].what == "a worker died 3 times in a row"
    scene.put(at(7, 7, state="idle"))
    scene.now += STEADY_AFTER
    scene.put(at(7, 7, state="idle"))
    assert scene.problems() == []
    assert scene.board.views()[0].restarts == 3


def test_dying_again_and_again_at_one_record_is_a_stall_of_its_partition() -> None:
    """Each process steps the record and dies; the time without progress goes on over all of them."""
    scene = Scene()
    for _ in range(16):
        scene.run(4, [at(7, 9, position=8)])
        scene.board.ended(0)
        assert "its worker, which is down" in (scene.problems(0.0) or [Problem("", "", 0, "")])[0].what
        scene.board.started(0)
        scene.put(joined=False)
    assert [problem.partition for problem in stalls(scene.board.views(), BOUND)] == [0]


def test_a_partition_that_moves_to_another_worker_is_that_ones() -> None:
    scene = Scene(workers=2)
    scene.put(at(7, 9), place=0)
    scene.put(at(7, 9), place=1)
    first, second = scene.board.views()
    assert (len(first.partitions), len(second.partitions)) == (0, 1)
    scene.put(place=1)
    scene.now += 100
    scene.put(place=0)
    scene.put(place=1)
    assert scene.problems() == []


def test_what_a_process_counted_outlives_it() -> None:
    scene = Scene()
    times = Times((1,) * 13, 2.0)
    scene.put(totals=Totals({"processed": 10, "outputs": 7}, 3, 1, times, times))
    scene.board.ended(0)
    assert scene.board.views()[0].totals.counts == {"processed": 10, "outputs": 7}
    scene.board.put(0, snapshot(totals=Totals({"processed": 99})))  # too late: its process has ended
    assert scene.board.views()[0].totals.counts == {"processed": 10, "outputs": 7}
    scene.board.started(0)
    scene.put(totals=Totals({"processed": 1, "queued": 2}, 1, 0, times, times))
    totals = scene.board.views()[0].totals
    assert totals.counts == {"processed": 11, "outputs": 7, "queued": 2}
    assert (totals.records, totals.commits, totals.aborts) == (13, 4, 1)
    assert totals.commit_seconds == Times((2,) * 13, 4.0)


def test_the_rate_is_that_of_the_last_second() -> None:
    scene = Scene()
    for second, processed in enumerate((0, 500, 700)):
        scene.now = 1000.0 + second
        scene.put(totals=Totals({"processed": processed, "outputs": 9 * processed}))
    assert scene.board.views()[0].rate == 200
