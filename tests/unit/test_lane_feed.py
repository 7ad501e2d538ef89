"""Handlers in lanes under the worker, in memory: order per key, contiguous commits, failures, faults."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from rig import Appended, Item, Items

from streams import DEAD_LETTER, PARK, SKIP, STOP, App, Context, Failure, Retry
from streams.errors import StoppedError, UsageError
from streams.failpoints import Failpoint
from streams.record import Record
from streams.testing import Abort, Crash, Eviction, FencedProducer, Rebalance, SlowCommit, UnknownOutcome
from streams.testing.driver import MemoryDriver
from streams.topic import Store, Topic

GUARANTEES = ("exactly_once", "at_least_once")
BOTH = pytest.mark.parametrize("guarantee", GUARANTEES)
KINDS = pytest.mark.parametrize("kind", ["async", "blocking"])


class Lab:
    """An app with one handler in lanes that keeps a list for each key, and notes of what ran when."""

    def __init__(self, kind: str, on_failure: Any = None, *, partitions: int = 2, **options: Any) -> None:
        self.app = App("lab")
        self.inputs: Topic[Item] = self.app.topic("in", Item, key="key", partitions=partitions)
        self.out: Topic[Appended] = self.app.topic("out", Appended, key="key", partitions=partitions)
        self.lists: Store[str, Items] = self.app.store("lists", str, Items)
        self.began: list[tuple[str, int]] = []
        self.running: Counter[str] = Counter()
        self.most = 0
        self.failing: dict[int, int] = {}  # how often a record fails
        self.sleeps: dict[int, float] = {}
        self.clash = False  # whether two records of a key ever ran at the same time
        lists = self.lists

        def enter(item: Item) -> None:
            self.began.append((item.key, item.n))
            self.running[item.key] += 1
            self.clash |= self.running[item.key] > 1
            self.most = max(self.most, self.running.total())

        def work(item: Item, ctx: Context) -> Appended:
            if self.failing.get(item.n, 0) > 0:
                self.failing[item.n] -= 1
                raise ValueError(f"no {item.n}")
            before = ctx.get(lists, item.key)
            items = (*(before.items if before else ()), item.n)
            ctx.put(lists, item.key, Items(items=items))
            return Appended(key=item.key, n=item.n, size=len(items))

        async def handle(item: Item, ctx: Context) -> Appended:
            enter(item)
            try:
                await asyncio.sleep(self.sleeps.get(item.n, 0.01))
                return work(item, ctx)
            finally:
                self.running[item.key] -= 1

        def handle_blocking(item: Item, ctx: Context) -> Iterator[Appended]:
            enter(item)
            try:
                yield work(item, ctx)
            finally:
                self.running[item.key] -= 1

        handle_blocking.__name__ = "handle"
        policy = {} if on_failure is None else {"on_failure": on_failure}
        declare = self.app.processor(
            self.inputs, to=self.out, blocking=kind == "blocking", uses=[lists], **policy, **options
        )
        if kind == "async":
            declare(handle)
        else:
            declare(handle_blocking)

    def test(self, **options: Any) -> MemoryDriver:
        return self.app.test(**options)

    def judge(self, driver: MemoryDriver, *, duplicates: bool = False) -> None:
        """Judge by a replay, which calls the handler and is none of what ran."""
        ran, most, clash = list(self.began), self.most, self.clash
        judged(driver, duplicates=duplicates)
        self.began, self.most, self.clash = ran, most, clash

    def items(self, count: int, keys: str = "abcd") -> list[Item]:
        return [Item(key=keys[n % len(keys)], n=n) for n in range(count)]

    def order(self, key: str) -> list[int]:
        return [n for other, n in self.began if other == key]


def judged(driver: MemoryDriver, *, duplicates: bool = False) -> None:
    compared = driver.assert_no_loss() + driver.assert_order_per_key()
    if not duplicates:
        compared += driver.assert_no_duplicates()
    print(f"compared {compared}")


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


def command(driver: MemoryDriver, what: str, key: bytes) -> None:
    processor = next(iter(driver._app.processors.values()))
    log = driver.cluster.log
    partition = next(row.partition for row in driver.waiting if row.key == key)
    log.append(
        Record(
            processor.redrive_topic, key, b"{}", 0, partition=partition, headers=(("streams.command", what.encode()),)
        )
    )
    driver.settle()


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


def come_back(driver: MemoryDriver) -> None:
    """Send every dead letter to its processor once more, as a re-drive does."""
    (processor,) = driver._app.processors.values()
    for letter in driver.dead_letters:
        origin = f"{letter.topic}/{letter.partition}/{letter.offset}".encode()
        kept = letter.record._replace(
            topic=processor.redrive_topic, partition=letter.partition, headers=(("streams.origin", origin),)
        )
        driver.cluster.log.append(kept)
    driver.settle()


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


# ---- faults ----


@KINDS
@BOTH
@pytest.mark.parametrize("step", [step for step in Failpoint if step is not Failpoint.ABORTING])
def test_a_crash_at_every_step_loses_nothing(kind: str, guarantee: str, step: Failpoint) -> None:
    lab = Lab(kind, Failure(Retry(5, "1s..1m"), then=DEAD_LETTER))
    lab.failing = {3: 2, 10: 99, 17: 1}
    lab.sleeps = {0: 2.0, 11: 0.4}
    with lab.test(settings={"guarantee": guarantee}, seed=hash(step) % 100) as driver:
        driver.inject(Crash(), at=step, hit=2 if step is Failpoint.POLLED else 1)
        driver.send(lab.inputs, *lab.items(12))
        if step in {Failpoint.REVOKING, Failpoint.REVOKED}:
            driver.inject(Rebalance(2))
        driver.send(lab.inputs, *lab.items(12, "cdef"))
        if driver.faults["crash"] == 0:
            assert driver.disarm()
            pytest.skip("this guarantee does not come by")
        assert driver.lag == {"handle": 0}
        lab.judge(driver, duplicates=guarantee == "at_least_once")


@KINDS
def test_an_abort_runs_no_handler_again(kind: str) -> None:
    lab = Lab(kind)
    lab.sleeps = {0: 3.0, 9: 1.0}
    with lab.test() as driver:
        for hit in range(1, 4):
            driver.inject(Abort(), at=Failpoint.FLUSHED, hit=hit)
        driver.send(lab.inputs, *lab.items(24))
        lab.judge(driver)
        assert driver.faults["abort"] == 3
    assert sorted(n for _, n in lab.began) == list(range(24))


@pytest.mark.parametrize("seed", range(5))
def test_what_runs_when_a_partition_is_revoked_ends_into_nothing(seed: int) -> None:
    lab = Lab("async", partitions=4)
    lab.sleeps = dict.fromkeys(range(40), 3.0)
    with lab.test(seed=seed) as driver:
        driver.inject(Rebalance(3), at=Failpoint.PRODUCED)
        driver.send(lab.inputs, *lab.items(40, "abcdefghij"))
        lab.judge(driver)
        assert driver.faults["rebalance"] == 1
    again = Counter(n for _, n in lab.began)
    assert max(again.values()) <= 2


@BOTH
@pytest.mark.parametrize("seed", range(15))
def test_whatever_happens_nothing_is_lost_and_keys_keep_their_order(seed: int, guarantee: str) -> None:
    random = Random(seed)
    policy = random.choice(
        [DEAD_LETTER, SKIP, Failure(Retry(3, "500ms..5s")), Failure(Retry(2, "1s..2s"), then=DEAD_LETTER)]
    )
    lab = Lab(random.choice(["async", "blocking"]), policy, concurrency=random.choice([1, 3, 32]))
    lab.failing = {n: random.randint(1, 9) for n in range(60) if random.random() < 0.15}
    lab.sleeps = {n: random.choice([0.0, 0.05, 2.0, 20.0]) for n in range(60)}
    settings = {
        "guarantee": guarantee,
        "lane_records": random.choice([2, 10, 1000]),
        "poll_records": random.choice([3, 500]),
    }
    workers, late = random.randint(1, 2), random.randint(0, 2)
    with lab.test(seed=seed, workers=workers, settings=settings, late_markers=late) as driver:
        for start in range(0, 60, 20):
            for _ in range(random.randint(0, 3)):
                fault = random.choice(
                    [Crash(), Rebalance(random.randint(1, 3)), Eviction(), FencedProducer(), SlowCommit()]
                )
                driver.inject(fault, at=random.choice(list(Failpoint)), hit=random.randint(1, 4))
            if random.random() < 0.4:
                driver.inject(Abort(), at=Failpoint.FLUSHED)
            if random.random() < 0.2 and guarantee == "exactly_once":
                driver.inject(UnknownOutcome(committed=random.random() < 0.5), at=Failpoint.COMMIT_SENT)
            driver.send(lab.inputs, *[Item(key=random.choice("abcdefg"), n=n) for n in range(start, start + 20)])
        driver.disarm()
        for _ in range(30):  # a pause because most keys fail ends as they work again
            if driver.lag["handle"] or waits(driver):
                driver.advance("10s")
        assert driver.lag == {"handle": 0}
        if guarantee == "exactly_once":  # without, rows of an attempt that was given up stay in the topic
            assert driver.waiting == []
        order(driver, lab)


def waits(driver: MemoryDriver) -> bool:
    """Tell whether records wait for the workers; without transactions the topic also has rows that were given up."""
    (runtime,) = driver._simulation.runtimes.values()
    owned = [one for process in runtime.processes.values() for one in process.worker._partitions.owned.values()]
    return any(one.task.waiting for one in owned)


def order(driver: MemoryDriver, lab: Lab) -> None:
    """Failures come and go with the attempts, so a replay cannot judge them; the rows and outputs can."""
    sent = {one.value.n: one.value.key for one in driver.records(lab.inputs) if one.value}
    places = {(one.partition, one.offset): one.value.n for one in driver.records(lab.inputs) if one.value}
    given_up = {places[letter.partition, letter.offset] for letter in driver.dead_letters}
    published = [(one.key, one.n) for one in driver.published(lab.out)]
    done = {n for _, n in published}
    if driver.cluster.settings.guarantee == "exactly_once":
        assert len(done) == len(published)
    if lab.app.processors["handle"].on_failure.then is not SKIP:
        assert done | given_up == set(sent)
    for key, row in driver.store(lab.lists).items():
        wanted = [n for n in sorted(sent) if sent[n] == key and n in done]
        assert list(row.items) == wanted
    print(f"compared {len(sent)} records and {len(published)} outputs")
