"""Stores and tables of batch processors by columns: what goes in comes out, and what cannot be put is told."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from rig import Appended, Item

from streams import DEAD_LETTER, App, BatchContext
from streams.errors import UsageError


def test_columns_of_a_table_and_polars_into_a_store() -> None:
    small = App("small")
    source = small.topic("in", Item, key="key", partitions=1)
    limits = small.table("limits", Item, key="key", partitions=1)
    newest = small.store("newest", str, Appended)

    @small.batch(source, as_polars=True)
    def capped(frame: pl.DataFrame, ctx: BatchContext) -> None:
        most = pl.from_arrow(ctx.get_columns(limits, frame["key"])["n"])
        last = frame.with_columns(n=pl.min_horizontal("n", most), size=pl.lit(0))
        ctx.put_columns(newest, last["key"], last)

    with small.test() as driver:
        driver.send(limits.topic, Item(key="a", n=10))
        driver.send(source, Item(key="a", n=9), Item(key="b", n=11), Item(key="a", n=11))
        assert driver.store(newest) == {"a": Appended(key="a", n=10, size=0), "b": Appended(key="b", n=11, size=0)}
        assert driver.assert_no_loss() > 0


def test_columns_that_cannot_be_put_are_their_records_fault() -> None:
    small = App("small")
    source = small.topic("in", Item, key="key", partitions=1)
    sums, texts = small.store("sums", str, Item), small.store("texts", str, str)
    given: list[Any] = [
        ({"key": ["a"], "n": [1]}, ["a", "b"], "1 rows for 2 keys"),
        ({"key": ["a"], "n": [1], "__timestamp": [1]}, ["a"], "__timestamp"),
        ({"key": ["a"]}, ["a"], "column n is missing"),
        ({"key": ["a"], "n": pa.array([None], pa.int64())}, ["a"], "null"),
        ({"key": ["a"], "n": [1]}, [1], "str"),
    ]

    @small.batch(source, on_failure=DEAD_LETTER)
    def put(batch: pa.RecordBatch, ctx: BatchContext) -> None:
        for n in batch["n"].to_pylist():
            columns, keys, _ = given[n]
            ctx.put_columns(sums, keys, pa.record_batch(columns))

    with small.test() as driver:
        driver.send(source, *[Item(key="k", n=n) for n in range(len(given))])
        assert driver.store(sums) == {}
        for letter, (_, _, why) in zip(driver.dead_letters, given, strict=True):
            assert why in letter.message

    @small.batch(source)
    def text(_batch: pa.RecordBatch, ctx: BatchContext) -> None:
        ctx.get_columns(texts, ["a"])

    with small.test(processors=["text"]) as driver, pytest.raises(UsageError, match="has no columns"):
        driver.send(source, Item(key="a", n=1))
