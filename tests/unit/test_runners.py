"""Threads and the event loop: what they run, what comes back, and what they leave behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from streams.errors import HandlerError, RevokedError
from streams.lanes.runners import Job, LoopRunner, Mailbox, ThreadRunner
from streams.task import MAX_RECORD_OUTPUTS

PATIENCE = 10.0


def finish(runner: Mailbox, calls: list[Callable[[], object]]) -> list[Job]:
    """Run calls and return their jobs in the order in which they ended."""
    ended: list[Job] = []
    jobs = [Job(number, call) for number, call in enumerate(calls)]
    for job in jobs:
        runner.start(job, ended.append)  # type: ignore[attr-defined] # a double
    until = time.monotonic() + PATIENCE
    while len(ended) < len(jobs):
        runner.turn(0.05)
        assert time.monotonic() < until
    return ended


@pytest.fixture
def threads() -> Iterator[ThreadRunner]:
    runner = ThreadRunner(4, "test-lane")
    yield runner
    runner.close()


@pytest.fixture
def loop() -> Iterator[LoopRunner]:
    runner = LoopRunner("test-lanes")
    yield runner
    runner.close()
    ends("test-lanes")


def ends(name: str) -> None:
    until = time.monotonic() + PATIENCE
    while any(thread.name.startswith(name) for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_plain_calls_run_beside_each_other(threads: ThreadRunner) -> None:
    meeting = threading.Barrier(4, timeout=PATIENCE)
    jobs = finish(threads, [meeting.wait] * 4)
    assert sorted(job.lane for job in jobs) == [0, 1, 2, 3]
    assert [job.error for job in jobs if not isinstance(job.error, TypeError)] == []  # a number is nothing to publish


def test_what_a_generator_yields_is_drawn_in_the_thread(threads: ThreadRunner) -> None:
    where: list[str] = []

    def several() -> Iterator[str]:
        for value in "ab":
            where.append(threading.current_thread().name)
            yield value

    (job,) = finish(threads, [several])
    assert job.result == ["a", "b"]
    assert len(where) == 2
    assert all(name.startswith("test-lane") for name in where)


def test_threads_end_when_nobody_needs_them() -> None:
    runner = ThreadRunner(3, "ending-lane")
    finish(runner, [lambda: None] * 5)
    assert sum(thread.name.startswith("ending-lane") for thread in threading.enumerate()) == 3
    runner.close()
    ends("ending-lane")


def test_coroutines_run_beside_each_other(loop: LoopRunner) -> None:
    together: list[asyncio.Event] = []

    async def meet() -> str:
        together.append(asyncio.Event())
        if len(together) == 50:
            for event in together:
                event.set()
        await together[-1].wait()
        return "met"

    assert [job.result for job in finish(loop, [meet] * 50)] == ["met"] * 50


def test_asynchronous_generators_are_drawn(loop: LoopRunner) -> None:
    async def several() -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0)
        yield "b"

    (job,) = finish(loop, [several])
    assert job.result == ["a", "b"]


def test_more_outputs_than_allowed_are_cut_where_that_can_be_told(loop: LoopRunner, threads: ThreadRunner) -> None:
    async def endless() -> AsyncIterator[str]:
        while True:
            yield "a"

    def endless_too() -> Iterator[str]:
        while True:
            yield "a"

    for job in finish(loop, [endless]) + finish(threads, [endless_too]):
        assert len(job.result) == MAX_RECORD_OUTPUTS + 1


def test_whatever_is_raised_is_the_jobs_own(loop: LoopRunner, threads: ThreadRunner) -> None:
    def leave() -> None:
        raise SystemExit(3)

    async def give_up() -> None:
        raise asyncio.CancelledError

    async def fail() -> None:
        raise ValueError("no")

    jobs = finish(threads, [leave]) + finish(loop, [give_up]) + finish(loop, [fail])
    assert [type(job.error) for job in jobs] == [HandlerError, HandlerError, ValueError]
    causes = [type(job.error.__cause__) for job in jobs[:2] if job.error]
    assert causes == [SystemExit, asyncio.CancelledError]


@pytest.mark.parametrize("kind", ["threads", "loop"])
def test_questions_are_answered_by_the_thread_that_turns(kind: str, request: pytest.FixtureRequest) -> None:
    runner: LoopRunner | ThreadRunner = request.getfixturevalue(kind)
    me = threading.get_ident()

    def call() -> str:
        assert threading.get_ident() != me
        return "same" if runner.ask(threading.get_ident) == me else "other"

    async def call_async() -> str:
        return call()

    (job,) = finish(runner, [call if kind == "threads" else call_async])
    assert (job.result, job.error) == ("same", None)


def test_what_goes_wrong_with_an_answer_comes_to_who_asked(threads: ThreadRunner) -> None:
    def wrong() -> None:
        raise KeyError("k")

    (job,) = finish(threads, [lambda: threads.ask(wrong)])
    assert isinstance(job.error, KeyError)


def test_what_goes_wrong_with_a_result_comes_out_of_the_turn(threads: ThreadRunner) -> None:
    def wrong(_: Job) -> None:
        raise KeyError("k")

    threads.start(Job("a", lambda: None), wrong)
    with pytest.raises(KeyError):
        threads.turn(PATIENCE)


def test_a_question_that_nobody_will_answer_is_refused() -> None:
    runner = ThreadRunner(2, "asking-lane")
    refused: list[str] = []
    asking, closed = threading.Event(), threading.Event()

    def ask() -> None:
        asking.set()
        try:
            runner.ask(lambda: None)
        except RevokedError:
            refused.append("waiting")
        closed.wait(PATIENCE)
        try:
            runner.ask(lambda: None)
        except RevokedError:
            refused.append("late")

    runner.start(Job("a", ask), lambda _: None)
    assert asking.wait(PATIENCE)
    time.sleep(0.05)
    runner.close()
    closed.set()
    ends("asking-lane")
    assert refused == ["waiting", "late"]


def test_what_runs_when_the_loop_is_closed_ends_by_itself() -> None:
    runner = LoopRunner("closing-lanes")
    began, may_end, over = threading.Event(), threading.Event(), threading.Event()

    async def slow() -> None:
        began.set()
        await asyncio.to_thread(may_end.wait, PATIENCE)
        over.set()

    runner.start(Job("a", slow), lambda _: None)
    assert began.wait(PATIENCE)
    runner.close()
    assert not over.is_set()
    may_end.set()
    ends("closing-lanes")
    assert over.is_set()


def test_a_turn_waits_no_longer_than_told(threads: ThreadRunner) -> None:
    began = time.monotonic()
    threads.turn(0.05)
    assert time.monotonic() - began < PATIENCE
    threads.turn(0)
