"""Event ids and an inbox on Kafka itself: headers, the changelog, another worker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from live.events import Appended, Item

from streams import App, Context, Inbox
from streams.idempotency.event_ids import EVENT_ID
from streams.testing.live import LiveDriver

pytestmark = pytest.mark.integration

app = App("pay")
payments = app.topic("payments", Item, key="key", partitions=2, event_ids=True)
booked = app.topic("booked", Appended, key="key", partitions=2)
mailed = app.topic("mailed", Item, key="key", partitions=2, event_ids=False)


@app.processor(payments, to=booked, inbox=Inbox("1h"))
def book(payment: Item, _ctx: Context) -> Appended:
    return Appended(key=payment.key, n=payment.n, size=1, digest="")


@app.processor(booked, to=mailed)
def mail(one: Appended, _ctx: Context) -> Item:
    return Item(key=one.key, n=one.n, text="")


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_copies_are_passed_over_on_kafka(stream_app: Callable[..., LiveDriver], guarantee: str) -> None:
    driver = stream_app(app, settings={"guarantee": guarantee})
    items = [Item(key=f"k{n % 3}", n=n, text="") for n in range(6)]
    driver.send(payments, *items, ids=[f"id {item.n}" for item in items])
    driver.send(payments, *items, ids=[f"id {item.n}" for item in items])
    driver.send(payments, items[0])  # an event of its own: the publisher gives it an id

    assert sorted(one.n for one in driver.published(booked)) == [0, 0, 1, 2, 3, 4, 5]
    assert len(driver.published(mailed)) == 7
    sent = [dict(record.headers)[EVENT_ID] for record in driver.records(payments)]
    assert (len(sent), len(set(sent))) == (13, 7)
    ids = [dict(record.headers).get(EVENT_ID) for record in driver.records(booked)]
    assert len(set(ids)) == (7 if guarantee == "at_least_once" else 1)
    assert all(record.headers == () for record in driver.records(mailed))
