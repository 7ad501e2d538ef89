"""A broker or a registry that is away for a while."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager

import fastavro
import pytest
from live.app import RAISE
from live.events import Item
from live.items import KEYS, PER_KEY, by_key, good
from live.kcat import Kcat
from live.workers import Live
from test_dead_letter_topic import ENDS, MISSING, Cluster, identity

from streams import App, Context
from streams.avro.model import schema_of
from streams.avro.wire import header
from streams.record import RawRecord, Record
from streams.schema_lookup import UNKNOWN_FOR
from streams.testing import Driver
from streams.testing.plugin import Kafka

pytestmark = pytest.mark.integration


@pytest.mark.kafka("embedded", "container")
@pytest.mark.parametrize("fault", ["restarted", "paused", "killed"])
def test_an_app_goes_on_after_its_broker_was_away(kafka: Kafka, stream_app: Callable[..., Driver], fault: str) -> None:
    app = App("away")
    items = app.topic("away.items", Item, key="key")
    copies = app.topic("away.copies", Item, key="key")

    @app.processor(items, to=copies)
    def copy(item: Item, _ctx: Context) -> Item:
        return item

    driver = stream_app(app, workers=2)
    driver.send(items, *(Item(key=f"key {n}", n=n, text="") for n in range(200)))
    if fault == "restarted":
        kafka.restart()
    else:
        with (kafka.paused if fault == "paused" else kafka.killed)():
            time.sleep(1)
    driver.send(items, *(Item(key=f"key {n}", n=n, text="") for n in range(200, 400)))

    assert sorted(item.n for item in driver.published(copies)) == list(range(400))


def of_a_newer_schema(live: Live, key: str, n: int) -> RawRecord:
    """Make a record with a schema that no worker has seen, as a producer that is ahead would."""
    newer = json.loads(schema_of(Item).text)
    newer["fields"].append({"name": f"added_{live.name}", "type": "long", "default": 0})
    versions = [schema_of(Item).text, json.dumps(newer)]
    schema_id = live.registry.register(live.topic("items-value"), versions, "BACKWARD")[1]
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(newer), {"key": key, "n": n, "text": ""})
    return Record(live.topic("items"), key.encode(), header(schema_id) + body.getvalue(), 0)


@pytest.mark.parametrize("away", [Kafka.paused, Kafka.killed])
def test_records_wait_for_a_registry_that_is_away(
    live: Live, kcat: Kcat, kafka: Kafka, away: Callable[[Kafka, str], AbstractContextManager[None]]
) -> None:
    live.deploy("copy")
    new = of_a_newer_schema(live, KEYS[0], PER_KEY)
    copies = live.topic("copies")
    with live.worker("copy") as worker:
        live.send(good(live))
        live.settle("copy")
        with away(kafka, "registry"):
            live.send([new, *(live.item(key, PER_KEY + (key == KEYS[0])) for key in KEYS)])
            time.sleep(UNKNOWN_FOR + 1)
            worker.await_log("registry does not answer")
            lag = live.lag("copy")
            assert kcat.count(live.app.processors["copy"].dead_letter_topic) == 0
            assert worker.process.poll() is None
        live.settle("copy")

    assert sorted(lag.values())[:3] == [0, 0, 0], "the partitions without new ids go on"
    assert sum(lag.values()) >= 2
    assert kcat.count(live.app.processors["copy"].dead_letter_topic) == 0
    wanted = {key: list(range(PER_KEY + 1 + (key == KEYS[0]))) for key in KEYS}
    assert by_key(live.items(copies)) == wanted
    assert kcat.count(copies) == sum(map(len, wanted.values()))


def test_a_broker_that_is_away_is_waited_for_and_a_topic_that_is_gone_is_not(live: Live, kafka: Kafka) -> None:
    """Longer than a transaction lives, with dead letters on their way; as a team runs a worker."""
    live.deploy("copy")
    bad, fine = ([live.item(key, n, text) for n in range(20) for key in KEYS] for text in (RAISE, ""))
    with live.worker("copy") as worker:
        live.send(fine[:8])
        live.settle("copy")
        live.send([*bad, *fine[8:]])
        with kafka.paused():
            time.sleep(6)
        live.settle("copy")
        assert "as they have to be" not in worker.log()
        letters = live.read(live.app.processors["copy"].dead_letter_topic)
        given = Counter(item.n for item in live.items(live.topic("copies")))

        Cluster(kafka.bootstrap_servers).delete(letters[0].topic)
        live.send(bad[:1])
        assert worker.wait(ENDS) == 4
        said = worker.log().rpartition("error in processor copy: ")[2]
        assert MISSING.format(topic=letters[0].topic) in said
        assert "streams topic create" in said
        assert "starting it again" not in said, "a restart would mend nothing"
    assert Counter(map(identity, letters)) == Counter(map(identity, bad))
    assert given == Counter(list(range(20)) * len(KEYS))
    print(f"{len(letters)} dead letters and {len(fine)} outputs compared")
