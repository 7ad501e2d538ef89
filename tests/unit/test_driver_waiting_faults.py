"""Records that wait while workers fail: killed, thrown out, replaced or without their disk, in both guarantees."""

from __future__ import annotations

import shutil
import time

import pytest
from rig import Item, Items
from waiting_app import BrokenError, Flaky, OtherError, flaky, statuses

from streams import PARK, Failure, Retry
from streams.errors import KilledError
from streams.failpoints import Failpoint
from streams.failures.waiting_record import WaitingStatus
from streams.owned import Owned
from streams.testing import Abort, Crash, Eviction, Fault, MemoryDriver, Rebalance, SlowCommit

GUARANTEES = pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
POLICY = Failure(Retry(6, "200ms..2s"), by_type={OtherError: PARK}, pauses=False)
MANY = 10_000
FAULTS: list[Fault] = [Crash(), Rebalance(1), Eviction(), Abort()]
STEPS = [
    (fault, step)
    for fault in FAULTS
    for step in sorted(fault.steps)
    if not (step in {Failpoint.REVOKING, Failpoint.REVOKED, Failpoint.ABORTING} and fault.kind != "crash")
]


def send(one: Flaky, driver: MemoryDriver, start: int, count: int = 24) -> None:
    """Of five keys one fails for a while, one has an item that fails for ever, one is parked."""
    for n in range(start, start + count):
        driver.cluster.log.append(one.record(driver, Item(key=f"k{n % 5}", n=n)))


@GUARANTEES
@pytest.mark.parametrize(("fault", "step"), STEPS, ids=lambda given: getattr(given, "kind", str(given)))
def test_whatever_happens_while_records_wait_nothing_is_lost(fault: Fault, step: Failpoint, guarantee: str) -> None:
    one = flaky(POLICY, partitions=2, guarantee=guarantee, commit_interval="100ms", poll_records=4)
    with one.app.test(workers=2, auto_advance=False, restore_records=3) as driver:
        one.failing, one.poison, one.other = {"k0"}, {11}, {7}
        send(one, driver, 0)
        driver.settle()
        assert {row.status for row in driver.waiting} == set(WaitingStatus)
        waited = len(driver.waiting)
        driver.inject(fault, at=step)
        if step in {Failpoint.REVOKING, Failpoint.REVOKED}:
            driver.inject(Rebalance(1))
        elif step is Failpoint.ABORTING:
            driver.inject(Abort(), at=Failpoint.FLUSHED)
        elif step in {Failpoint.RESTORING, Failpoint.OFFSETS_KNOWN, Failpoint.PRODUCER_STARTING}:
            driver.inject(Crash())
            shutil.rmtree(driver.cluster.folder / "append", ignore_errors=True)
        send(one, driver, 24)
        driver.settle()
        driver.advance("700ms")
        one.failing.clear()
        driver.advance("1m")
        assert driver.disarm() == []
        assert driver.faults[fault.kind] >= 1
        assert statuses(driver.waiting)  # what is parked stays so
        assert {row.offset for row in driver.waiting if row.status is WaitingStatus.PARKED} != set()
        assert {row.key for row in driver.waiting} == {b"k2"}
        assert driver.lag == {"append": 0}
        came = one.came(driver)
        if guarantee == "exactly_once":
            assert came["k0"] == list(range(0, 48, 5))
            assert driver.assert_no_duplicates() > 0
        compared = driver.assert_no_loss() + driver.assert_order_per_key()
        assert set(came["k0"]) == set(range(0, 48, 5))
        assert waited > 3
        assert compared > 40


@GUARANTEES
def test_attempts_and_timers_go_on_in_another_worker_with_an_empty_disk(guarantee: str) -> None:
    one = flaky(Failure(Retry(3, "10s..10s"), pauses=False), guarantee=guarantee)
    one.poison = {1}
    with one.app.test(auto_advance=False) as driver:
        driver.send(one.source, Item(key="a", n=1), Item(key="a", n=2))
        before = driver.waiting
        one.crash(driver)
        driver.settle()
        assert driver.waiting == before
        assert one.attempts() == {1: 1}
        driver.advance("4s")
        assert one.attempts() == {1: 1}  # not because of the restart
        driver.advance("7s")
        assert one.attempts() == {1: 2}
        one.crash(driver)
        driver.advance("1m")
        assert one.attempts() == {1: 4, 2: 1}
        assert len(driver.dead_letters) == 1
        assert driver.store(one.lists) == {"a": Items(items=(2,))}


