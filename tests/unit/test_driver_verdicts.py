"""What the driver's assertions say of handlers that are hard to judge: no runtime is accused of what a handler does."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from rig import Appended, Item

from streams import App, Context, Topic
from streams.errors import UsageError
from streams.testing import Crash, Failpoint, simulation

numbers = itertools.count()


def _app(handler: Callable[[Any, Context], Any]) -> tuple[App, Topic[Item], Topic[Appended]]:
    app = App("verdicts")
    source, out = app.topic("in", Item, key="key"), app.topic("out", Appended, key="key")
    app.processor(source, to=out)(handler)
    return app, source, out


def by_chance(item: Item, _ctx: Context) -> Appended:
    return Appended(key=uuid.uuid4().hex, n=item.n, size=0)


def by_time(item: Item, _ctx: Context) -> Appended:
    return Appended(key=item.key, n=time.time_ns(), size=0)


def by_variable(item: Item, _ctx: Context) -> Appended:
    return Appended(key=item.key, n=next(numbers), size=0)


def well(item: Item, _ctx: Context) -> Appended:
    return Appended(key=item.key, n=item.n, size=0)


@pytest.mark.parametrize("handler", [by_chance, by_time, by_variable])
@pytest.mark.parametrize("judged", ["assert_no_loss", "assert_no_duplicates", "assert_order_per_key"])
def test_a_handler_that_does_something_else_every_time_cannot_be_judged(
    handler: Callable[[Item, Context], Appended], judged: str
) -> None:
    app, source, _ = _app(handler)
    with app.test() as driver:
        driver.send(source, Item(key="a", n=1))
        with pytest.raises(AssertionError, match=f"processor {handler.__name__} gives other outputs or state when"):
            getattr(driver, judged)()


def test_a_row_that_lives_in_another_partition_is_refused_again_when_it_is_judged() -> None:
    app = App("verdicts")
    source, out = app.topic("in", Item, key="key"), app.topic("out", Appended, key="key")
    rows = app.table("rows", Item, key="key")

    @app.processor(source, to=out)
    def astray(item: Item, ctx: Context) -> Appended:
        ctx.get(rows, f"somebody else {item.n}")
        return well(item, ctx)

    with app.test() as driver:
        driver.send(source, *(Item(key="a", n=n) for n in range(8)))
        refused = len(driver.dead_letters)
        assert 0 < refused < 8
        assert driver.assert_no_loss() + driver.assert_no_duplicates() == 31


def test_a_handler_without_end_is_a_dead_letter_and_can_be_judged() -> None:
    def endless(item: Item, _ctx: Context) -> Any:
        produced = itertools.count()
        while next(produced) < 150_000:  # what is asked for beyond the limit would be asked for for ever
            yield item
        raise AssertionError("asked for more than can be used")

    app, source, _ = _app(endless)
    with app.test() as driver:
        driver.send(source, Item(key="a", n=1))
        [letter] = driver.dead_letters
        assert "more than 100,000 outputs" in letter.message
        assert driver.assert_no_loss() == 3  # with its row among those that waited


def test_a_duplicate_is_told_with_the_guarantee_that_allows_it() -> None:
    app, source, _ = _app(well)
    with app.test(settings={"guarantee": "at_least_once"}) as driver:
        driver.inject(Crash(), at=Failpoint.FLUSHED)
        driver.send(source, Item(key="a", n=1))
        assert driver.assert_no_loss() > 0
        with pytest.raises(
            AssertionError, match=r"at_least_once\):\n.* to out 2 times, not once\n(?s:.*)At least once may"
        ):
            driver.assert_no_duplicates()


def test_nobody_can_be_judged_who_does_not_run() -> None:
    app, source, _ = _app(well)
    with app.test() as driver:
        driver.send(source, Item(key="a", n=1))
        with pytest.raises(UsageError, match=r"no processor nobody runs here"):
            driver.assert_no_loss("nobody")


def test_a_loop_without_end_is_told_and_names_who_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "MOST_TURNS", 200)
    app = App("loop")
    source = app.topic("in", Item, key="key")

    @app.processor(source, to=source)
    def again(item: Item, _ctx: Context) -> Item:
        return item

    with app.test() as driver, pytest.raises(UsageError, match=r"do not come to rest in \d+ turns; behind: again"):
        driver.send(source, Item(key="a", n=1))


def test_a_loop_that_ends_comes_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "MOST_TURNS", 200)
    app = App("loop")
    source = app.topic("in", Item, key="key")

    @app.processor(source, to=source)
    def down(item: Item, _ctx: Context) -> Item | None:
        return Item(key=item.key, n=item.n - 1) if item.n else None

    with app.test() as driver:
        driver.send(source, Item(key="a", n=20))
        assert len(driver.published(source)) == 21
        assert driver.assert_no_loss() + driver.assert_no_duplicates() > 40
