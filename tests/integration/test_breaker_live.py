"""A dependency that is down for longer than a member may be silent: nobody is evicted, nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import timedelta

import pytest
import structlog
from live.events import Appended, Item

from streams import App, Context
from streams.kafka.admin import Admin
from streams.settings import Settings
from streams.testing.live import LiveDriver

pytestmark = pytest.mark.integration

SILENCE = timedelta(seconds=7)  # that the group allows; the session timeout is 6 s
DOWN = 16.0  # seconds


def test_a_member_stays_while_its_partitions_wait_for_a_dependency(settings: Settings) -> None:
    app = App("breaks")
    bank = app.dependency("bank", failures=5, open_for="2s")
    items = app.topic("breaks.items", Item, key="key")
    paid = app.topic("breaks.paid", Appended, key="key")
    down, calls = threading.Event(), [0, 0]

    @app.processor(items, to=paid)
    def pay(item: Item, _ctx: Context) -> Appended:
        with bank:
            calls[down.is_set()] += 1
            if down.is_set():
                raise ConnectionError("the bank does not answer")
        return Appended(key=item.key, n=item.n, size=0, digest="")

    patient = settings.model_copy(update={"max_poll_interval": SILENCE})
    with structlog.testing.capture_logs() as logs, LiveDriver(app, patient, namespace="breaks") as driver:
        driver.send(items, *some(range(1000)))
        driver.settle()
        group = driver.app.processors["pay"].group
        before = Admin(settings).group(group)
        down.set()
        driver.send(items, *some(range(1000, 3000)))
        time.sleep(DOWN)
        assert driver.lag["pay"] > 1500
        assert bank.state().state != "closed"
        assert Admin(settings).group(group) == before
        down.clear()
        found = driver.published(paid)
        while bank.state().state != "closed" or len(found) < 3000:  # a retry may be due later than the rest
            time.sleep(0.5)
            found = driver.published(paid)
        assert Admin(settings).group(group) == before

        print(f"{len(found)} outputs compared; {calls[1]} calls failed; {bank.state()}")
        assert sorted(one.n for one in found) == list(range(3000))
        assert calls == [3000, 5 + bank.state().probes - 1]
        assert driver.dead_letters == []
        for key in {one.key for one in found}:
            of_key = [one.n for one in found if one.key == key]
            assert of_key == sorted(of_key)
        assert [one["event"] for one in logs if one["event"] in {"revoked", "lost"}] == []
        assert {one["reason"] for one in logs if one["event"] == "held"} - {"schema 2", "schema 1"} == {"breaker bank"}


def some(numbers: Iterable[int]) -> list[Item]:
    return [Item(key=f"key {n % 60}", n=n, text="") for n in numbers]