@GUARANTEES
def test_rows_go_with_their_partition(guarantee: str) -> None:
    one = flaky(PARK, partitions=4, guarantee=guarantee)
    one.down = True
    with one.app.test(auto_advance=False) as driver:
        driver.send(one.source, *[Item(key=f"k{n}", n=n) for n in range(12)])
        for workers in (3, 2, 4, 1):
            driver.inject(Rebalance(workers))
            driver.settle()
        assert len(driver.waiting) == 12
        one.down = False
        driver.inject(Rebalance(3))
        driver.settle()
        for row in driver.waiting:
            one.command(driver, "release", row.key, partition=row.partition)
        driver.settle()
        assert driver.waiting == []
        assert sum(map(len, one.came(driver).values())) == 12
        assert driver.assert_no_loss() + driver.assert_order_per_key() + driver.assert_no_duplicates() > 0


@GUARANTEES
def test_a_worker_that_was_thrown_out_commits_nothing_of_its_retries(guarantee: str) -> None:
    """Commits that only a timer made send the offset again, so they are fenced as all others are."""
    one = flaky(Failure(Retry(9, "1s..1s"), pauses=False), guarantee=guarantee)
    one.failing = {"a"}
    with one.app.test(workers=2, auto_advance=False) as driver:
        driver.send(one.source, Item(key="a", n=1), Item(key="a", n=2))
        one.failing.clear()
        driver.inject(Eviction(), at=Failpoint.FLUSHED)
        driver.advance("5s")
        assert driver.disarm() == []
        assert set(one.came(driver)["a"]) == {1, 2}
        assert driver.waiting == []
        assert driver.assert_no_loss() > 0
        if guarantee == "exactly_once":
            assert driver.assert_no_duplicates() + driver.assert_order_per_key() > 0


def test_a_retry_whose_transaction_takes_too_long_is_tried_again() -> None:
    one = flaky(Failure(Retry(9, "1s..1s"), pauses=False))
    one.failing = {"a"}
    with one.app.test(auto_advance=False) as driver:
        driver.send(one.source, Item(key="a", n=1))
        one.failing.clear()
        driver.inject(SlowCommit(), at=Failpoint.FLUSHED)
        driver.advance("30s")
        assert one.came(driver) == {"a": [1]}
        assert driver.waiting == []


def test_a_record_that_kills_is_given_up_when_its_turn_comes_although_it_stood_behind_another() -> None:
    one = flaky(Failure(Retry(9, "1s..1s"), pauses=False))
    one.failing = {"a"}
    with one.app.test(auto_advance=False) as driver:
        driver.send(one.source, Item(key="a", n=1))
        (owned,) = _owned(driver)
        owned.refusals[1] = KilledError()
        driver.send(one.source, Item(key="a", n=2), Item(key="a", n=3))
        assert statuses(driver.waiting)[1] is WaitingStatus.QUEUED
        one.failing.clear()
        driver.advance("5s")
        assert one.came(driver) == {"a": [1, 3]}
        assert one.attempts()[2] == 0
        assert [letter.kind for letter in driver.dead_letters] == ["killed"]
        assert owned.refusals == {}


@GUARANTEES
def test_ten_thousand_failing_keys_are_bounded_and_keep_their_order(guarantee: str) -> None:
    """No dependency is down: the policy says so, and each key fails once or twice."""
    one = flaky(Failure(Retry(5, "1s..4s"), pauses=False), partitions=2, guarantee=guarantee)
    left = {n: 1 + n % 2 for n in range(MANY)}
    handle = one.handle

    def sometimes(item: Item, ctx: object) -> object:
        left[item.n] = left.get(item.n, 0) - 1
        if left[item.n] >= 0:
            raise BrokenError(item.n)
        return handle(item, ctx)  # type: ignore[arg-type] # the driver gives its own

    one.handle = sometimes  # type: ignore[method-assign,assignment] # replaced for this test
    with one.app.test(auto_advance=False) as driver:
        driver.send(one.source, *[Item(key=f"k{n % MANY}", n=n) for n in range(2 * MANY)])
        waiting = [owned.task.waiting for owned in _owned(driver)]
        most = sum(len(one) for one in waiting if one is not None)
        began = time.perf_counter()
        driver.advance("2m")
        seconds = time.perf_counter() - began
        assert (driver.waiting, driver.dead_letters, driver.lag) == ([], [], {"append": 0})
        assert one.came(driver) == {f"k{n}": [n, n + MANY] for n in range(MANY)}
    print(f"\n{most:,} waited at a time, {3.5 * MANY:,.0f} attempts, {seconds:.1f} s")
    assert MANY < most <= 2 * MANY


def _owned(driver: MemoryDriver) -> list[Owned]:
    processes = driver._simulation.runtimes["append"].processes.values()
    return [owned for process in processes for owned in process.worker.owned.values()]
