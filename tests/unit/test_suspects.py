"""Which record in a lane killed its process: all that run are suspects, each is tried alone, one is found."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_lane_executor import Hand

from streams.failures.journal import MOST_DEATHS
from streams.lanes.lanes import Lanes
from streams.lanes.runners import Job
from streams.lanes.suspects import Spot, Suspects, Watched

CONCURRENCY = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "running"


def opened(path: Path) -> Suspects:
    return Suspects(path, CONCURRENCY)


def die(path: Path, *spots: Spot, ended: tuple[Spot, ...] = ()) -> None:
    """Let a process begin records, end some, and be gone; what is mapped stays."""
    suspects = opened(path)
    for spot in spots:
        suspects.begin(spot)
    for spot in ended:
        suspects.end(spot)


def test_what_ran_when_the_process_died_is_suspected_and_what_had_ended_is_not(path: Path) -> None:
    die(path, (0, 7), (0, 8), (1, 7), ended=((0, 8),))
    suspects = opened(path)

    assert [(0, 7) in suspects, (1, 7) in suspects, (0, 8) in suspects] == [True, True, False]
    assert suspects.killers(0) == []


def test_the_third_death_names_the_one_and_the_others_are_cleared(path: Path) -> None:
    die(path, (0, 7), (0, 8), (0, 9))
    die(path, (0, 7), (0, 8), ended=((0, 7),))
    assert opened(path).killers(0) == []
    die(path, (0, 8))
    suspects = opened(path)

    assert suspects.killers(0) == [8]
    assert suspects.killers(1) == []
    assert [(0, 7) in suspects, (0, 9) in suspects] == [False, True]


def test_two_killers_are_both_found_after_five_deaths(path: Path) -> None:
    die(path, (0, 7), (0, 8))
    for _ in range(MOST_DEATHS - 1):
        die(path, (0, 7))
    for _ in range(MOST_DEATHS - 1):
        assert opened(path).killers(0) == [7]
        die(path, (0, 7), (0, 8), ended=((0, 7),))  # given up without its handler; that is not committed yet

    assert sorted(opened(path).killers(0)) == [7, 8]


def test_a_killer_is_forgotten_once_that_is_committed(path: Path) -> None:
    for _ in range(MOST_DEATHS):
        die(path, (0, 7))
    suspects = opened(path)
    suspects.begin((0, 7))
    suspects.end((0, 7))
    assert suspects.killers(0) == [7]
    suspects.settle([(0, 7)])
    suspects.close()

    assert (0, 7) not in opened(path)


def test_a_process_that_ends_in_good_order_accuses_nobody_and_acquits_nobody(path: Path) -> None:
    die(path, (0, 7))
    for _ in range(MOST_DEATHS):
        suspects = opened(path)
        suspects.begin((0, 7))
        suspects.begin((0, 8))
        suspects.close()
    suspects = opened(path)

    assert (0, 7) in suspects
    assert (0, 8) not in suspects
    assert suspects.killers(0) == []


def test_no_more_suspects_are_kept_than_may_run_and_the_worst_of_them(path: Path) -> None:
    die(path, (0, 100), *[(0, at) for at in range(3)])
    die(path, (0, 100), *[(0, at) for at in range(3, 6)])
    suspects = opened(path)

    assert (0, 100) in suspects
    assert sum((0, at) in suspects for at in range(6)) == CONCURRENCY - 1
    die(path, *[(0, at) for at in range(200, 200 + CONCURRENCY)])  # there is room for all that run


def test_a_file_of_another_size_is_taken_over(path: Path) -> None:
    path.write_bytes(b"\x01\x02")
    assert opened(path).killers(0) == []
    Suspects(path, 100).begin((0, 7))
    assert (0, 7) in opened(path)


def test_what_runs_is_noted_until_it_has_ended(path: Path) -> None:
    class Noting(Suspects):
        def begin(self, spot: Spot) -> None:
            noted.append(f"begin {spot}")
            super().begin(spot)

        def end(self, spot: Spot) -> None:
            noted.append(f"end {spot}")
            super().end(spot)

    noted: list[str] = []
    hand = Hand()
    spot_of: Callable[[Any], Spot] = lambda job: (0, job.lane)  # noqa: E731 - a name for its type
    watched = Watched(hand, Noting(path, CONCURRENCY), spot_of)  # type: ignore[arg-type] # it answers for any type
    lanes: Lanes[Job] = Lanes(watched, CONCURRENCY, lambda job: noted.append(f"finished {job.lane}"))
    job = Job(5, lambda: None)
    lanes.add(job)
    hand.end(job)

    assert noted == ["begin (0, 5)", "end (0, 5)", "finished 5"]


def test_a_suspect_runs_alone_and_the_others_wait_for_it() -> None:
    hand = Hand()
    lanes: Lanes[Job] = Lanes(hand, CONCURRENCY, lambda _: None)  # type: ignore[arg-type] # it answers for any type
    jobs = [Job(lane, lambda: None) for lane in range(5)]
    jobs[2].alone = jobs[3].alone = True
    for job in jobs:
        lanes.add(job)

    assert hand.running == jobs[:2]
    hand.end(jobs[0])
    assert hand.running == [jobs[1]]
    hand.end(jobs[1])
    assert hand.running == [jobs[2]]
    hand.end(jobs[2])
    assert hand.running == [jobs[3]]
    hand.end(jobs[3])
    assert hand.running == [jobs[4]]


def test_a_suspect_that_is_given_up_holds_up_nobody() -> None:
    hand = Hand()
    lanes: Lanes[Job] = Lanes(hand, CONCURRENCY, lambda _: None)  # type: ignore[arg-type] # it answers for any type
    jobs = [Job(lane, lambda: None) for lane in range(3)]
    jobs[1].alone = True
    for job in jobs:
        lanes.add(job)
    lanes.fence([jobs[1]])

    assert hand.running == [jobs[0], jobs[2]]


def test_it_costs_microseconds(path: Path) -> None:
    suspects, began = Suspects(path, 100), time.perf_counter()
    for at in range(20_000):
        suspects.begin((0, at))
        suspects.end((0, at))
    each = (time.perf_counter() - began) / 20_000 * 1e6
    print(f"\n{each:.2f} µs a record")
    assert each < 20
