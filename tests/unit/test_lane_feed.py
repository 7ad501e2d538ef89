"""Handlers in lanes under the worker, in memory: order per key, contiguous commits, state."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from lane_lab import BOTH, KINDS, Lab
from rig import Item, Items

from streams import App, Context
from streams.errors import UsageError

# ---- order, concurrency, time ----


@KINDS
@BOTH
def test_keys_keep_their_order_and_run_beside_each_other(kind: str, guarantee: str) -> None:
    lab = Lab(kind, concurrency=3)
    with lab.test(settings={"guarantee": guarantee}) as driver:
        driver.send(lab.inputs, *lab.items(40))
        lab.judge(driver)
        assert driver.lag == {"handle": 0}
    assert not lab.clash
    assert {key: lab.order(key) for key in "abcd"} == {key: list(range(at, 40, 4)) for at, key in enumerate("abcd")}


def test_no_more_run_than_the_declared_number_and_so_many_do() -> None:
    lab = Lab("async", concurrency=3)
    lab.sleeps = dict.fromkeys(range(40), 1.0)
    with lab.test() as driver:
        began = driver.clock.seconds()
        driver.send(lab.inputs, *lab.items(40, "abcdefghij"))
        took = driver.clock.seconds() - began
    assert lab.most == 3
    assert 40 / 3 <= took < 16  # one after the other they would take 40 seconds


def test_records_without_a_key_have_no_order_and_run_beside_each_other() -> None:
    app = App("keyless")
    source = app.topic("in", Item, partitions=1)
    ran: list[int] = []

    @app.processor(source)
    async def handle(item: Item, _ctx: Context) -> None:
        await asyncio.sleep(10 - item.n)
        ran.append(item.n)

    with app.test() as driver:
        driver.send(source, *[Item(key="a", n=n) for n in range(10)])
    assert ran == list(range(9, -1, -1))


@BOTH
def test_a_handler_slower_than_a_transaction_lives_runs_once_while_others_are_committed(guarantee: str) -> None:
    lab = Lab("async", partitions=1)
    lab.sleeps = {30: 60.0, **dict.fromkeys(range(30), 0.5)}
    lags: list[int] = []
    with lab.test(settings={"guarantee": guarantee, "transaction_timeout": "10s"}) as driver:
        seen = driver._simulation._pass

        def passing(by: timedelta) -> None:
            seen(by)
            lags.append(driver.lag["handle"])

        driver._simulation._pass = passing  # type: ignore[method-assign] # replaced for this test
        driver.send(lab.inputs, *lab.items(30, "abc"), Item(key="slow", n=30))
        lab.judge(driver)
        assert driver.clock.seconds() > 60
    assert lab.order("slow") == [30]
    assert len(lab.began) == 31
    assert 1 in lags  # everything before it was committed while it ran


@BOTH
def test_nothing_is_committed_past_a_record_that_still_runs(guarantee: str) -> None:
    lab = Lab("async", partitions=1)
    lab.sleeps = {0: 30.0}
    lags: list[tuple[float, int]] = []
    with lab.test(settings={"guarantee": guarantee}) as driver:
        seen = driver._simulation._pass

        def passing(by: timedelta) -> None:
            seen(by)
            lags.append((driver.clock.seconds(), driver.lag["handle"]))

        driver._simulation._pass = passing  # type: ignore[method-assign] # replaced for this test
        driver.send(lab.inputs, *lab.items(20, "abc"))
        lab.judge(driver)
    early = [lag for at, lag in lags if at < 30]
    assert early == [20] * len(early)
    assert len(early) > 3


@KINDS
def test_what_is_in_flight_is_bounded(kind: str) -> None:
    lab = Lab(kind, partitions=1)
    lab.sleeps = dict.fromkeys(range(100), 1.0)
    with lab.test(settings={"lane_records": 4}) as driver:
        driver.send(lab.inputs, *lab.items(100, "abcdefghijkl"))
        lab.judge(driver)
    assert lab.most <= 4


def test_what_is_in_flight_is_bounded_by_its_bytes() -> None:
    app = App("bytes")
    source = app.topic("in", Item, key="key", partitions=1)
    running: list[int] = []
    most = 0

    @app.processor(source)
    async def handle(item: Item, _ctx: Context) -> None:
        nonlocal most
        running.append(item.n)
        most = max(most, len(running))
        await asyncio.sleep(1)
        running.remove(item.n)

    with app.test(settings={"lane_bytes": 1 << 20}) as driver:
        driver.send(source, *[Item(key=str(n) * 200_000, n=n) for n in range(10)])
        assert driver.lag == {"handle": 0}
    assert 2 <= most <= 4


# ---- state ----


def test_a_handler_sees_what_it_put_and_what_the_record_before_it_put() -> None:
    lab = Lab("async", partitions=1)
    lab.sleeps = {0: 5.0}  # holds up the results of the others, which build on each other
    with lab.test() as driver:
        driver.send(lab.inputs, *lab.items(1, "z"), *[Item(key="a", n=n) for n in range(1, 6)])
        assert driver.store(lab.lists)["a"].items == (1, 2, 3, 4, 5)
        lab.judge(driver)
    assert lab.order("a") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("seed", range(10))
@KINDS
def test_rows_that_records_of_other_keys_change_meanwhile_lose_nothing(kind: str, seed: int) -> None:
    """A handler that read what was changed since runs again, as a transaction of a database would."""
    app = App("shared")
    source = app.topic("in", Item, key="key", partitions=1)
    sums = app.store("sums", str, Items)
    runs: Counter[int] = Counter()

    async def count(item: Item, ctx: Context) -> None:
        runs[item.n] += 1
        before = ctx.get(sums, "all")
        await asyncio.sleep(0.1)
        ctx.put(sums, "all", Items(items=(*(before.items if before else ()), item.n)))

    def count_blocking(item: Item, ctx: Context) -> None:
        runs[item.n] += 1
        before = ctx.get(sums, "all")
        ctx.put(sums, "all", Items(items=(*(before.items if before else ()), item.n)))

    app.processor(source, uses=[sums], blocking=kind == "blocking")(count if kind == "async" else count_blocking)
    with app.test(seed=seed) as driver:
        driver.send(source, *[Item(key=str(n), n=n) for n in range(12)])
        assert driver.store(sums)["all"].items == tuple(range(12))
        assert driver.lag == dict.fromkeys(app.processors, 0)
    assert min(runs.values()) == 1
    assert 12 < runs.total() <= 24  # at the head of the queue nothing can come in between


def test_a_store_that_is_not_declared_ends_the_worker() -> None:
    app = App("wrong")
    source = app.topic("in", Item, key="key", partitions=1)
    other = app.store("other", str, Items)
    hidden = [other]

    @app.processor(source)
    async def handle(item: Item, ctx: Context) -> None:
        ctx.put(hidden[0], item.key, None)

    with app.test() as driver, pytest.raises(UsageError, match="does not declare"):
        driver.send(source, Item(key="a", n=1))
