"""Each id handled once, whatever befalls the workers: random copies and faults, against a model."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from random import Random

import pytest
from rig import Appended, Item, Items

from streams import DEAD_LETTER, App, Context, Failure, Inbox, Retry, UsageError
from streams.idempotency.event_ids import EVENT_ID
from streams.testing import Crash, Eviction, Failpoint, MemoryDriver, Rebalance

RETENTION = 3_600_000
PARTITIONS = 2

app = App("pay", on_failure=Failure(Retry(3, "1s"), then=DEAD_LETTER, pauses=False))
payments = app.topic("payments", Item, key="key", partitions=PARTITIONS, event_ids=True)
booked = app.topic("booked", Appended, key="key", partitions=PARTITIONS, event_ids=True)
mailed = app.topic("mailed", Item, key="key", partitions=PARTITIONS)
books = app.store("books", str, Items)


@app.processor(payments, to=booked, inbox=Inbox("1h"))
def book(payment: Item, ctx: Context) -> Iterator[Appended]:
    """Some fail after they left their traces."""
    before = ctx.get(books, payment.key)
    items = (*(before.items if before else ()), payment.n)
    ctx.put(books, payment.key, Items(items=items))
    yield Appended(key=payment.key, n=payment.n, size=0)
    if payment.n % 17 == 3:
        raise ValueError(payment.n)


@app.processor(booked, to=mailed, inbox=Inbox("1h"))
def mail(one: Appended, _ctx: Context) -> Item:
    return Item(key=one.key, n=one.n)


def copies(random: Random, count: int) -> list[tuple[str, Item, int]]:
    """Return ids with their events and times: 30 % are copies, some of them later than the retention."""
    sent: list[tuple[str, Item, int]] = []
    for n in range(count):
        at = n * RETENTION // 200
        if sent and random.random() < 0.3:
            event_id, item, _ = random.choice(sent[-300:])
        else:
            event_id, item = f"id {n}", Item(key=f"k{n % 7}", n=n)
        sent.append((event_id, item, at))
    return sent


def handled(sent: list[tuple[str, Item, int]]) -> list[Item]:
    """Play an inbox: an event is handled unless the same id was, within the retention."""
    last: dict[str, int] = {}
    taken = []
    for event_id, item, at in sent:
        if event_id in last and at - last[event_id] < RETENTION:
            continue
        if item.n % 17 != 3:
            last[event_id] = at
        taken.append(item)
    return taken


def send(driver: MemoryDriver, sent: list[tuple[str, Item, int]], start: int) -> None:
    """Append each at its time, which is the clock's too."""
    for event_id, item, at in sent:
        behind = start + at - driver.clock.now_ms()
        if behind > 0:
            driver.advance(f"{behind}ms")
        driver.send(payments, item, ids=[event_id])


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize("seed", range(3))
def test_each_id_is_handled_once_within_the_retention(guarantee: str, seed: int) -> None:
    random = Random(seed)
    sent = copies(random, 600)
    with app.test(workers=2, seed=seed, settings={"guarantee": guarantee}) as driver:
        start = driver.clock.now_ms()
        for begin in range(0, len(sent), 100):
            send(driver, sent[begin : begin + 100], start)
            driver.inject(random.choice([Crash(), Rebalance(workers=random.randint(1, 3)), Eviction()]))
        expected = handled(sent)
        good = Counter(item.n for item in expected if item.n % 17 != 3)
        assert Counter(one.n for one in driver.published(booked)) == good
        assert Counter(one.n for one in driver.published(mailed)) == good
        assert len(driver.dead_letters) == len(expected) - good.total()
        ids = [dict(record.headers)[EVENT_ID] for record in driver.records(booked)]
        assert len(set(ids)) == len(ids)
        by_key = defaultdict(list)
        for item in expected:
            if item.n % 17 != 3:
                by_key[item.key].append(item.n)
        assert {key: list(row.items) for key, row in driver.store(books).items()} == by_key
        assert driver.assert_no_loss() > len(expected)
        assert driver.assert_no_duplicates() >= len(expected)
        driver.assert_order_per_key()
        print(f"{len(sent)} events with {len(sent) - len(expected)} copies, {dict(driver.faults)}")
        assert len(expected) < 0.85 * len(sent)


STEPS = [
    Failpoint.POLLED,
    Failpoint.PROCESSED,
    Failpoint.PRODUCED,
    Failpoint.CHANGELOG_PRODUCED,
    Failpoint.FLUSHED,
    Failpoint.OFFSETS_SENT,
    Failpoint.COMMIT_SENT,
    Failpoint.COMMITTED,
    Failpoint.STATE_WRITING,
    Failpoint.STATE_WRITTEN,
]


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_leaves_each_id_once_behind_the_next_inbox(guarantee: str, step: Failpoint) -> None:
    """At least once repeats what a crash cut off from its commit; its copy has the id of the first."""
    events = [(f"id {n}", Item(key=f"k{n % 3}", n=n)) for n in (0, 1, 2, 4, 5)]
    with app.test(settings={"guarantee": guarantee}) as driver:
        for event_id, item in events:
            driver.inject(Crash(), at=step, processor="book")
            driver.send(payments, item, item, ids=[event_id, event_id])
            driver.send(payments, item, ids=[event_id])
        assert driver.faults["crash"] == len(events)
        repeated = Counter(dict(record.headers)[EVENT_ID] for record in driver.records(booked))
        assert len(repeated) == len(events)
        assert sorted(one.n for one in driver.published(mailed)) == [0, 1, 2, 4, 5]
        assert {n for row in driver.store(books).values() for n in row.items} == {0, 1, 2, 4, 5}
        assert sum(len(row.items) for row in driver.store(books).values()) == len(events)
        assert driver.assert_no_loss() > 0
        again = guarantee == "at_least_once" and step in STEPS[3:7]
        assert (repeated.total() > len(events)) is again
        if not again:
            driver.assert_no_duplicates()


