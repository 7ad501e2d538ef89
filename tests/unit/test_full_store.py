"""A waiting store that is full holds its partition, and commands make room in it."""

from __future__ import annotations

from typing import Any

import pytest
from rig import Item

from streams import PARK, App, Context
from streams.record import Headers, Record
from streams.testing import MemoryDriver
from streams.topic import Topic

MOST = 3


def build() -> tuple[App, Topic[Item], Topic[Item]]:
    app = App("full", settings={"waiting_records": MOST})
    source = app.topic("in", Item, key="key", partitions=1)
    out = app.topic("out", Item, key="key", partitions=1)

    @app.processor(source, to=out, on_failure=PARK)
    def park(item: Item, _ctx: Context) -> Item:
        if item.n < 100:
            raise ValueError(item.n)
        return item

    return app, source, out


def command(driver: MemoryDriver, name: str, key: str, offset: int | None = None) -> None:
    headers: Headers = (("streams.command", name.encode()),)
    if offset is not None:
        headers += (("streams.offset", b"%d" % offset),)
    driver.cluster.log.append(Record("full.park.redrive", key.encode(), None, 0, 0, headers=headers))
    driver.settle()


def keys(records: list[Any]) -> list[str]:
    return [record.key if isinstance(record.key, str) else record.key.decode() for record in records]


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_nothing_is_lost_while_the_store_is_full_and_a_drop_makes_room(guarantee: str) -> None:
    """INV-1: what has no place to wait is not marked; a command is obeyed although its partition is held."""
    app, source, out = build()
    with app.test(settings={"guarantee": guarantee}) as driver:
        driver.send(source, *(Item(key=key, n=n) for n, key in enumerate("abcde")), Item(key="f", n=100))
        assert keys(driver.waiting) == ["a", "b", "c"]
        assert driver.lag == {"park": 3}
        assert driver.published(out) == []

        command(driver, "drop", "a")
        assert keys(driver.waiting) == ["b", "c", "d"]
        assert [letter.kind for letter in driver.dead_letters] == ["dropped"]

        command(driver, "drop", "b")
        assert keys(driver.waiting) == ["c", "d", "e"]
        assert [one.key for one in driver.published(out)] == ["f"]
        assert driver.lag == {"park": 0}
        assert driver.assert_no_loss() > 0


def test_a_record_that_comes_back_does_not_stand_in_the_way_of_a_command() -> None:
    app, source, _ = build()
    with app.test() as driver:
        driver.send(source, *(Item(key=key, n=n) for n, key in enumerate("abcde")))
        command(driver, "drop", "a")
        [letter] = driver.dead_letters
        back = (("streams.origin", b"in/0/0"), ("streams.redrives", b"1"), ("streams.dead_letter", b"0/0"))
        driver.cluster.log.append(letter.record._replace(topic="full.park.redrive", partition=0, headers=back))
        driver.settle()
        assert keys(driver.waiting) == ["b", "c", "d"]  # it fails again and finds no room; e waits in its topic
        command(driver, "drop", "b")
        command(driver, "drop", "c")
        assert sorted(keys(driver.waiting)) == ["a", "d", "e"]
        assert driver.lag == {"park": 0}


def test_one_record_alone_is_released_or_dropped() -> None:
    app, source, _ = build()
    with app.test() as driver:
        driver.send(source, Item(key="a", n=1), Item(key="a", n=2), Item(key="b", n=3))
        command(driver, "drop", "a", offset=1)
        assert [row.offset for row in driver.waiting] == [0, 2]
        command(driver, "release", "a")
        assert [(row.offset, row.attempts) for row in driver.waiting] == [(0, 1), (2, 1)]
