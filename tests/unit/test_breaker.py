"""An outside dependency: when its circuit opens and closes, who is the probe, and how many calls run at once."""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from streams import App, UsageError
from streams.breaker import Dependency
from streams.errors import CircuitOpenError, HandlerError, RevokedError, UnknownSchemaError

OPEN_FOR = 30.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(clock: Clock, **options: object) -> Dependency:
    dependency = Dependency("stripe", **{"failures": 3, "open_for": "30s", **options})
    dependency.reset(clock)
    return dependency


def call(dependency: Dependency, error: BaseException | None = None) -> str:
    """Call once and say what came of it."""
    try:
        with dependency:
            happen(error)
    except CircuitOpenError as refused:
        return "refused" if refused.dependency == dependency.name else "inner"
    except BaseException as raised:  # noqa: BLE001 - whatever it was to raise
        return "failed" if raised is error else "another error"
    return "done"


def happen(error: BaseException | None) -> None:
    if error is not None:
        raise error


def fail(dependency: Dependency, times: int = 1) -> list[str]:
    return [call(dependency, OSError("down")) for _ in range(times)]


def test_it_opens_after_so_many_failures_in_a_row_and_not_before(clock: Clock) -> None:
    dependency = made(clock)
    assert fail(dependency, 2) == ["failed", "failed"]
    assert call(dependency) == "done"
    assert fail(dependency, 4) == ["failed", "failed", "failed", "refused"]
    clock.now = OPEN_FOR - 0.001
    assert not dependency.ready()
    assert call(dependency) == "refused"


def test_one_probe_decides(clock: Clock) -> None:
    dependency = made(clock)
    fail(dependency, 3)
    for probe in range(1, 4):
        clock.now = probe * OPEN_FOR
        assert dependency.ready()
        assert fail(dependency, 5) == ["failed", *["refused"] * 4]
        assert dependency.state().probes == probe
    clock.now += OPEN_FOR
    assert [call(dependency) for _ in range(3)] == ["done"] * 3
    assert dependency.state()[:4] == ("stripe", "closed", 0.0, 0)
    assert fail(dependency, 4) == ["failed", "failed", "failed", "refused"]


def test_while_the_probe_runs_nobody_else_is_let_in(clock: Clock) -> None:
    dependency = made(clock)
    fail(dependency, 3)
    clock.now = OPEN_FOR
    with ThreadPoolExecutor(1) as other, dependency:
        assert dependency.state().state == "half-open"
        assert not dependency.ready()
        assert other.submit(call, dependency).result() == "refused"
    assert dependency.ready()
    assert dependency.state().probes == 1


def test_a_call_that_began_before_a_change_decides_nothing(clock: Clock) -> None:
    dependency = made(clock)
    with ThreadPoolExecutor(1) as other:
        with dependency:
            other.submit(fail, dependency, 3).result()
        assert dependency.state().state == "open"  # a success from before
        clock.now = OPEN_FOR
        assert call(dependency) == "done"

        def late() -> None:
            with dependency:
                other.submit(fail, dependency, 3).result()
                clock.now += OPEN_FOR
                assert other.submit(call, dependency).result() == "done"
                raise OSError("late")

        with pytest.raises(OSError, match="late"):
            late()
        assert dependency.state().failures == 0


def test_what_is_ignored_says_that_the_dependency_works(clock: Clock) -> None:
    dependency = made(clock, ignore=(ValueError,))
    fail(dependency, 2)
    assert call(dependency, ValueError("no such card")) == "failed"
    assert dependency.state().failures == 0
    fail(dependency, 3)
    clock.now = OPEN_FOR
    assert call(dependency, ValueError("no such card")) == "failed"
    assert dependency.state().state == "closed"


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        HandlerError("too many"),
        UnknownSchemaError(7),
        RevokedError(),
        UsageError("wrong"),
        CircuitOpenError("bank", bool),
    ],
)
def test_what_says_nothing_of_the_dependency_changes_nothing(clock: Clock, error: BaseException) -> None:
    dependency = made(clock)
    fail(dependency, 2)
    assert call(dependency, error) in {"failed", "inner"}
    assert dependency.state().failures == 2
    fail(dependency)
    clock.now = OPEN_FOR
    call(dependency, error)
    assert dependency.state().state == "half-open"
    assert call(dependency) == "done"  # the next one is the probe
    assert dependency.state()[:2] == ("stripe", "closed")