def test_local_state_that_is_lost_comes_back_with_its_ids() -> None:
    with app.test(processors="book") as driver:
        driver.send(payments, *(Item(key="a", n=n) for n in (0, 1, 2)), ids=["0", "1", "2"])
        for path in sorted(driver.cluster.folder.rglob("part-*")):
            for file in path.iterdir():
                file.unlink()
        driver.inject(Crash())
        driver.send(payments, *(Item(key="a", n=n) for n in (0, 1, 2, 4)), ids=["0", "1", "2", "4"])
        assert sorted(one.n for one in driver.published(booked)) == [0, 1, 2, 4]
        assert driver.assert_no_loss() > 0


def test_a_dead_letter_that_comes_back_is_no_copy() -> None:
    given_up = App("back", on_failure=DEAD_LETTER)
    source = given_up.topic("in", Item, key="key", partitions=1, event_ids=True)
    out = given_up.topic("out", Item, key="key", partitions=1, event_ids=True)
    ready: list[bool] = []

    @given_up.processor(source, to=out, inbox=Inbox("1h"))
    def relay(item: Item, _ctx: Context) -> Item:
        if item.n == 1 and not ready:
            raise ConnectionError
        return item

    with given_up.test() as driver:
        driver.send(source, Item(key="a", n=1), Item(key="a", n=2), ids=["x", "y"])
        (letter,) = driver.dead_letters
        ready.append(True)
        back = (("streams.origin", b"in/0/0"), ("streams.redrives", b"1"))
        again = letter.record._replace(topic="back.relay.redrive", headers=letter.record.headers + back)
        driver.cluster.log.append(again)
        driver.cluster.log.append(again)
        driver.send(source, Item(key="a", n=1), ids=["x"])
        found = {dict(record.headers)[EVENT_ID]: record.value.n for record in driver.records(out) if record.value}
        assert len(driver.records(out)) == 2
        assert found == {b"back.relay/in/0/1/0": 2, b"back.relay/in/0/0/0": 1}


def test_what_waits_is_not_in_the_inbox_and_its_copies_stay_behind_it() -> None:
    late = App("late", on_failure=Failure(Retry(10, "1m"), then=DEAD_LETTER, pauses=False))
    source = late.topic("in", Item, key="key", partitions=1, event_ids=True)
    out = late.topic("out", Item, key="key", partitions=1)
    ready: list[bool] = []

    @late.processor(source, to=out, inbox=Inbox("1h"))
    def relay(item: Item, _ctx: Context) -> Item:
        if not ready:
            raise ConnectionError
        return item

    with late.test(auto_advance=False) as driver:
        driver.send(source, Item(key="a", n=1), Item(key="a", n=1), Item(key="a", n=2), ids=["x", "x", "y"])
        assert len(driver.waiting) == 3
        ready.append(True)
        driver.advance("2m")
        assert [item.n for item in driver.published(out)] == [1, 2]
        assert driver.waiting == []
        assert driver.assert_no_loss() > 0
        assert driver.assert_no_duplicates() > 0
        assert driver.assert_order_per_key() > 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["coroutine", "generator", "blocking", "effect"])
def test_copies_do_not_reach_handlers_in_lanes(kind: str, seed: int) -> None:
    calls: Counter[tuple[str, int]] = Counter()
    lanes = App("lanes", on_failure=Failure(Retry(5, "1s"), then=DEAD_LETTER, pauses=False))
    source = lanes.topic("in", Item, key="key", partitions=1, event_ids=True)
    out = lanes.topic("out", Item, key="key", partitions=1)

    def called(item: Item) -> Item:
        calls[item.key, item.n] += 1
        if item.n % 5 == 0 and calls[item.key, item.n] == 1:
            raise ConnectionError
        return item

    async def coroutine(item: Item, _ctx: Context) -> Item:
        await asyncio.sleep(0.01 * (item.n % 3))
        return called(item)

    async def generator(item: Item, _ctx: Context) -> AsyncIterator[Item]:
        yield called(item)

    def blocking(item: Item, _ctx: Context) -> Item:
        return called(item)

    if kind == "effect":
        lanes.effect(source, to=out, inbox=Inbox("1h"))(coroutine)
    else:
        handlers = {"coroutine": coroutine, "generator": generator, "blocking": blocking}
        lanes.processor(source, to=out, inbox=Inbox("1h"), blocking=kind == "blocking")(handlers[kind])
    random = Random(seed)
    sent = [Item(key=f"k{n % 4}", n=n) for n in range(40)]
    sent += random.choices(sent, k=20)
    random.shuffle(sent)
    with lanes.test(seed=seed) as driver:
        driver.send(source, *sent, ids=[f"id {item.n}" for item in sent])
        driver.inject(Rebalance(workers=2))
        driver.send(source, *sent[:20], ids=[f"id {item.n}" for item in sent[:20]])
        assert sorted(item.n for item in driver.published(out)) == list(range(40))
        assert {calls[item.key, item.n] - (item.n % 5 == 0) for item in sent} == {1}
        assert driver.assert_no_loss() > 0
        assert driver.assert_no_duplicates() > 0
        assert driver.assert_order_per_key() > 0


def test_ids_are_given_for_every_value_or_not_at_all() -> None:
    with app.test() as driver:
        with pytest.raises(UsageError, match="1 ids for 2 events"):
            driver.send(payments, Item(key="a", n=1), Item(key="a", n=2), ids=["x"])
        driver.send(payments, Item(key="a", n=1), Item(key="a", n=1))
        assert [one.n for one in driver.published(booked)] == [1, 1]
