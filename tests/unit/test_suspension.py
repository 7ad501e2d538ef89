"""A processor pauses because most of its keys fail only while something waits that can tell when they work again."""

from __future__ import annotations

import pytest
from rig import Item

from streams import DEAD_LETTER, PARK, SKIP, App, Context, Failure, FailurePolicy


@pytest.mark.parametrize(
    ("policy", "left"),
    [(SKIP, 0), (DEAD_LETTER, 0), (PARK, 7 * 3), (Failure(then=SKIP), 0)],
    ids=["skip", "dead-letter", "park", "pausing"],
)
def test_a_policy_without_retries_goes_on_however_many_keys_fail(policy: Failure | FailurePolicy, left: int) -> None:
    app = App("going-on")
    inputs = app.topic("in", Item, key="key", partitions=2)

    @app.processor(inputs, on_failure=policy)
    def refuse(item: Item, _ctx: Context) -> None:
        if item.n < 7:
            raise ValueError(item.n)

    with app.test(settings={"poll_records": 1}) as driver:
        driver.send(inputs, *[Item(key="abcdefghij"[n % 10], n=n) for n in range(30)])
        assert driver.lag == {"refuse": 0}
        assert len(driver.waiting) == left