def test_a_block_inside_a_block_counts_once(clock: Clock) -> None:
    dependency = made(clock, concurrency=1)
    for _ in range(2):
        with pytest.raises(OSError, match="down"), dependency, dependency:
            raise OSError("down")
    assert dependency.state().failures == 2
    assert dependency.state().inside == 0


def test_threads_wait_for_room(clock: Clock) -> None:
    dependency = made(clock, concurrency=3)
    most, lock = itertools.count(1), threading.Lock()
    inside, seen = [0], []

    def work(_n: int) -> None:
        with dependency:
            with lock:
                inside[0] += 1
                seen.append(inside[0])
            threading.Event().wait(0.002)
            with lock:
                inside[0] -= 1
            next(most)

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(work, range(60)))
    print(f"{len(seen)} calls compared")
    assert len(seen) == 60
    assert max(seen) == 3
    assert dependency.state().inside == dependency.state().waiting == 0


def test_coroutines_wait_for_room_and_may_be_cancelled_while_they_do(clock: Clock) -> None:
    dependency = made(clock, concurrency=2)
    inside, seen = [0], []

    async def work() -> None:
        async with dependency:
            inside[0] += 1
            seen.append(inside[0])
            await asyncio.sleep(0.001)
            inside[0] -= 1

    async def main() -> None:
        tasks = [asyncio.create_task(work()) for _ in range(20)]
        await asyncio.sleep(0)
        assert dependency.state()[5:7] == (2, 18)
        tasks[5].cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in ended if one is not None] == [asyncio.CancelledError]

    asyncio.run(main())
    assert len(seen) == 19
    assert max(seen) == 2
    assert dependency.state()[5:7] == (0, 0)


def test_those_who_wait_for_room_are_refused_when_it_opens(clock: Clock) -> None:
    dependency = made(clock, concurrency=1, failures=1)

    async def failing() -> None:
        async with dependency:
            await asyncio.sleep(0.001)
            raise OSError("down")

    async def main() -> list[object]:
        return await asyncio.gather(*(failing() for _ in range(5)), return_exceptions=True)

    assert [type(one) for one in asyncio.run(main())] == [OSError, *[CircuitOpenError] * 4]
    assert dependency.state().refused == 4


def test_waiting_in_a_coroutine_is_refused_where_it_would_block_everybody(clock: Clock) -> None:
    dependency = made(clock, concurrency=1)

    async def hold() -> None:
        async with dependency:
            await asyncio.sleep(0.01)

    async def main() -> None:
        task = asyncio.create_task(hold())
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="write `async with stripe:`"):
            dependency.__enter__()
        await task
        with dependency:
            assert dependency.state().inside == 1

    asyncio.run(main())


def test_every_change_is_logged_and_the_state_says_why(clock: Clock) -> None:
    dependency = made(clock)
    with structlog.testing.capture_logs() as logs:
        fail(dependency, 3)
        clock.now = 12
        state = dependency.state()
        clock.now = OPEN_FOR
        call(dependency)
    assert (state.state, state.seconds, state.failures, state.reason) == ("open", 12, 3, "OSError: down")
    assert [(one["event"], one["log_level"], one["dependency"]) for one in logs] == [
        ("circuit open", "warning", "stripe"),
        ("circuit closed", "info", "stripe"),
    ]


@given(st.lists(st.sampled_from(["ok", "fail", "wait"]), max_size=60))
def test_whatever_happens_an_open_circuit_lets_one_in_and_a_closed_one_all(steps: list[str]) -> None:
    clock = Clock()
    dependency = made(clock)
    row, opened = 0, None
    for step in steps:
        if step == "wait":
            clock.now += OPEN_FOR / 2
            continue
        expected = "refused" if opened is not None and clock.now < opened + OPEN_FOR else None
        found = call(dependency, OSError("down") if step == "fail" else None)
        assert found == (expected or {"ok": "done", "fail": "failed"}[step])
        if found == "done":
            row, opened = 0, None
        elif found == "failed":
            row += 1
            if row >= 3:
                opened = clock.now


@pytest.mark.parametrize("options", [{"failures": 0}, {"concurrency": 0}, {"open_for": "30"}, {"open_for": "0s"}])
def test_numbers_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        App("shop").dependency("stripe", **options)


def test_an_app_knows_its_dependencies() -> None:
    app = App("shop")
    stripe = app.dependency("stripe", open_for="1m", concurrency=2)
    assert app.dependencies == {"stripe": stripe}
    with pytest.raises(UsageError, match="two dependencies stripe"):
        app.dependency("stripe")
    with pytest.raises(UsageError, match="'A b' cannot name a dependency"):
        app.dependency("A b")
