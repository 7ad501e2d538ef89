"""What a batch processor must have left behind: its handler run over batches of one record, and over all of them.

Both have to come to the same state. Outputs may differ, where a handler writes what a key came to and not every step:
then the newest of each key is what has to be there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from streams.avro.codec import Codec
from streams.columnar.codec import column_codec
from streams.columnar.columns import Columns, listed, rows_of, spread
from streams.columnar.context import BatchContext
from streams.columnar.declared import Batches
from streams.columnar.types import polars
from streams.errors import HandlerError
from streams.record import RawRecord, Record
from streams.topic import Store, Table
from streams.topology import Processor

Reads = dict[tuple[Any, Any], Any]
Newest = dict[bytes | None, bytes | None]


class _OneByOne(BatchContext):
    """A batch's context that gets and puts many keys one after the other."""

    def get_many(self, source: Any, keys: Iterable[Any]) -> list[Any]:
        """Return the value of each key."""
        return [self.get(source, key) for key in keys]

    def put_many(self, store: Store[Any, Any], values: Any) -> None:
        """Set the value of each key."""
        for key, value in values.items() if isinstance(values, Mapping) else values:
            self.put(store, key, value)

    def get_columns(self, source: Any, keys: Any) -> Any:
        """Return the values of keys as columns."""
        values = self.get_many(source, listed(keys))
        return spread(_columns(source).of([value for value in values if value is not None]), values)

    def put_columns(self, store: Store[Any, Any], keys: Any, values: Any) -> None:
        """Set the values of keys to rows."""
        columns = _columns(store)
        self.put_many(store, rows_of(keys, values, columns, columns.rows))


class NotingBatches(_OneByOne):
    """A batch's context that notes the rows of tables."""

    def __init__(self, ctx: BatchContext, reads: Reads) -> None:
        super().__init__(ctx._state, ctx.records, ctx.now_ms)  # noqa: SLF001 - the same under the same class
        self._reads = reads

    def get(self, source: Any, key: Any) -> Any:
        """Return a value; note it if it is a table's, or that its key is in another partition."""
        try:
            value = super().get(source, key)
        except HandlerError as error:
            self._reads[source, key] = error
            raise
        if isinstance(source, Table):
            self._reads[source, key] = value
        return value


class ReplayedBatch(_OneByOne):
    """A batch's context over a dictionary and the rows of tables that were seen."""

    def __init__(self, records: Sequence[RawRecord], rows: Reads, reads: Reads) -> None:
        self.records, self.now_ms = records, 0
        self._rows, self._reads = rows, reads
        self.changed: Reads = {}

    def get(self, source: Any, key: Any) -> Any:
        """Return a value, or raise what was raised."""
        if not isinstance(source, Table):
            return self.changed.get((source, key), self._rows.get((source, key)))
        seen = self._reads.get((source, key))
        if isinstance(seen, HandlerError):
            raise seen
        return seen

    def put(self, store: Store[Any, Any], key: Any, value: Any) -> None:
        """Set a value, for these records alone until they are done."""
        self.changed[store, key] = value


@cache
def _columns(declared: Store[Any, Any] | Table[Any, Any]) -> Columns:
    return Columns(declared.topic.model if isinstance(declared, Table) else declared.model)


def handle(processor: Processor, codecs: Mapping[str, Codec[Any]], ctx: ReplayedBatch) -> list[RawRecord]:
    """Return the outputs of a handler for the records of a context, which can all be decoded."""
    frames = [record.value for record in ctx.records if record.value is not None]
    batch = column_codec(codecs[processor.source.name]).decode_columns(frames).batch
    given = processor.handler(polars().from_arrow(batch) if processor.batches is Batches.POLARS else batch, ctx)
    if given is None:
        return []
    (topic,) = processor.outputs.values() or [None]
    if topic is None:
        raise HandlerError("it has no output")
    codec = column_codec(codecs[topic.name])
    conforming, times = codec.columns.conform(given)
    written = codec.encode_columns(conforming)
    key_of = topic.key_of()
    stamps = [max(record.timestamp_ms for record in ctx.records)] * len(written) if times is None else times.to_pylist()
    return [
        Record(topic.name, key_of(value), frame, stamp)
        for value, frame, stamp in zip(codec.decode(written), written, stamps, strict=True)
    ]


def depends_on_splitting(
    processor: str, records: Sequence[RawRecord], attempt: Callable[[ReplayedBatch], list[RawRecord]]
) -> bool:
    """Tell whether the outputs of records come out otherwise when they are one batch; those that fail alone aside.

    Raises:
        AssertionError: the state or the newest output of a key does: nothing can be said of such a processor.
    """
    rows: Reads = {}
    singly: list[RawRecord] = []
    well: list[RawRecord] = []
    for record in records:
        ctx = ReplayedBatch([record], rows, {})
        with suppress(Exception, SystemExit):  # it was skipped
            singly += attempt(ctx)
            rows.update(ctx.changed)
            well.append(record)
    if not well:
        return False
    whole = ReplayedBatch(well, {}, {})
    together = attempt(whole)
    same = Counter((one.key, one.value) for one in singly) == Counter((one.key, one.value) for one in together)
    newest = newest_of(singly) == newest_of(together) and not (None in newest_of(singly) and not same)
    if rows != whole.changed or not newest:
        raise AssertionError(
            f"batch processor {processor} comes to another {'output' if rows == whole.changed else 'state'} when "
            "its records are batched otherwise, and workers batch them as they come: nothing can be said of it"
        )
    return not same


def newest_of(records: Iterable[RawRecord]) -> Newest:
    """Return the last value of each key."""
    return {record.key: record.value for record in records}
