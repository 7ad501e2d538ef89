"""Handlers of lanes in a test: seeded, on one thread, coroutines in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from random import Random

import pytest

from streams.errors import RevokedError
from streams.lanes.runners import Job
from streams.testing.clock import VirtualClock
from streams.testing.handlers import CoroutineRunner, TurnRunner, complete


class Rig:
    """A runner with a clock and a log of what it told."""

    def __init__(self, seed: int = 0) -> None:
        self.clock = VirtualClock()
        self.plain = TurnRunner(Random(seed))
        self.coroutines = CoroutineRunner(Random(seed), self.clock.seconds)
        self.ended: list[Job] = []

    def start(self, runner: TurnRunner, call: Callable[[], object]) -> Job:
        job = Job(object(), call)
        runner.start(job, self.ended.append)
        return job

    def settle(self, runner: TurnRunner) -> None:
        while runner.has_work():
            runner.turn(0)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.coroutines.close()


def test_a_started_handler_runs_at_a_turn(rig: Rig) -> None:
    job = rig.start(rig.plain, lambda: "value")
    assert not job.ended
    assert job.result is None
    rig.settle(rig.plain)
    assert (job.result, rig.ended) == ("value", [job])


def test_the_seed_decides_the_order_and_every_turn_does_something() -> None:
    def order(seed: int) -> list[int]:
        made, ran = Rig(seed), []
        for number in range(10):
            made.start(made.plain, lambda number=number: ran.append(number))
        turns = 0
        while made.plain.has_work():
            made.plain.turn(0)
            turns += 1
        assert turns <= 20
        made.coroutines.close()
        return ran

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(10)}) > 1


def test_an_end_may_be_told_later_than_it_was() -> None:
    late = 0
    for seed in range(20):
        made = Rig(seed)
        jobs = [made.start(made.plain, lambda: None) for _ in range(3)]
        made.plain.turn(0)
        late += any(job not in made.ended for job in jobs) and bool(made.plain.has_work())
        made.coroutines.close()
    assert late


def test_a_coroutine_sleeps_in_virtual_time(rig: Rig) -> None:
    async def sleep() -> str:
        await asyncio.sleep(60)
        return "awake"

    jobs = [rig.start(rig.coroutines, sleep) for _ in range(3)]
    rig.settle(rig.coroutines)
    assert rig.coroutines.next_time() == 60
    assert rig.ended == []
    rig.clock.advance(timedelta(seconds=59))
    assert not rig.coroutines.has_work()
    rig.clock.advance(timedelta(seconds=1))
    rig.settle(rig.coroutines)
    assert [job.result for job in jobs] == ["awake"] * 3
    assert rig.coroutines.next_time() is None


def test_timeouts_run_in_virtual_time_too(rig: Rig) -> None:
    async def impatient() -> str:
        try:
            await asyncio.wait_for(asyncio.sleep(10), timeout=5)
        except TimeoutError:
            return "too slow"
        return "done"

    job = rig.start(rig.coroutines, impatient)
    rig.settle(rig.coroutines)
    rig.clock.advance(timedelta(seconds=5))
    rig.settle(rig.coroutines)
    assert job.result == "too slow"


def test_what_is_really_elsewhere_is_waited_for(rig: Rig) -> None:
    async def thread() -> str:
        return await asyncio.to_thread(lambda: "from a thread")

    job = rig.start(rig.coroutines, thread)
    rig.settle(rig.coroutines)
    assert job.result == "from a thread"


def test_a_test_may_be_a_coroutine_itself(rig: Rig) -> None:
    async def handler() -> str:
        await asyncio.sleep(0)
        return "value"

    async def test() -> None:
        job = rig.start(rig.coroutines, handler)
        rig.settle(rig.coroutines)
        assert job.result == "value"
        await asyncio.sleep(0)

    asyncio.run(test())


def test_after_the_end_nothing_runs_and_nobody_is_answered(rig: Rig) -> None:
    async def ask() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            rig.coroutines.ask(lambda: None)
        return "done"

    job = rig.start(rig.coroutines, ask)
    rig.settle(rig.coroutines)
    rig.coroutines.close()
    assert isinstance(job.error, RevokedError)
    waiting = rig.start(rig.plain, lambda: "value")
    rig.plain.close()
    assert not rig.plain.has_work()
    rig.plain.turn(0)
    assert waiting.result is None
    assert rig.ended == []


def test_a_coroutine_can_be_run_to_its_end_at_once() -> None:
    async def slow() -> str:
        await asyncio.sleep(3600)
        await asyncio.to_thread(lambda: None)
        return "value"

    async def fail() -> None:
        await asyncio.sleep(3600)
        raise ValueError("no")

    assert complete(slow) == "value"
    with pytest.raises(ValueError, match="no"):
        complete(fail)
