"""An app whose handler runs in lanes as a test wants it to, and what has to hold for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from rig import Appended, Item, Items

from streams import SKIP, App, Context
from streams.record import Record
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
