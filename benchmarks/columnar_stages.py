"""Where the time of a batch goes, without Kafka: CPU microseconds a record, the best of many rounds.

    python benchmarks/columnar_stages.py [KEYS [BATCH]]

The CPU time of all threads counts: the native library has some of its own.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import harness
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from events import Count, Headline, Post

from streams import App, BatchContext
from streams.avro.codec import Codec
from streams.columnar.codec import ColumnCodec
from streams.columnar.task import open_task
from streams.record import RawRecord, Record, TopicPartition
from streams.state.backend import Backend
from streams.state.task_state import TaskState

RECORDS, ROUNDS = 20_000, 15

app = App("stages")
posts = app.topic("posts", Post, key="author")
headlines = app.topic("headlines", Headline, key="author")
counts = app.store("counts", str, Count)
objects = app.store("objects", str, Count)


@app.batch(posts)
def nothing(_batch: pa.RecordBatch, _ctx: BatchContext) -> None:
    """Cost what the step costs."""


@app.batch(posts, to=headlines, as_polars=True)
def half(frame: pl.DataFrame, _ctx: BatchContext) -> pl.DataFrame:
    return frame.filter(pl.col("audience") == "PUBLIC").select(headlines.model.model_fields.keys())


@app.batch(posts)
def by_author(batch: pa.RecordBatch, ctx: BatchContext) -> None:
    found = batch["author"].value_counts()
    authors = found.field("values")
    before = pc.fill_null(ctx.get_columns(counts, authors)["posts"], 0)
    rows = pa.record_batch({"author": authors, "posts": pc.add(before, found.field("counts"))})
    ctx.put_columns(counts, authors, rows)


@app.batch(posts)
def by_author_as_objects(batch: pa.RecordBatch, ctx: BatchContext) -> None:
    found = batch["author"].value_counts()
    authors = found.field("values").to_pylist()
    rows = zip(authors, found.field("counts").to_pylist(), ctx.get_many(objects, authors), strict=True)
    ctx.put_many(objects, {name: Count(author=name, posts=new + (row.posts if row else 0)) for name, new, row in rows})


def polled(keys: int) -> list[RawRecord]:
    """Return posts of so many authors as they are polled."""
    values = [
        Post(**{**post, "author": f"author{number * 7_919 % keys}"})
        for number, post in enumerate(harness.posts(RECORDS))
    ]
    frames = Codec(Post, 1).encode(values)
    return [
        Record("posts", value.author.encode(), frame, harness.FIRST_MS, 0, offset)
        for offset, (value, frame) in enumerate(zip(values, frames, strict=True))
    ]


def tell(name: str, run: Callable[[], object]) -> None:
    """Print the least CPU time of a call, in microseconds a record."""
    least = float("inf")
    for _ in range(ROUNDS):
        before = time.process_time()
        run()
        least = min(least, time.process_time() - before)
    print(f"{name:32} {least * 1e6 / RECORDS:6.2f}")


def main() -> None:
    keys, size = (int(given) for given in [*sys.argv[1:], *("1000", "5000")[len(sys.argv) - 1 :]])
    records = polled(keys)
    batches = [records[start : start + size] for start in range(0, RECORDS, size)]
    frames = [[record.value or b"" for record in batch] for batch in batches]
    columns: ColumnCodec[Post] = ColumnCodec(Post, 1)
    codecs = {"posts": columns, "headlines": ColumnCodec(Headline, 2)}
    gc.freeze()
    print(f"{keys} keys, batches of {size}; µs a record")
    tell("rows decoded", lambda: [Codec.decode(columns, batch) for batch in frames])
    tell("columns decoded", lambda: [columns.decode_columns(batch) for batch in frames])
    with TemporaryDirectory() as folder:
        for name, processor in app.processors.items():
            kept = {store: TopicPartition(store.name, 0) for store in (counts, objects)}
            backend = Backend(Path(folder) / name, [store.name for store in kept])
            state = TaskState(backend, kept, dict.fromkeys(kept, ColumnCodec(Count, 3)))
            task = open_task(processor, codecs, state)

            def run() -> None:
                for batch in batches:
                    assert task.step(batch, lambda: False, 0).consumed == len(batch)  # noqa: B023 - called within the same turn of the loop
                state.committed(state.changes(), {})  # noqa: B023 - called within the same turn of the loop

            tell(f"step of {name}, state written", run)
            state.close()


if __name__ == "__main__":
    main()
