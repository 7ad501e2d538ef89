"""What the random runs process: lists that grow, with a table, failures of every kind, and a second stage.

Some failures pass with time, some park their key: people release it or give it up, and send dead letters back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any, ClassVar

from streams import PARK, App, Context, Failure, Record, Retry, Topic
from streams.avro.codec import Codec
from streams.avro.model import AvroModel, schema_of
from streams.failures.waiting_record import WaitingStatus
from streams.record import Headers, RawRecord
from streams.testing import MemoryDriver
from streams.testing.memory import Outcome, Transaction
from streams.testing.surface import dead_letter_of

PARTITIONS = 3
MOST_REDRIVES = 3
LIMIT = 4_000  # bytes that the outputs' topic takes
KEYS = "abcdefgh"
RAISES, BAD_OUTPUT, LARGE, PARKS, PASSES = (number * 1_000_000 for number in range(1, 6))  # n from here on is that
KINDS = ("ok",) * 12 + ("raises", "bad-output", "large", "parks", "passes", "junk", "tombstone", "aborted")


class Item(AvroModel):
    __avro_name__: ClassVar[str] = "t.Item"
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        (
            '{"type":"record","name":"Item","namespace":"t","fields":'
            '[{"name":"key","type":"string"},{"name":"n","type":"long"}]}'
        ),
    )
    key: str
    n: int


class Factor(AvroModel):
    __avro_name__: ClassVar[str] = "t.Factor"
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        (
            '{"type":"record","name":"Factor","namespace":"t","fields":'
            '[{"name":"key","type":"string"},{"name":"by","type":"long"}]}'
        ),
    )
    key: str
    by: int


class Appended(AvroModel):
    __avro_name__: ClassVar[str] = "t.Appended"
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        (
            '{"type":"record","name":"Appended","namespace":"t","fields":[{"name":"key","type":"string"},'
            '{"name":"n","type":"long"},{"name":"by","type":"long"},{"name":"items","type":{"type":"array",'
            '"items":"long"}},{"name":"filling","type":"string"}]}'
        ),
    )
    key: str
    n: int
    by: int
    items: tuple[int, ...]
    filling: str = ""


class Items(AvroModel):
    __avro_name__: ClassVar[str] = "t.Items"
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        (
            '{"type":"record","name":"Items","namespace":"t","fields":'
            '[{"name":"items","type":{"type":"array","items":"long"}}]}'
        ),
    )
    items: tuple[int, ...]


class ParkedError(Exception):
    """Fails until somebody changes the handler."""


tried: Counter[int] = Counter()  # how often items were handled that fail at first

app = App("ledger", settings={"commit_interval": "500ms", "poll_records": 7})
items = app.topic("items", Item, key="key", partitions=PARTITIONS)
factors = app.table("factors", Factor, key="key", partitions=PARTITIONS)
appended = app.topic("appended", Appended, key="key", partitions=PARTITIONS, config={"max.message.bytes": str(LIMIT)})
totals = app.topic("totals", Item, key="key", partitions=PARTITIONS)
lists = app.store("lists", str, Items)
sums = app.store("sums", str, Item)


@app.processor(items, to=appended, on_failure=Failure(Retry(2, "200ms..2s"), by_type={ParkedError: PARK}, pauses=False))
def append(item: Item, ctx: Context) -> Iterator[Appended]:
    """Append to the list of the key, of which the last 50 are kept; what fails does so after it has left its traces.

    What is the last one already is not appended again: at least once may try a record twice that waited.
    """
    before = ctx.get(lists, item.key)
    known = before.items if before else ()
    after = known if known[-1:] == (item.n,) else (*known, item.n)[-50:]
    factor = ctx.get(factors, item.key)
    ctx.put(lists, item.key, Items(items=after))
    filling = Random(item.n).randbytes(LIMIT).hex() if LARGE <= item.n < PARKS else ""
    yield Appended(key=item.key, n=item.n, by=factor.by if factor else 1, items=after, filling=filling)
    if BAD_OUTPUT <= item.n < LARGE:
        yield Appended.model_construct(key=item.key, n="no number", by=1, items=())
    elif RAISES <= item.n < BAD_OUTPUT:
        raise ValueError(item.n)
    elif PARKS <= item.n < PASSES:
        raise ParkedError(item.n)
    elif item.n >= PASSES:
        tried[item.n] += 1
        if tried[item.n] <= 1 + item.n % 2:
            raise TimeoutError(item.n)


@app.processor(appended, to=totals)
def add(one: Appended, ctx: Context) -> Item:
    """Sum up."""
    before = ctx.get(sums, one.key)
    after = Item(key=one.key, n=(before.n if before else 0) + one.n * one.by)
    ctx.put(sums, one.key, after)
    return after


def send(driver: MemoryDriver, random: Random, number: int) -> None:
    """Append one record of a random kind, for the workers to find."""
    log, key, kind = driver.cluster.log, random.choice(KEYS), random.choice(KINDS)
    if random.random() < 0.05:
        log.append(_record(driver, factors.topic, Factor(key=key, by=random.randint(1, 9))))
    base = {"raises": RAISES, "bad-output": BAD_OUTPUT, "large": LARGE, "parks": PARKS, "passes": PASSES}.get(kind, 0)
    record = _record(driver, items, Item(key=key, n=base + number))
    if kind == "junk":
        record = record._replace(value=random.randbytes(9))
    elif kind == "tombstone":
        record = record._replace(value=None)
    transaction = Transaction(driver.clock.seconds()) if kind == "aborted" else None
    log.append(record, transaction)
    if transaction is not None:
        log.decide(transaction, Outcome.ABORTED)


def tend(driver: MemoryDriver, random: Random, sent_back: set[tuple[Any, ...]]) -> None:
    """Do what people do: release parked keys or give them up, and send dead letters back, each of them once."""
    processor = app.processors["append"]
    for row in driver.waiting:
        if row.status is WaitingStatus.PARKED and random.random() < 0.5:
            headers: Headers = (("streams.command", random.choice([b"release", b"drop", b"drop"])),)
            if row.key is None or random.random() < 0.7:
                headers = (*headers, ("streams.offset", b"%d" % row.offset))
            _append(driver, row.key, b"{}", row.partition, headers)
    for record in driver.cluster.log.committed(processor.dead_letter_topic):
        letter = dead_letter_of(record, "append")
        redrives = int(dict(record.headers).get("streams.redrives") or b"0")
        told = (letter.partition, letter.offset, redrives)  # at least once may leave two of them
        if told not in sent_back and redrives < MOST_REDRIVES and random.random() < 0.2:
            sent_back.add(told)
            origin = f"{letter.topic}/{letter.partition}/{letter.offset}".encode()
            headers = (("streams.origin", origin), ("streams.redrives", b"%d" % (redrives + 1)))
            _append(driver, record.key, record.value, letter.partition, headers)


def _append(driver: MemoryDriver, key: bytes | None, value: bytes | None, partition: int, headers: Headers) -> None:
    topic = app.processors["append"].redrive_topic
    driver.cluster.log.append(Record(topic, key, value, driver.clock.now_ms(), partition, headers=headers))


def _record(driver: MemoryDriver, topic: Topic[Any], value: Any) -> RawRecord:
    schema_id = driver.cluster.registry.register(topic.subject, schema_of(topic.model).text)
    (frame,) = Codec(topic.model, schema_id).encode([value])
    return Record(topic.name, topic.key_of()(value), frame, driver.clock.now_ms())
