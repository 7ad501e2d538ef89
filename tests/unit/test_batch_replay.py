"""Past records through a batch handler beside its group: `streams replay` handles them as the worker did."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from rig import Appended, Item

from streams import App, BatchContext
from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.preflight import load_codecs
from streams.record import RawRecord, Record, TopicPartition
from streams.replay.handling import Handling

app = App("replayed")
source = app.topic("in", Item, key="key")
output = app.topic("out", Appended, key="key")
totals = app.store("totals", str, Item)
PLACE = TopicPartition("in", 0)


@app.batch(source, to=output)
def total(batch: pa.RecordBatch, ctx: BatchContext) -> pa.RecordBatch:
    """Add the numbers of a key up."""
    sums = []
    for key, n in zip(batch["key"].to_pylist(), batch["n"].to_pylist(), strict=True):
        before = ctx.get(totals, key)
        sums.append(n + (before.n if before else 0))
        ctx.put(totals, key, Item(key=key, n=sums[-1]))
        if n < 0:
            raise ValueError(f"{n} is negative")
    return pa.record_batch({"key": batch["key"], "n": batch["n"], "size": sums})


class Contracts:
    def lookup(self, subject: str, _text: str) -> int:
        return {"out-value": 2}.get(subject, 3)


def records(numbers: list[int]) -> list[RawRecord]:
    frames = Codec(Item, 1).encode([Item(key="a", n=n) for n in numbers])
    return [Record("in", b"a", frame, at, 0, at) for at, frame in enumerate(frames)]


def test_batches_are_handled_and_failures_told(tmp_path: Path) -> None:
    processor: Any = app.processors["total"]
    codecs = load_codecs(Contracts(), processor)
    schemas = SimpleNamespace(schema=lambda _id: schema_of(Item).text)
    handling = Handling(processor, codecs, schemas, tmp_path, [PLACE])
    try:
        consumed, outputs = handling.step(records([1, 2, -5, 3, 4]), lambda: False)
        refused = handling.take_refusals()
        changes = handling.changes()
        handling.commit(changes)
    finally:
        handling.close()
    assert consumed == 5
    found = codecs["out"].decode([record.value or b"" for record in outputs])
    assert found == [Appended(key="a", n=n, size=size) for n, size in ((1, 1), (2, 3), (3, 6), (4, 10))]
    assert [(record.offset, str(error.__cause__)) for record, error in refused] == [(2, "-5 is negative")]
    assert [len(change.rows) for change in changes[PLACE]] == [1]
