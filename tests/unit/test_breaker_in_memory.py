"""A dependency that is down for ten minutes: the partitions wait before their next record, and go on in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import structlog
from live.events import Appended, History, Item

from streams import DEAD_LETTER, App, CircuitOpenError, Context
from streams.testing import Crash, MemoryDriver

KEYS = 60
OUTAGE = timedelta(minutes=10)
PROBES = 20  # in that time


class Shop:
    """An app whose handler calls a bank, which may be down."""

    def __init__(self, **options: Any) -> None:
        self.app = App("shop")
        self.bank = self.app.dependency("bank", failures=5, open_for="30s")
        self.items = self.app.topic("shop.items", Item, key="key")
        self.paid = self.app.topic("shop.paid", Appended, key="key")
        histories = self.app.store("histories", str, History)
        self.calls: Counter[str] = Counter()
        self.down = False

        @self.app.processor(self.items, to=self.paid, **options)
        def pay(item: Item, ctx: Context) -> Appended:
            before = ctx.get(histories, item.key)
            history = (*before.items, item.n) if before else (item.n,)
            ctx.put(histories, item.key, History(items=history))
            with self.bank:
                self.calls["failed" if self.down else "done"] += 1
                if self.down:
                    raise ConnectionError("the bank does not answer")
            return Appended(key=item.key, n=item.n, size=len(history), digest="")

    @contextmanager
    def outage(self, driver: MemoryDriver, length: timedelta = OUTAGE) -> Iterator[None]:
        """Be down for the block and then until so much time has passed."""
        until = driver.clock.now() + length
        self.down = True
        yield
        while (left := until - driver.clock.now()) > timedelta(0):
            driver.advance(min(left, timedelta(seconds=10)))
        self.down = False
        driver.advance("2m")


def items(*numbers: int) -> list[Item]:
    return [Item(key=f"key {n % KEYS}", n=n, text="") for n in numbers]


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_thousands_of_records_wait_for_it_and_none_is_given_up(guarantee: str) -> None:
    shop = Shop()
    with shop.app.test(workers=2, settings={"guarantee": guarantee}) as driver:
        driver.send(shop.items, *items(*range(1000)))
        with shop.outage(driver):
            driver.send(shop.items, *items(*range(1000, 3000)))
            state = shop.bank.state()
            assert (state.state, state.failures, state.reason) == (
                "open",
                5,
                "ConnectionError: the bank does not answer",
            )
            assert driver.lag["pay"] > 1900
        found = driver.published(shop.paid)
        print(f"{len(found)} outputs compared; calls {dict(shop.calls)}; {shop.bank.state()}")
        assert sorted(one.n for one in found) == list(range(3000))
        assert driver.dead_letters == driver.waiting == []
        assert driver.lag == {"pay": 0}
        assert shop.calls == {"done": 3000, "failed": 5 + shop.bank.state().probes - 1}
        assert PROBES - 1 <= shop.bank.state().probes - 1 <= PROBES
        assert driver.assert_no_loss() > 6000
        assert driver.assert_no_duplicates() == 3000
        assert driver.assert_order_per_key() == 3000
        assert shop.calls["done"] == 3000 + 3 * 3000  # what the verdicts called, which the bank did not notice
        assert shop.bank.state().state == "closed"


def test_without_retries_it_costs_the_records_that_found_it_out_and_the_probes() -> None:
    shop = Shop(on_failure=DEAD_LETTER)
    with shop.app.test() as driver:
        driver.send(shop.items, *items(*range(1000)))
        with shop.outage(driver):
            driver.send(shop.items, *items(*range(1000, 2000)))
        found = driver.published(shop.paid)
        given_up = driver.dead_letters
        assert len(given_up) == 5 + shop.bank.state().probes - 1 <= 5 + PROBES
        assert len(found) + len(given_up) == 2000
        by_key: dict[str, list[int]] = {}
        for one in found:
            by_key.setdefault(one.key, []).append(one.n)
        assert all(ns == sorted(ns) for ns in by_key.values())


def test_a_worker_that_dies_meanwhile_forgets_nothing() -> None:
    shop = Shop()
    with shop.app.test() as driver:
        driver.send(shop.items, *items(*range(300)))
        with shop.outage(driver):
            driver.send(shop.items, *items(*range(300, 600)))
            driver.inject(Crash())
            with structlog.testing.capture_logs() as logs:
                driver.settle()
            assert "breaker bank" in {one["reason"] for one in logs if one["event"] == "held"}
        assert sorted(one.n for one in driver.published(shop.paid)) == list(range(600))
        driver.assert_no_loss()
        driver.assert_order_per_key()


def test_another_answer_may_be_given_while_it_is_down() -> None:
    app = App("shop")
    bank = app.dependency("bank", failures=1)
    items_ = app.topic("shop.items", Item, key="key")
    paid = app.topic("shop.paid", Appended, key="key")

    @app.processor(items_, to=paid, on_failure=DEAD_LETTER)
    def pay(item: Item, _ctx: Context) -> Appended:
        try:
            with bank:
                raise ConnectionError(item.text)
        except CircuitOpenError:
            return Appended(key=item.key, n=item.n, size=0, digest="later")

    with app.test() as driver:
        driver.send(items_, *items(*range(10)))
        assert len(driver.published(paid)) == 9
        assert len(driver.dead_letters) == 1


def test_each_test_begins_with_a_closed_circuit_and_ends_with_the_real_clock() -> None:
    shop = Shop(on_failure=DEAD_LETTER)
    for _ in range(2):
        with shop.app.test() as driver:
            shop.down = True
            driver.send(shop.items, *items(*range(20)))
            assert shop.bank.state()[:2] == ("bank", "open")
            assert len(driver.dead_letters) == 5
            driver.advance("31s")
            assert shop.bank.state().probes == 1
    assert shop.bank.state()[:2] == ("bank", "closed")
