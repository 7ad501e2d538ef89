"""Order per key, so many at a time, nothing twice, whatever ends when."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.lanes.lanes import Lanes
from streams.lanes.runners import Job
from streams.lanes.window import Window


class Hand:
    """A runner whose jobs end when a test says so."""

    def __init__(self) -> None:
        self.began: list[Job] = []
        self._ended: dict[Job, Callable[[Job], None]] = {}

    def start(self, job: Job, ended: Callable[[Job], None]) -> None:
        self.began.append(job)
        self._ended[job] = ended

    @property
    def running(self) -> list[Job]:
        return list(self._ended)

    def end(self, job: Job) -> None:
        job.run()
        self._ended.pop(job)(job)

    def ask(self, question: Callable[[], object]) -> object:
        return question()

    def turn(self, timeout: float) -> None:
        pass

    def close(self) -> None:
        pass


class Bench:
    """Lanes over such a runner, and what they told."""

    def __init__(self, concurrency: int = 10) -> None:
        self.runner = Hand()
        self.finished: list[Job] = []
        self.lanes = Lanes(self.runner, concurrency, self.finished.append)  # type: ignore[arg-type] # a double

    def add(self, lane: object, result: object = None, *, urgent: bool = False) -> Job:
        def call() -> object:
            if isinstance(result, Exception):
                raise result
            return result

        job = Job(lane, call, urgent=urgent)
        self.lanes.add(job)
        return job


def test_jobs_of_a_lane_follow_each_other_and_other_lanes_run_beside() -> None:
    bench = Bench()
    first, second, other = bench.add("a"), bench.add("a"), bench.add("b")
    assert bench.runner.running == [first, other]
    bench.runner.end(first)
    assert bench.runner.running == [other, second]
    assert bench.finished == [first]


def test_no_more_run_than_allowed() -> None:
    bench = Bench(concurrency=2)
    jobs = [bench.add(lane) for lane in range(5)]
    assert bench.runner.running == jobs[:2]
    bench.runner.end(jobs[1])
    assert bench.runner.running == [jobs[0], jobs[2]]


def test_after_a_failure_its_lane_waits_for_a_decision() -> None:
    bench = Bench()
    failing, after = bench.add("a", ValueError()), bench.add("a")
    bench.runner.end(failing)
    assert bench.lanes.held == {"a"}
    assert bench.runner.running == []
    bench.lanes.release("a")
    assert bench.runner.running == [after]


def test_what_is_found_wrong_with_a_result_is_a_failure_too() -> None:
    bench = Bench()

    def refuse(job: Job) -> None:
        job.error = ValueError()

    bench.lanes._finished = refuse
    first = bench.add("a")
    bench.add("a")
    bench.runner.end(first)
    assert bench.runner.running == []


def test_an_urgent_job_runs_in_a_held_lane_and_the_others_go_on_waiting() -> None:
    bench = Bench()
    bench.lanes.hold("a")
    bench.add("a")
    assert bench.runner.running == []
    retry = bench.add("a", urgent=True)
    assert bench.runner.running == [retry]
    bench.runner.end(retry)
    assert bench.runner.running == []


def test_what_runs_on_behind_a_fence_keeps_its_lane_and_gives_nothing() -> None:
    bench = Bench()
    running, waiting = bench.add("a"), bench.add("a")
    bench.lanes.fence([running, waiting])
    again = bench.add("a")
    assert bench.runner.running == [running]  # the same key never runs twice at the same time
    bench.runner.end(running)
    assert bench.finished == []
    assert bench.runner.running == [again]
    assert waiting not in bench.runner.began


def test_a_fence_around_several_jobs_begins_none_of_them() -> None:
    bench = Bench(concurrency=1)
    other, *waiting = bench.add("b"), bench.add("a"), bench.add("a"), bench.add("c")
    bench.runner.end(other)
    assert bench.runner.running == waiting[:1]
    bench.lanes.fence(waiting)
    assert bench.runner.began == [other, waiting[0]]


def test_a_fenced_failure_holds_nothing() -> None:
    bench = Bench()
    failing = bench.add("a", ValueError())
    bench.lanes.fence([failing])
    after = bench.add("a")
    bench.runner.end(failing)
    assert bench.runner.running == [after]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_ends_when_each_key_keeps_its_order(seed: int) -> None:
    """Random arrivals, ends, failures, releases and fences against what must hold at every moment."""
    random = Random(seed)
    bench = Bench(concurrency=random.randint(1, 5))
    numbers: dict[Job, tuple[str, int]] = {}
    counts: dict[str, int] = defaultdict(int)
    for _ in range(300):
        what = random.random()
        if what < 0.45:
            lane = random.choice("abcdef")
            numbers[bench.add(lane, ValueError() if random.random() < 0.1 else None)] = (lane, counts[lane])
            counts[lane] += 1
        elif what < 0.85 and bench.runner.running:
            bench.runner.end(random.choice(bench.runner.running))
        elif what < 0.95 and bench.lanes.held:
            bench.lanes.release(random.choice(sorted(bench.lanes.held)))
        elif what > 0.98:
            bench.lanes.fence([job for job in numbers if not job.ended and random.random() < 0.5])
        lanes = [job.lane for job in bench.runner.running]
        assert len(lanes) == len(set(lanes)) == bench.lanes.running <= bench.lanes._concurrency
        waiting = {lane for lane, jobs in bench.lanes._queues.items() if jobs}
        startable = waiting - set(lanes) - bench.lanes.held
        assert not startable or bench.lanes.running == bench.lanes._concurrency, "a lane is forgotten"
    while bench.runner.running or bench.lanes.held:
        for job in bench.runner.running:
            bench.runner.end(job)
        for lane in list(bench.lanes.held):
            bench.lanes.release(lane)
    assert len(set(bench.runner.began)) == len(bench.runner.began), "a job began twice"
    began: dict[str, list[int]] = defaultdict(list)
    for job in bench.runner.began:
        lane, number = numbers[job]
        began[lane].append(number)
    assert began
    assert all(order == sorted(order) for order in began.values())
    assert all(job.ended or job.fenced for job in numbers), "a job never began"
    print(f"compared {len(bench.runner.began)} jobs")


# ---- what is begun and not committed ----


def job(lane: str = "a", error: Exception | None = None, *, ended: bool = False, size: int = 1) -> Job:
    made = Job(lane, lambda: None, size=size)
    made.ended, made.error = ended, error
    return made


def test_a_result_is_there_until_it_is_taken_and_again_after_an_abort() -> None:
    window: Window[Job] = Window()
    first, second = job(ended=True), job(ended=True)
    window.put(3, first)
    window.put(4, second)
    assert window.take(3) is None
    assert (window.get(3), window.get(4), len(window)) == (None, second, 1)
    window.rewind()
    assert (window.get(3), len(window)) == (first, 2)
    window.take(3)
    window.committed()
    window.rewind()
    assert (window.get(3), list(window), window.size) == (None, [second], 1)


def test_taking_what_did_not_begin_gives_it_back() -> None:
    window: Window[Job] = Window()
    waiting = job()
    window.put(3, waiting)
    assert window.take(3) is waiting
    assert len(list(window)) == 0


def test_unbegun_jobs_are_those_that_neither_run_nor_ended() -> None:
    window: Window[Job] = Window()
    jobs = [job(), job(ended=True), job()]
    jobs[2].running = True
    for offset, one in enumerate(jobs):
        window.put(offset, one)
    assert window.unbegun() == jobs[:1]
    assert list(window) == jobs[1:]


class Modelled(NamedTuple):
    """A job and what the model knows of it."""

    job: Job
    taken: bool


@given(st.lists(st.tuples(st.sampled_from("petcrf"), st.integers(0, 8), st.booleans()), max_size=60))
def test_a_window_counts_what_it_holds(actions: list[tuple[str, int, bool]]) -> None:
    """Any order of puts, ends, takes, commits, rewinds and forgetting against a plain dictionary."""
    window: Window[Job] = Window()
    model: dict[int, Modelled] = {}
    for action, offset, flag in actions:
        held = model.get(offset)
        if action == "p":
            model[offset] = Modelled(job("ab"[flag], size=offset + 1), False)
            window.put(offset, model[offset].job)
        elif action == "e" and held and not held.job.ended:
            held.job.ended, held.job.error = True, ValueError() if flag else None
            window.ended(held.job, 10)
        elif action == "t" and held and held.job.ended:
            window.take(offset)
            model[offset] = held._replace(taken=True)
        elif action == "c":
            window.committed()
            model = {at: one for at, one in model.items() if not one.taken}
        elif action == "r":
            window.rewind()
            model = {at: one._replace(taken=False) for at, one in model.items()}
        elif action == "f":
            window.forget(offset)
            model.pop(offset, None)
        untaken = [one.job for one in model.values() if not one.taken]
        assert {at: window.get(at) for at in model} == {at: None if one.taken else one.job for at, one in model.items()}
        assert window.size == sum(one.job.size for one in model.values())
        assert len(window) == len(untaken)
        assert set(window.untaken()) == set(untaken)
        assert +window.failing == Counter(one.lane for one in untaken if one.ended and one.error)
