"""Handlers in lanes whose records fail, wait, are parked, held, and come back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lane_lab import BOTH, KINDS, Lab, come_back, command, judged
from rig import Appended, Item, Items

from streams import DEAD_LETTER, PARK, SKIP, STOP, App, Context, Failure, Retry
from streams.errors import StoppedError
from streams.failpoints import Failpoint
from streams.testing import Crash

# ---- failures ----


@KINDS
@BOTH
def test_a_key_that_fails_waits_and_its_later_records_stay_behind_it(kind: str, guarantee: str) -> None:
    lab = Lab(kind, Failure(Retry(5, "1s..1m")))
    lab.failing = {1: 2, 9: 1}
    with lab.test(settings={"guarantee": guarantee}) as driver:
        driver.send(lab.inputs, *lab.items(24))
        assert driver.lag == {"handle": 0}
        assert driver.waiting == []
        lab.judge(driver)
    assert lab.order("b") == [1, 1, 1, 5, 9, 9, 13, 17, 21]
    assert not lab.clash


@KINDS
@pytest.mark.parametrize("then", [DEAD_LETTER, SKIP])
def test_a_record_that_is_given_up_lets_its_key_go_on(kind: str, then: Any) -> None:
    lab = Lab(kind, then)
    lab.failing = {1: 99, 6: 99}
    with lab.test() as driver:
        driver.send(lab.inputs, *lab.items(20))
        lab.judge(driver)
        letters = [letter.record.value for letter in driver.dead_letters]
        assert len(letters) == (2 if then is DEAD_LETTER else 0)
        assert 1 not in [one.n for one in driver.published(lab.out)]
    assert len(lab.began) == 20


@KINDS
def test_a_parked_key_stays_until_it_is_released(kind: str) -> None:
    lab = Lab(kind, PARK)
    lab.failing = {1: 1}
    with lab.test() as driver:
        driver.send(lab.inputs, *lab.items(12))
        assert [row.offset for row in driver.waiting] == sorted(row.offset for row in driver.waiting)
        driver.inject(Crash())  # what a worker knows of its lanes is gone, what waits is not
        driver.send(lab.inputs, Item(key="b", n=13))
        assert len(driver.waiting) == 4
        assert lab.order("b") == [1]  # nothing of the key ran in vain
        command(driver, "release", b"b")
        lab.judge(driver)
        assert driver.waiting == []
    assert lab.order("b") == [1, 1, 5, 9, 13]


@KINDS
def test_dropping_a_parked_record_lets_new_ones_of_its_key_run(kind: str) -> None:
    lab = Lab(kind, PARK)
    lab.failing = {1: 1}
    with lab.test() as driver:
        driver.send(lab.inputs, Item(key="b", n=1))
        command(driver, "drop", b"b")
        driver.send(lab.inputs, Item(key="b", n=2))
        assert [one.n for one in driver.published(lab.out)] == [2]
    assert lab.order("b") == [1, 2]


@KINDS
def test_stop_ends_the_worker_before_the_record(kind: str) -> None:
    lab = Lab(kind, STOP, partitions=1)
    lab.failing = {5: 1}
    with lab.test() as driver:
        with pytest.raises(StoppedError):
            driver.send(lab.inputs, *lab.items(12))
        assert driver.lag["handle"] >= 7
        assert 5 not in [one.n for one in driver.published(lab.out)]


@KINDS
def test_bytes_that_are_no_frame_and_tombstones_and_large_outputs_go_as_they_always_do(kind: str) -> None:
    app = App("odd")
    source = app.topic("in", Item, key="key", partitions=1)
    out = app.topic("out", Items, partitions=1)

    def grow(item: Item, _ctx: Context) -> Items | Appended | None:
        if item.n == -1:
            return Appended(key="a", n=1, size=1)  # no output takes it
        return Items(items=tuple(range(item.n)))

    async def grow_async(item: Item, ctx: Context) -> Any:
        return grow(item, ctx)

    app.processor(source, to=out, blocking=kind == "blocking")(grow if kind == "blocking" else grow_async)
    with app.test(settings={"commit_records": 5}) as driver:
        driver.send_raw(source, b"junk", key=b"a")
        driver.delete(source, "a")
        driver.send(source, *[Item(key="a", n=n) for n in (1, 600_000, 2, -1, 3)])
        driver.send_raw(source, b"junk", key=None)
        assert [len(one.items) for one in driver.published(out)] == [1, 2, 3]
        assert len(driver.dead_letters) == 4
        judged(driver)


@pytest.mark.parametrize("seed", range(4))
def test_most_keys_failing_pauses_and_goes_on_when_they_work_again(seed: int) -> None:
    lab = Lab("async", Failure(Retry(3, "1s..4s")))
    lab.failing = dict.fromkeys(range(60), 4)
    with lab.test(seed=seed) as driver:
        driver.send(lab.inputs, *lab.items(60, "abcdefghijklmnopqrst"))
        lab.failing.clear()
        for _ in range(20):
            driver.advance("10s")
        assert driver.lag == {"handle": 0}
        assert driver.dead_letters == []
        lab.judge(driver)
        assert len(driver.published(lab.out)) == 60


@KINDS
def test_an_open_circuit_holds_the_partition_and_nothing_is_lost(kind: str) -> None:
    app = App("outside")
    source = app.topic("in", Item, key="key", partitions=2)
    out = app.topic("out", Appended, key="key", partitions=2)
    bank = app.dependency("bank", failures=2, open_for="10s")
    down = True

    def pay(item: Item, _ctx: Context) -> Appended:
        with bank:
            if down:
                raise ConnectionError
        return Appended(key=item.key, n=item.n, size=1)

    async def pay_async(item: Item, ctx: Context) -> Appended:
        await asyncio.sleep(0.1)
        return pay(item, ctx)

    handler = pay if kind == "blocking" else pay_async
    app.processor(source, to=out, uses=[], blocking=kind == "blocking", on_failure=Failure(Retry(50, "1s..1s")))(
        handler
    )
    with app.test() as driver:
        bank.reset(driver.clock.seconds)
        driver.send(source, *[Item(key="abcdef"[n % 6], n=n) for n in range(30)])
        assert bank.state().state != "closed"
        down = False
        for _ in range(10):
            driver.advance("10s")
        assert driver.lag == dict.fromkeys(app.processors, 0)
        assert len(driver.published(out)) == 30
        compared = driver.assert_order_per_key() + driver.assert_no_duplicates()
        print(f"compared {compared}")


# ---- what comes back, and what names it ----


@pytest.mark.parametrize("seed", range(4))
@KINDS
def test_what_comes_back_runs_in_lanes_too(kind: str, seed: int) -> None:
    lab = Lab(kind, DEAD_LETTER)
    lab.failing = {1: 1, 2: 1, 5: 1, 13: 99}
    lab.sleeps = {2: 3.0, 20: 1.0}
    with lab.test(seed=seed) as driver:
        driver.send(lab.inputs, *lab.items(16))
        assert len(driver.dead_letters) == 4
        driver.inject(Crash(), at=Failpoint.FLUSHED)
        come_back(driver)
        assert len(driver.dead_letters) == 5  # one failed again
        driver.send(lab.inputs, *lab.items(8, "bc"))
        published = [one.n for one in driver.published(lab.out)]
        assert sorted(published) == sorted([*(n for n in range(16) if n != 13), *range(8)])
        assert driver.lag == {"handle": 0}
    assert lab.order("b")[:4] == [1, 5, 9, 13]
    assert [n for n in dict.fromkeys(lab.order("b")[4:]) if n in {1, 5, 13}] == [1, 5, 13]
    assert not lab.clash


@pytest.mark.parametrize("effect", [True, False])
@BOTH
def test_the_idempotency_key_is_the_same_however_often_a_record_is_handled(guarantee: str, effect: bool) -> None:
    app = App("keys")
    source = app.topic("in", Item, key="key", partitions=2)
    seen: dict[int, list[str]] = {n: [] for n in range(8)}

    def act(item: Item, ctx: Context) -> None:
        seen[item.n].append(ctx.idempotency_key)
        if len(seen[item.n]) < item.n:
            raise ValueError(item.n)

    (app.effect if effect else app.processor)(source, on_failure=Failure(Retry(2, "1s..2s"), pauses=False))(act)
    with app.test(settings={"guarantee": guarantee}) as driver:
        driver.send(source, *[Item(key=str(n), n=n) for n in range(8)])
        driver.inject(Crash(), at=Failpoint.PRODUCED)
        come_back(driver)
        places = {one.value.n: (one.partition, one.offset) for one in driver.records(source) if one.value}
    assert {n: set(keys) for n, keys in seen.items()} == {
        n: {f"keys.act/in/{partition}/{offset}"} for n, (partition, offset) in places.items()
    }
    assert max(map(len, seen.values())) >= 6
