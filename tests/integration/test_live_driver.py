"""A driver on a real cluster: apps defined inside a test, run by production workers in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from confluent_kafka import Producer
from live.events import Appended, History, Item

from streams import STOP, App, Context, Store, StreamsError, Topic, UsageError
from streams.kafka.admin import Admin
from streams.settings import Settings
from streams.testing.live import LiveDriver, await_topics
from streams.topology import TopicSpec

pytestmark = pytest.mark.integration

REFUSED = "refused"


class Shop(NamedTuple):
    """An app with a chain of two processors, state, and a table."""

    app: App
    items: Topic[Item]
    copies: Topic[Item]
    appended: Topic[Appended]
    histories: Store[str, History]


def shop() -> Shop:
    app = App("shop")
    items = app.topic("shop.items", Item, key="key")
    copies = app.topic("shop.copies", Item, key="key")
    appended = app.topic("shop.appended", Appended, key="key")
    histories = app.store("histories", str, History)

    @app.processor(items, to=copies)
    def copy(item: Item, _ctx: Context) -> Item:
        if item.text == REFUSED:
            raise ValueError(item.text)
        return item

    @app.processor(copies, to=appended)
    def append(item: Item, ctx: Context) -> Appended:
        before = ctx.get(histories, item.key)
        history = (*before.items, item.n) if before else (item.n,)
        ctx.put(histories, item.key, History(items=history))
        return Appended(key=item.key, n=item.n, size=len(history), digest="")

    return Shop(app, items, copies, appended, histories)


def item(key: str, n: int, text: str = "") -> Item:
    return Item(key=key, n=n, text=text)


def single(handler: Callable[[Item, Context], object], **options: object) -> tuple[App, Topic[Item]]:
    app = App("single")
    items = app.topic("single.items", Item, key="key", partitions=1)
    app.processor(items, **options)(handler)
    return app, items


def test_a_chain_settles_and_is_read_back(settings: Settings) -> None:
    shop_ = shop()
    at = datetime(2026, 1, 2, tzinfo=UTC)
    with LiveDriver(shop_.app, settings, namespace="chain") as driver:
        driver.send(shop_.items, *(item(f"key {n % 3}", n) for n in range(30)), timestamp=at)
        driver.send_raw(shop_.items, b"junk", key=b"key 1", headers=(("trace", b"7"),))
        driver.send(shop_.items, item("key 2", 30, REFUSED))
        driver.settle()

        found = driver.published(shop_.appended)
        records = driver.records(shop_.copies)
        letters = driver.dead_letters

        assert sorted((one.n, one.size) for one in found) == [(n, n // 3 + 1) for n in range(30)]
        assert [(r.topic, r.partition, r.offset) for r in records] == sorted(
            ("shop.copies", r.partition, r.offset) for r in records
        )
        assert {r.timestamp_ms for r in records} == {int(at.timestamp() * 1000)}
        assert driver.store(shop_.histories) == {f"key {k}": History(items=tuple(range(k, 30, 3))) for k in range(3)}
        assert driver.lag == {"copy": 0, "append": 0}
        assert {(one.processor, one.stage, one.topic, one.record.topic) for one in letters} == {
            ("copy", "decode", "shop.items", "shop.items"),
            ("copy", "process", "shop.items", "shop.items"),
        }
        assert [one.record.headers for one in letters if one.stage == "decode"] == [(("trace", b"7"),)]
        topics = {name for name in Admin(settings).topics() if name.startswith("chain.")}
        assert topics == {spec.name for spec in driver.app.topics()}
    left = {name for name in Admin(settings).topics() if name.startswith("chain.")}
    assert left == set()


def test_a_row_is_there_for_what_is_sent_after_it_and_for_nothing_before(settings: Settings) -> None:
    app = App("rows")
    rows = app.table("rows.rows", Item, key="key")
    items = app.topic("rows.items", Item, key="key")
    seen = app.topic("rows.seen", Appended, key="key")

    @app.processor(items, to=seen)
    def look(event: Item, ctx: Context) -> Appended:
        row = ctx.get(rows, event.key)
        return Appended(key=event.key, n=event.n, size=row.n if row else 0, digest="")

    with LiveDriver(app, settings, namespace="rows") as driver:
        driver.send(rows, item("a", 1))
        driver.send(items, item("a", 0))
        driver.send(rows, item("a", 2))
        driver.send(items, item("a", 1), item("b", 2))
        driver.delete(rows, "a")
        driver.send(items, item("a", 3))

        assert {one.n: one.size for one in driver.published(seen)} == {0: 1, 1: 2, 2: 0, 3: 0}
        assert [record.value for record in driver.records(rows)] == [item("a", 1), item("a", 2), None]


def test_what_ends_a_worker_is_raised_by_the_next_call(settings: Settings) -> None:
    def fail(event: Item, _ctx: Context) -> None:
        raise ValueError(event.key)

    app, items = single(fail, on_failure=STOP)
    driver = LiveDriver(app, settings, namespace="stops")
    driver.send(items, item("a", 1))
    with pytest.raises(StreamsError, match="the policy is STOP: ValueError: a") as raised:
        driver.settle()
    assert raised.value.exit_code == 6
    assert raised.value.__notes__ == ["it ended the worker of processor fail"]
    driver.close()


def test_an_error_that_nobody_asked_for_is_raised_at_the_end(settings: Settings) -> None:
    called = threading.Event()

    def misuse(_event: Item, ctx: Context) -> None:
        called.set()
        ctx.put(Store("other", str, History), "a", None)

    app, items = single(misuse)
    driver = LiveDriver(app, settings, namespace="ends")
    driver.send(items, item("a", 1))
    assert called.wait(20)
    with pytest.raises(UsageError, match="the handler uses other"):
        driver.close()


def test_a_fenced_worker_begins_afresh(settings: Settings) -> None:
    shop_ = shop()
    with LiveDriver(shop_.app, settings, namespace="fenced") as driver:
        driver.send(shop_.items, item("a", 1))
        assert [one.n for one in driver.published(shop_.appended)] == [1]

        identity = (settings.state_dir / "fenced.shop" / "copy" / "slot-0" / "id").read_text()
        usurper = Producer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "transactional.id": f"fenced.shop-copy-0-{identity}",
            }
        )
        usurper.init_transactions(10)
        for n in range(2, 5):
            driver.send(shop_.items, item("a", n))

        assert [one.n for one in driver.published(shop_.appended)] == [1, 2, 3, 4]


def test_what_is_behind_is_told_by_processor_and_partition(settings: Settings) -> None:
    done = threading.Event()

    def wait(_event: Item, _ctx: Context) -> None:
        done.wait(20)

    app, items = single(wait)
    with LiveDriver(app, settings, namespace="waits", patience=2) as driver:
        driver.send(items, item("a", 1), item("a", 2))
        with pytest.raises(
            StreamsError, match=r"not settled with a patience of 2 s:\n  - wait: waits.single.items\[0\] 2 behind"
        ):
            driver.settle()
        assert driver.lag == {"wait": 2}
        done.set()


def test_a_processor_that_feeds_itself_settles(settings: Settings) -> None:
    app = App("loop")
    items = app.topic("loop.items", Item, key="key")

    @app.processor(items, to=items)
    def down(event: Item, _ctx: Context) -> Item | None:
        return item(event.key, event.n - 1) if event.n else None

    with LiveDriver(app, settings, namespace="loops") as driver:
        driver.send(items, item("a", 5))
        assert [one.n for one in driver.published(items)] == [5, 4, 3, 2, 1, 0]


def test_a_topic_that_exists_already_is_told(settings: Settings) -> None:
    admin = Admin(settings)
    taken = TopicSpec("taken.shop.items", 1, {})
    admin.create_topics([taken])
    try:
        await_topics(admin, [taken])
        with pytest.raises(UsageError, match=r"topic taken\.shop\.items exists already"):
            LiveDriver(shop().app, settings, namespace="taken")
        assert [name for name in admin.topics() if name.startswith("taken.")] == ["taken.shop.items"]
    finally:
        admin.delete_topics(["taken.shop.items"])


def test_topics_and_stores_of_other_apps_are_refused(settings: Settings) -> None:
    with LiveDriver(shop().app, settings, namespace="others") as driver:
        with pytest.raises(UsageError, match="has no topic elsewhere"):
            driver.send(Topic("elsewhere", Item, "key"), item("a", 1))
        with pytest.raises(UsageError, match="uses store histories"):
            driver.store(shop().histories)
