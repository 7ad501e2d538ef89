"""Batch processors in memory: what fails is found, waits or is given up alone; faults lose nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from rig import Appended, Item, Items

from streams import DEAD_LETTER, PARK, SKIP, STOP, App, BatchContext, Failure
from streams.errors import StoppedError, UsageError
from streams.record import Record
from streams.testing import (
    Abort,
    Crash,
    Eviction,
    Failpoint,
    MemoryDriver,
    Rebalance,
    UnknownOutcome,
)
from streams.testing.judge import Found, disordered, duplicated, lost
from streams.testing.replay import Expected, Output

KEYS = "abcdefgh"
BAD, BAD_OUTPUT = 1_000, 2_000  # n from here on raises, or gives a row that does not fit

app = App("shop")
inputs = app.topic("in", Item, key="key", partitions=3)
doubled = app.topic("doubled", Item, key="key", partitions=3)
totals = app.topic("totals", Appended, key="key", partitions=3)
bounds = app.table("bounds", Item, key="key", partitions=3)
sums = app.store("sums", str, Item)
calls: list[int] = []


@app.batch(inputs, to=doubled)
def double(batch: pa.RecordBatch, _ctx: BatchContext) -> pa.RecordBatch:
    calls.append(batch.num_rows)
    if pc.any(pc.and_(pc.greater_equal(batch["n"], BAD), pc.less(batch["n"], BAD_OUTPUT))).as_py():
        raise ValueError("too large")
    wide = pc.multiply(batch["n"], 2)
    beyond = pc.greater_equal(batch["n"], BAD_OUTPUT)
    return pa.record_batch({"key": batch["key"], "n": pc.if_else(beyond, None, wide)})


@app.batch(inputs, to=totals, on_failure=Failure(then=PARK))
def total(batch: pa.RecordBatch, ctx: BatchContext) -> pa.Table:
    grouped = pa.table(batch).group_by("key").aggregate([("n", "sum"), ("n", "count")])
    keys = grouped["key"]
    before = pc.fill_null(ctx.get_columns(sums, keys)["n"], 0)
    after = pa.table({"key": keys, "n": pc.add(before, grouped["n_sum"])})
    ctx.put_columns(sums, keys, after)
    if pc.any(pc.greater_equal(batch["n"], BAD)).as_py():
        raise ValueError("too large")
    return after.append_column("size", [[0] * len(keys)])


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


@pytest.fixture
def driver() -> Iterator[MemoryDriver]:
    with app.test() as opened:
        yield opened


def numbered(count: int, start: int = 0) -> list[Item]:
    return [Item(key=KEYS[n % len(KEYS)], n=n) for n in range(start, start + count)]


def of_key(values: list[Any], key: str) -> list[Any]:
    return [value for value in values if value.key == key]


def judged(driver: MemoryDriver) -> int:
    compared = driver.assert_no_loss() + driver.assert_no_duplicates() + driver.assert_order_per_key()
    print(f"compared {compared}")
    return compared


def test_rows_go_in_and_come_out_in_their_order_with_their_keys(driver: MemoryDriver) -> None:
    driver.send(inputs, *numbered(60))
    for key in KEYS:
        wanted = [item.n * 2 for item in of_key(numbered(60), key)]
        assert [item.n for item in of_key(driver.published(doubled), key)] == wanted
    assert {record.key for record in driver.records(doubled)} == {key.encode() for key in KEYS}
    assert driver.store(sums) == {
        key: Item(key=key, n=sum(item.n for item in of_key(numbered(60), key))) for key in KEYS
    }
    assert driver.lag == {"double": 0, "total": 0}
    assert max(calls) > 1
    assert judged(driver) > 100


def test_only_the_record_that_fails_alone_is_given_up(driver: MemoryDriver) -> None:
    mixed = [*numbered(40), Item(key="b", n=BAD), *numbered(40, 40), Item(key="c", n=BAD_OUTPUT), *numbered(20, 80)]
    driver.send(inputs, *mixed)
    letters = [letter for letter in driver.dead_letters if letter.processor == "double"]
    assert [(letter.stage, letter.record.key) for letter in letters] == [("process", b"b"), ("encode", b"c")] or [
        (letter.stage, letter.record.key) for letter in letters
    ] == [("encode", b"c"), ("process", b"b")]
    assert len(driver.published(doubled)) == 100
    assert of_key(driver.published(doubled), "b") == [Item(key="b", n=2 * n.n) for n in of_key(numbered(100), "b")]
    assert judged(driver) > 100


def test_a_record_that_waits_blocks_its_key_and_no_other() -> None:
    with app.test(processors=["total"]) as driver:
        driver.send(inputs, *numbered(16), Item(key="b", n=BAD), *numbered(16, 16))
        rows = driver.waiting
        assert [(row.key, row.status.value) for row in rows] == [
            (b"b", "PARKED"),
            (b"b", "QUEUED"),
            (b"b", "QUEUED"),
        ]
        assert driver.store(sums)["b"] == Item(key="b", n=1 + 9)
        assert driver.store(sums)["c"] == Item(key="c", n=2 + 10 + 18 + 26)
        assert driver.dead_letters == []
        assert driver.assert_no_loss() > 0


def test_what_waited_is_tried_alone_and_its_successors_follow() -> None:
    with app.test(processors=["double"], auto_advance=False) as driver:
        both = [Item(key=key, n=n) for n in (1, BAD, 2, 3) for key in ("a", "h")]  # of one partition
        driver.send(inputs, *both)
        assert {row.partition for row in driver.waiting} == {driver.waiting[0].partition}
        assert driver.published(doubled) == [Item(key="a", n=2), Item(key="h", n=2)]
        assert len(driver.waiting) == 6
        calls.clear()
        driver.advance("10m")
        assert set(calls) == {1}
        for key in ("a", "h"):
            assert [item.n for item in of_key(driver.published(doubled), key)] == [2, 4, 6]
        assert [letter.stage for letter in driver.dead_letters] == ["process", "process"]
        assert driver.waiting == []
        assert judged(driver) > 0


def test_a_frame_that_does_not_decode_is_refused_alone(driver: MemoryDriver) -> None:
    driver.send(inputs, *numbered(10))
    driver.send_raw(inputs, b"junk", key=b"a")
    driver.send(inputs, *numbered(10, 10))
    assert len(driver.published(doubled)) == 20
    assert [(one.processor, one.stage) for one in driver.dead_letters] == [("double", "decode")]
    assert [row.stage for row in driver.waiting if row.status.value == "PARKED"] == ["decode"]
    assert judged(driver) > 0


@pytest.mark.parametrize("policy", [SKIP, DEAD_LETTER])
def test_policies_answer_as_for_rows(policy: Any) -> None:
    small = App("small")
    source = small.topic("in", Item, key="key", partitions=1)
    target = small.topic("out", Item, key="key", partitions=1)

    @small.batch(source, to=target, on_failure=policy)
    def copy(batch: pa.RecordBatch, _ctx: BatchContext) -> pa.RecordBatch:
        if 5 in batch["n"].to_pylist():
            raise SystemExit(1)
        return batch

    with small.test() as driver:
        driver.send(source, *numbered(20))
        assert [item.n for item in driver.published(target)] == [n for n in range(20) if n != 5]
        assert len(driver.dead_letters) == (policy is DEAD_LETTER)
        assert judged(driver) > 0


def test_stop_stops_before_the_record_that_failed() -> None:
    small = App("small")
    source = small.topic("in", Item, key="key", partitions=1)
    target = small.topic("out", Item, key="key", partitions=1)

    @small.batch(source, to=target, on_failure=STOP)
    def copy(batch: pa.RecordBatch, _ctx: BatchContext) -> pa.RecordBatch:
        if 5 in batch["n"].to_pylist():
            raise ValueError("five")
        return batch

    with small.test() as driver, pytest.raises(StoppedError, match="five"):
        driver.send(source, *numbered(20))


FAULTS = [
    *((Crash(), at) for at in (Failpoint.PROCESSED, Failpoint.FLUSHED, Failpoint.COMMITTED, Failpoint.STATE_WRITTEN)),
    (Abort(), Failpoint.FLUSHED),
    (UnknownOutcome(committed=True), Failpoint.COMMIT_SENT),
    (Eviction(), Failpoint.FLUSHED),
    (Rebalance(3), Failpoint.PROCESSED),
]


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize("processor", ["double", "total"])
def test_faults_lose_nothing_and_double_nothing(processor: str, guarantee: str) -> None:
    happened = 0
    for seed, (fault, at) in enumerate(FAULTS):
        with app.test(processors=[processor], seed=seed, workers=2, settings={"guarantee": guarantee}) as driver:
            for round_ in range(2):
                driver.inject(fault, at=at, processor=processor, hit=1 + round_)
                driver.send(inputs, *numbered(30, 30 * round_), Item(key="b", n=BAD), *numbered(9))
                driver.disarm()
            happened += driver.faults.total()
            assert driver.assert_no_loss() > 50
            if processor == "double":  # of running totals only the newest can be told
                assert driver.assert_order_per_key() > 20
                assert guarantee == "at_least_once" or driver.assert_no_duplicates() > 20
    print(f"{happened} faults")
    assert happened >= 10


def test_tables_are_read_and_their_rows_are_remembered_by_the_judge() -> None:
    small = App("small")
    source = small.topic("in", Item, key="key", partitions=3)
    limits = small.table("limits", Item, key="key", partitions=3)
    target = small.topic("out", Item, key="key", partitions=3)

    @small.batch(source, to=target)
    def capped(batch: pa.RecordBatch, ctx: BatchContext) -> pa.RecordBatch:
        rows = ctx.get_many(limits, batch["key"].to_pylist())
        kept = [row is None or n <= row.n for row, n in zip(rows, batch["n"].to_pylist(), strict=True)]
        return batch.filter(pa.array(kept))

    with small.test() as driver:
        driver.send(limits.topic, Item(key="a", n=10))
        driver.send(source, Item(key="a", n=9), Item(key="a", n=11), Item(key="b", n=11))
        driver.send(limits.topic, Item(key="a", n=20))
        driver.send(source, Item(key="a", n=11))
        assert of_key(driver.published(target), "a") == [Item(key="a", n=9), Item(key="a", n=11)]
        assert driver.published(target).count(Item(key="b", n=11)) == 1
        assert judged(driver) > 0


def test_polars_in_and_out_with_places_and_times() -> None:
    small = App("small")
    source = small.topic("in", Item, key="key", partitions=1)
    target = small.topic("out", Appended, key="key", partitions=1)

    @small.batch(source, to=target, as_polars=True)
    def places(frame: pl.DataFrame, ctx: BatchContext) -> pl.DataFrame:
        assert ctx.keys.to_pylist() == [key.encode() for key in frame["key"]]
        assert ctx.partition == 0
        return frame.with_columns(
            pl.from_arrow(ctx.offsets).alias("size"), pl.from_arrow(ctx.timestamps).alias("__timestamp")
        ).filter(pl.col("n") % 2 == 0)

    with small.test() as driver:
        driver.send(source, *numbered(5))
        driver.advance("1h")
        driver.send(source, *numbered(5, 5))
        assert driver.published(target) == [Appended(key=KEYS[n % 8], n=n, size=n) for n in range(0, 10, 2)]
        first, last = driver.records(target)[0], driver.records(target)[-1]
        assert last.timestamp_ms - first.timestamp_ms >= 3_600_000
        assert judged(driver) > 0


def test_a_batch_is_at_most_as_large_as_declared_and_large_anyway() -> None:
    small = App("small")
    source = small.topic("in", Item, key="key", partitions=1)
    sizes: list[int] = []

    @small.batch(source, records=50)
    def count(batch: pa.RecordBatch, _ctx: BatchContext) -> None:
        sizes.append(batch.num_rows)

    with small.test() as driver:
        driver.send(source, *numbered(400))
        assert sum(sizes) == 400
        assert max(sizes) == 50


def test_tombstones_are_left_out(driver: MemoryDriver) -> None:
    driver.send(inputs, Item(key="a", n=1))
    driver.delete(inputs, "a")
    assert driver.published(doubled) == [Item(key="a", n=2)]


def test_a_processor_that_depends_on_how_records_are_batched_is_told() -> None:
    small = App("small")
    source = small.topic("in", Item, key="key", partitions=1)
    target = small.topic("out", Item, key="key", partitions=1)

    @small.batch(source, to=target)
    def sizes(batch: pa.RecordBatch, _ctx: BatchContext) -> pa.RecordBatch:
        return pa.record_batch({"key": ["size"], "n": [batch.num_rows]})

    with small.test() as driver:
        driver.send(source, *numbered(20))
        with pytest.raises(AssertionError, match="another output when its records are batched otherwise"):
            driver.assert_no_loss()


def test_items_are_rows_of_several_values() -> None:
    small = App("small")
    source = small.topic("in", Items, partitions=1)
    target = small.topic("out", Item, key="key", partitions=1)

    @small.batch(source, to=target)
    def flat(batch: pa.RecordBatch, _ctx: BatchContext) -> pa.RecordBatch:
        numbers = pc.list_flatten(batch["items"])
        return pa.record_batch({"key": ["x"] * len(numbers), "n": numbers})

    with small.test() as driver:
        driver.send(source, Items(items=(1, 2)), Items(items=()), Items(items=(3,)))
        assert [item.n for item in driver.published(target)] == [1, 2, 3]
        assert judged(driver) > 0


def test_declarations_that_cannot_be_are_told() -> None:
    small = App("small")
    source = small.topic("in", Item, key="key", partitions=1)
    texts = small.topic("texts", str, partitions=1)
    one, two = small.topic("one", Item, partitions=1), small.topic("two", Appended, partitions=1)
    with_ids = small.topic("with-ids", Item, event_ids=True, partitions=1)

    async def waits(_batch: Any, _ctx: Any) -> None: ...

    def yields(_batch: Any, _ctx: Any) -> Iterator[Any]:
        yield None

    def framed(_frame: pl.DataFrame, _ctx: Any) -> None: ...

    def batched(_batch: pa.RecordBatch, _ctx: Any) -> None: ...

    for handler, options, why in (
        (waits, {}, "is async"),
        (yields, {}, "yields"),
        (framed, {}, "expects DataFrame, but is given a pyarrow.RecordBatch"),
        (batched, {"as_polars": True}, "expects RecordBatch, but is given a polars.DataFrame"),
        (batched, {"to": [one, two]}, "has 2 outputs"),
        (batched, {"to": with_ids}, "whose records get ids"),
        (batched, {"records": 0}, "records=0"),
    ):
        with pytest.raises(UsageError, match=why):
            small.batch(source, **options)(handler)
    with pytest.raises(UsageError, match="topic texts: str has no columns"):
        small.batch(texts)(batched)
    assert not small.processors

    def bare(batch, ctx): ...  # type: ignore[no-untyped-def] # that is what is refused

    small.batch(source, as_polars=True)(bare)
    assert list(small.processors) == ["bare"]


def test_of_running_totals_the_newest_of_each_key_is_looked_for() -> None:
    def record(key: bytes, value: bytes) -> Record[bytes | None, bytes | None]:
        return Record("t", key, value, 0, 0, 0)

    def told(key: str) -> str:
        return f"p has another newest record of key b'{key}' in t"

    outputs = [Output(b"a", b"1", b"a", 0, 0), Output(b"a", b"2", b"a", 0, 1), Output(b"b", b"1", b"b", 1, 0)]
    expected = Expected(records=3, outputs={"t": outputs}, newest={"t"})
    for there, wrong in (
        ([record(b"a", b"2"), record(b"b", b"1")], []),
        ([record(b"a", b"1"), record(b"a", b"2"), record(b"b", b"1")], []),
        ([record(b"a", b"2")], [told("b")]),
        ([record(b"a", b"2"), record(b"a", b"1"), record(b"b", b"1")], [told("a")]),
        ([record(b"a", b"2"), record(b"b", b"1"), record(b"c", b"1")], [told("c")]),
    ):
        verdict = lost("p", expected, Found({"t": there}, {}))
        assert verdict.wrong == wrong
        assert verdict.compared >= 3
    for judgement in (duplicated, disordered):
        assert judgement("p", expected, Found({"t": [record(b"a", b"1")] * 3}, {})).compared == 0
    assert lost("p", Expected(records=3, outputs={"t": outputs}), Found({"t": []}, {})).wrong
