"""The driver in memory, called wrongly: what is wrong is told in words, and nothing of it is half done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from rig import Appended, Item, Items

from streams import STOP, App, Context, Topic
from streams.errors import StoppedError, UsageError
from streams.testing import Crash, Failpoint, MemoryDriver, Rebalance

app = App("shop")
inputs = app.topic("in", Item, key="key", partitions=2)
out = app.topic("out", Appended, key="key", partitions=2)
rows = app.table("rows", Item, key="key", partitions=2)
lists = app.store("lists", str, Items)


@app.processor(inputs, to=out)
def append(item: Item, ctx: Context) -> Appended:
    before = ctx.get(lists, item.key)
    items = (*(before.items if before else ()), item.n)
    ctx.put(lists, item.key, Items(items=items))
    row = ctx.get(rows, item.key)
    return Appended(key=item.key, n=row.n if row else 0, size=len(items))


@pytest.fixture
def driver() -> Iterator[MemoryDriver]:
    with app.test() as opened:
        yield opened


def test_an_app_in_a_namespace_is_tested_with_its_own_objects() -> None:
    with app.in_namespace("pr-7").test() as driver:
        driver.send(rows, Item(key="a", n=5))
        driver.send(inputs, Item(key="a", n=1))
        driver.send_raw(inputs, b"junk", key=b"a")
        driver.delete(rows, "a")

        assert driver.published(out) == [Appended(key="a", n=5, size=1)]
        assert driver.store(lists) == {"a": Items(items=(1,))}
        assert [record.topic for record in driver.records(rows)] == ["rows", "rows"]
        [letter] = driver.dead_letters
        assert (letter.topic, letter.record.topic) == ("in", "in")
        assert driver.assert_no_loss() + driver.assert_no_duplicates() > 0


def test_a_topic_that_bears_its_namespace_already_is_the_same_one() -> None:
    inside = app.in_namespace("pr-7")
    with inside.test() as driver:
        driver.send(inside.declared_topics()["pr-7.in"], Item(key="a", n=1))
        assert len(driver.published(out)) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"workers": 0}, "workers=0"),
        ({"restore_records": 0}, "restore_records=0"),
        ({"late_markers": -1}, "late_markers=-1"),
        ({"processors": "apend"}, "no processor 'apend'"),
        ({"settings": {"nope": 1}}, "there is no setting nope"),
        ({"settings": {"commit_interval": "abc"}}, "commit_interval: 'abc' is not a duration"),
        ({"settings": {"commit_interval": "20s"}}, "must be shorter than transaction_timeout"),
    ],
)
def test_options_and_settings_that_cannot_be_used(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        app.test(**options)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda driver: driver.send(Topic("elsewhere", Item, "key"), Item(key="a", n=1)), "no topic elsewhere"),
        (lambda driver: driver.send("in", Item(key="a", n=1)), "'in' is neither a topic nor a table"),
        (lambda driver: driver.records(lists), "is neither a topic nor a table"),
        (lambda driver: driver.send_raw(inputs, b"x", partition=2), "in has no partition 2"),
        (lambda driver: driver.send_raw(inputs, b"x", partition=-5), "in has no partition -5"),
        (lambda driver: driver.send_raw(inputs, "x"), "'x' is not bytes"),
        (lambda driver: driver.send_raw(inputs, b"x", key="a"), "'a' is not bytes"),
        (lambda driver: driver.send_raw(inputs, b"x" * (1 << 20)), "does not take a record of 1,048,576 bytes"),
        (lambda driver: driver.send(inputs, Item(key="a", n=1), Item(key="x" * (1 << 20), n=2)), "does not take"),
        (lambda driver: driver.delete(inputs, 5), "5 is no key of in"),
        (lambda driver: driver.advance(5), "5 has no unit"),
        (lambda driver: driver.advance("-1s"), "not a duration"),
        (lambda driver: driver.advance(timedelta(days=9_999_999)), "beyond the year 9999"),
        (lambda driver: driver.inject(Crash, at=Failpoint.POLLED), r"Crash is not a fault.*"),
        (lambda driver: driver.inject("crash"), "'crash' is not a fault"),
        (lambda driver: driver.inject(Crash(), at=Failpoint.POLLED, hit=0), "no hit 0"),
        (lambda driver: driver.inject(Rebalance(), at="nowhere"), "cannot happen at nowhere"),
    ],
)
def test_a_call_that_cannot_be_done_is_told_and_sends_nothing(
    driver: MemoryDriver, call: Callable[[Any], object], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        call(driver)
    driver.advance("1s")
    assert driver.records(inputs) == []


def test_a_step_may_be_given_by_its_name(driver: MemoryDriver) -> None:
    driver.inject(Crash(), at="flushed")  # type: ignore[arg-type] # wrong on purpose
    driver.send(inputs, Item(key="a", n=1))

    assert driver.faults == {"crash": 1}


@pytest.mark.parametrize(
    "call",
    [
        lambda driver: driver.send(inputs, Item(key="a", n=1)),
        lambda driver: driver.published(out),
        lambda driver: driver.dead_letters,
        lambda driver: driver.store(lists),
        lambda driver: driver.advance("1s"),
        lambda driver: driver.inject(Crash(), at=Failpoint.POLLED),
        lambda driver: driver.assert_no_loss(),
    ],
)
def test_a_closed_driver_says_so(call: Callable[[MemoryDriver], object]) -> None:
    with app.test() as driver:
        pass
    driver.close()
    with pytest.raises(UsageError, match="the driver is closed"):
        call(driver)


@pytest.mark.parametrize("calls", ["send", "published"])
def test_a_handler_that_calls_its_driver_is_told(calls: str) -> None:
    other = App("other")
    source = other.topic("in", Item, key="key")

    @other.processor(source)
    def curious(item: Item, _ctx: Context) -> None:
        getattr(driver, calls)(source, *([item] if calls == "send" else []))

    with other.test() as driver, pytest.raises(UsageError, match="the handler of curious calls the driver"):
        driver.send(source, Item(key="a", n=1))


def test_a_fault_needs_a_worker_that_it_can_happen_to() -> None:
    other = App("other")
    source = other.topic("in", Item, key="key")

    @other.processor(source, on_failure=STOP)
    def stop(item: Item, _ctx: Context) -> None:
        raise ValueError(item.n)

    with other.test() as driver:
        with pytest.raises(StoppedError):
            driver.send(source, Item(key="a", n=1))
        with pytest.raises(UsageError, match="no worker of stop runs"):
            driver.inject(Crash())
        assert driver.faults == {}
