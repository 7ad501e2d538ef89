"""Who pauses when most keys fail, and who never does."""

from __future__ import annotations

import pytest
from live.events import Item

from streams import DEAD_LETTER, PARK, SKIP, App, Context, Failure, FailurePolicy, Retry


@pytest.mark.parametrize("policy", [DEAD_LETTER, SKIP, Failure(then=SKIP), Failure(Retry(3), pauses=False)])
def test_a_policy_that_gives_up_at_once_goes_on(policy: Failure | FailurePolicy) -> None:
    app, failing = declared(policy)
    with app.test() as driver:
        driver.send(app.declared_topics()["pay.items"], *some(60))
        driver.settle()
        assert driver.lag == {"pay": 0}
        retried = isinstance(policy, Failure) and policy.retry is not None
        assert failing[0] == (60 * 4 if retried else 60)


@pytest.mark.parametrize("policy", [Failure(Retry(3)), Failure(then=PARK)])
def test_others_pause_until_it_works_again(policy: Failure) -> None:
    app, failing = declared(policy)
    with app.test() as driver:
        driver.send(app.declared_topics()["pay.items"], *some(60))
        assert driver.lag["pay"] > 40
        failing[1] = 0
        driver.advance("10m")
        assert driver.lag == {"pay": 0}
        assert driver.dead_letters == []


def declared(policy: Failure | FailurePolicy) -> tuple[App, list[int]]:
    app = App("pay")
    items = app.topic("pay.items", Item, key="key")
    failing = [0, 1]

    @app.processor(items, on_failure=policy)
    def pay(_item: Item, _ctx: Context) -> None:
        if failing[1]:
            failing[0] += 1
            raise ConnectionError("down")

    return app, failing


def some(count: int) -> list[Item]:
    return [Item(key=f"key {n}", n=n, text="") for n in range(count)]
