"""What a processor must have left behind: its handler run over its committed records alone, with nothing in the way.

It shares the codecs with the runtime and nothing else: one record after the other, state in a dictionary. It can only
tell for handlers that do the same again when they get the same record, state and rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, cast

from streams.avro.codec import Codec
from streams.columnar.context import BatchContext
from streams.context import Context
from streams.errors import DecodeError, EncodeError, HandlerError, RecordError, UnknownSchemaError
from streams.failures.policy import FailurePolicy
from streams.record import RawRecord, Record, TopicPartition
from streams.requests.replies import Address, address_of
from streams.task import MAX_RECORD_OUTPUTS, NOT_SEVERAL
from streams.testing.batches import NotingBatches, ReplayedBatch, depends_on_splitting, handle
from streams.testing.handlers import complete
from streams.topic import Store, Table
from streams.topology import Processor, Runs

Reads = dict[tuple[Any, Any], Any]
"""Values by table or store, and key; the error where a table raised one."""

Written = tuple[str, bytes | None, bytes | None]
"""Topic, key and value of a record."""


Place = tuple[int, int]
"""Partition and offset of a record of the input."""


class Fared(NamedTuple):
    """The committed records of a partition by how they fared, each list in the order of their offsets.

    `given_up` ones left a dead letter, whatever the handler does with them now; the others it dealt with, those that
    came `back` after they had been given up.
    """

    given_up: list[RawRecord]
    handled: list[RawRecord]
    back: list[RawRecord]


class Output(NamedTuple):
    """A record that has to be in a topic, and the one that it came from."""

    key: bytes | None
    value: bytes | None
    source_key: bytes | None
    partition: int
    offset: int


@dataclass
class Expected:
    """What the committed records of a processor come to: outputs, dead letters and rows by topic.

    Of the topics in `newest` only the last output for each key of a partition can be told: how many there are before it
    depends on how records were batched.
    """

    records: int = 0
    outputs: dict[str, list[Output]] = field(default_factory=dict)
    rows: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    newest: set[str] = field(default_factory=set)


class TableReads:
    """Wraps a handler so that the rows are noted that it sees each time it handles a record.

    Of several attempts at a record one was committed, not always the last: an owner that was replaced may try too.
    """

    def __init__(self) -> None:
        self.seen: dict[tuple[TopicPartition, int], list[Reads]] = {}

    def noting(self, handler: Callable[[Any, Context], Any]) -> Callable[[Any, Context], Any]:
        """Return the handler with the noting around it."""

        def noted(event: Any, ctx: Context) -> Any:
            reads: Reads = {}
            self.seen.setdefault((ctx.record.origin, ctx.record.offset), []).append(reads)
            noting = _Noting(ctx, reads)
            given = handler(event, noting)
            ctx.outcome = noting.outcome
            return given

        return noted

    def noting_batches(self, handler: Callable[[Any, BatchContext], Any]) -> Callable[[Any, BatchContext], Any]:
        """Return the handler of a batch processor with the noting around it."""

        def noted(batch: Any, ctx: BatchContext) -> Any:
            reads: Reads = {}
            for record in ctx.records:
                self.seen.setdefault((record.origin, record.offset), []).append(reads)
            return handler(batch, NotingBatches(ctx, reads))

        return noted

    def of(self, record: RawRecord) -> list[Reads]:
        """Return what was seen in each attempt at a record, the newest first."""
        return self.seen.get((record.origin, record.offset), [{}])[::-1]


class _Noting(Context):
    """A context that notes the rows of tables."""

    __slots__ = ("_ctx", "_reads")

    def __init__(self, ctx: Context, reads: Reads) -> None:
        super().__init__(ctx._state, ctx._group)  # noqa: SLF001 - the same under the same class
        self.record, self.now_ms = ctx.record, ctx.now_ms
        self._ctx = ctx
        self._reads = reads

    def get(self, source: Any, key: Any) -> Any:
        """Return a value; note it if it is a table's, or that its key is in another partition."""
        try:
            value = self._ctx.get(source, key)
        except HandlerError as error:
            self._reads[source, key] = error
            raise
        if isinstance(source, Table):
            self._reads[source, key] = value
        return value

    def put(self, store: Store[Any, Any], key: Any, value: Any) -> None:
        """Set a value where the handler would have set it."""
        self._ctx.put(store, key, value)


class _Replayed(Context):
    """A context over a dictionary and the rows that were seen."""

    __slots__ = ("_reads", "_rows", "changed")

    def __init__(self, record: RawRecord, group: str, rows: Reads, reads: Reads) -> None:
        self.record, self.now_ms = record, 0
        self._group = group
        self._rows = rows
        self._reads = reads
        self.changed: Reads = {}

    def get(self, source: Any, key: Any) -> Any:
        """Return a value, or raise what was raised."""
        if isinstance(source, Table):
            seen = self._reads.get((source, key))
            if isinstance(seen, HandlerError):
                raise seen
            return seen
        return self.changed.get((source, key), self._rows.get((source, key)))

    def put(self, store: Store[Any, Any], key: Any, value: Any) -> None:
        """Set a value, for this record alone until it is done."""
        self.changed[store, key] = value


class _Attempt(NamedTuple):
    """What one run of the handler over a record leaves: records, rows, and the same rows as values."""

    outputs: list[RawRecord]
    changes: list[RawRecord]
    changed: Reads


class Replay:
    """Runs one processor over its committed records."""

    def __init__(
        self,
        processor: Processor,
        codecs: Mapping[str, Codec[Any]],
        schema: Callable[[int], str | None],
        takes: Callable[[RawRecord], bool],
        tables: TableReads,
        topics: Collection[str],
    ) -> None:
        """`schema` is the registry's text of an id, `takes` says what the broker accepts into its `topics`."""
        self._processor = processor
        self._codecs = codecs
        self._schema = schema
        self._takes = takes
        self._tables = tables
        self._topics = topics

    def run(self, partitions: Iterable[Fared], found: Collection[Written]) -> Expected:
        """Return what the records of each partition, in their order, come to.

        Where attempts at a record saw different rows, the one counts whose outputs were `found`. They also tell when a
        record that came back was handled, between which others of its key.
        """
        expected = Expected(
            outputs={topic.name: [] for topic in self._processor.outputs.values()},
            rows={self._processor.changelog(store): {} for store in self._processor.stores},
        )
        if self._processor.writes_dead_letters:
            expected.outputs[self._processor.dead_letter_topic] = []
        for fared in partitions:
            self._look_at_batches(fared, expected)
            rows: Reads = {}
            expected.records += len(fared.given_up) + len(fared.handled) + len(fared.back)
            for record in fared.given_up:
                self._add(record, self._dead_letter(record), rows, expected, came_back=True)
            back = list(fared.back)
            for record in fared.handled:
                attempt = self._newest(record, rows, found)
                while not _left(attempt, found) and (before := self._came_before(record, back, rows, found)):
                    back.remove(before[0])
                    self._add(*before, rows, expected, came_back=True)
                    attempt = self._newest(record, rows, found)
                self._add(record, attempt, rows, expected)
            while back:
                record, attempt = self._came_before(None, back, rows, found) or (
                    back[0],
                    self._newest(back[0], rows, found),
                )
                back.remove(record)
                self._add(record, attempt, rows, expected, came_back=True)
        return expected

    def _look_at_batches(self, fared: Fared, expected: Expected) -> None:
        """Find out whether the outputs of a batch processor tell more than what each key came to."""
        if self._processor.batches is None:
            return
        topics = {topic.name for topic in self._processor.outputs.values()}
        if self._processor.tables:  # each record saw rows of its own
            expected.newest |= topics if self._processor.stores else set()
            return
        well = [record for record in fared.handled if self._is_value(record)]
        if depends_on_splitting(self._processor.name, well, partial(handle, self._processor, self._codecs)):
            expected.newest |= topics

    def _came_before(
        self, record: RawRecord | None, back: list[RawRecord], rows: Reads, found: Collection[Written]
    ) -> tuple[RawRecord, _Attempt] | None:
        """Return a record that came back, of the same key, if what it leaves at this point was found."""
        for one in back:
            if record is None or one.key == record.key:
                attempt = self._newest(one, rows, found)
                if _left(attempt, found):
                    return one, attempt
        return None

    def _newest(self, record: RawRecord, rows: Reads, found: Collection[Written]) -> _Attempt:
        return _committed((self._attempt(record, rows, reads) for reads in self._tables.of(record)), found)

    def _attempt(self, record: RawRecord, rows: Reads, reads: Reads) -> _Attempt:
        ctx: _Replayed | ReplayedBatch
        try:
            if self._processor.batches is not None:
                ctx = ReplayedBatch([record], rows, reads)
                outputs = [] if self._value(record) is None else handle(self._processor, self._codecs, ctx)
            else:
                ctx = _Replayed(record, self._processor.group, rows, reads)
                outputs = self._handle(record, ctx)
            stores = self._processor.stores  # an inbox is none of them: its rows tell of the worker's clock
            changes = [self._row(store, key, put) for (store, key), put in ctx.changed.items() if store in stores]
            if not all(map(self._takes, [*outputs, *changes])):
                raise EncodeError("too large")  # noqa: TRY301 - one way out for whatever refuses the record
        except (Exception, SystemExit) as raised:  # noqa: BLE001 - user code may raise anything
            error: RecordError = raised if isinstance(raised, RecordError) else HandlerError()
            error.__cause__ = error.__cause__ if error is raised else raised
            skipped = self._processor.on_failure.answer(error).then is FailurePolicy.SKIP
            return _Attempt([], [], {}) if skipped else self._dead_letter(record)
        return _Attempt(outputs, changes, ctx.changed)

    def _dead_letter(self, record: RawRecord) -> _Attempt:
        return _Attempt([record._replace(topic=self._processor.dead_letter_topic)], [], {})

    def _add(
        self, record: RawRecord, attempt: _Attempt, rows: Reads, expected: Expected, *, came_back: bool = False
    ) -> None:
        rows.update(attempt.changed)
        for output in attempt.outputs:
            unordered = came_back and output.topic == self._processor.dead_letter_topic  # nothing tells when it was
            key = None if unordered else record.key
            expected.outputs.setdefault(output.topic, []).append(
                Output(output.key, output.value, key, record.partition, record.offset)
            )
        for change in attempt.changes:
            table = expected.rows[change.topic]
            if change.value is None:
                table.pop(change.key or b"", None)
            else:
                table[change.key or b""] = change.value

    def _handle(self, record: RawRecord, ctx: Context) -> list[RawRecord]:
        address = address_of(record, self._processor.source.name) if self._processor.reply else None
        value = self._value(record)
        if value is None and not self._processor.wants_tombstones:
            return []
        call = partial(self._processor.handler, value, ctx)
        result = complete(call) if self._processor.runs is Runs.IN_LOOP else call()
        single = result is None or isinstance(result, NOT_SEVERAL)
        values = [result] if single else list(islice(cast("Iterable[Any]", result), MAX_RECORD_OUTPUTS + 1))
        if len(values) > MAX_RECORD_OUTPUTS:
            raise EncodeError("too many")
        outputs = [self._output(one, record.timestamp_ms, address) for one in values if not (single and one is None)]
        return [output for output in outputs if output.topic in self._topics]

    def _is_value(self, record: RawRecord) -> bool:
        try:
            return self._value(record) is not None
        except DecodeError:  # it was skipped
            return False

    def _value(self, record: RawRecord) -> Any:
        return None if record.value is None else self._decode(record.value)

    def _decode(self, frame: bytes) -> Any:
        codec = self._codecs[self._processor.source.name]
        try:
            return codec.decode([frame])[0]
        except UnknownSchemaError as unknown:
            text = self._schema(unknown.schema_id)
            if text is None:
                raise DecodeError("unknown-schema-id", str(unknown)) from unknown
            codec.learn(unknown.schema_id, text)
            return codec.decode([frame])[0]

    def _output(self, value: Any, timestamp_ms: int, address: Address | None) -> RawRecord:
        reply = self._processor.reply
        if reply is not None and type(value) is reply.model:
            (frame,) = self._codecs[reply.name].encode([value])
            return Record(address.topic if address else "", None, frame, timestamp_ms)
        topic = self._processor.outputs[type(value)]
        (frame,) = self._codecs[topic.name].encode([value])
        return Record(topic.name, topic.key_of()(value), frame, timestamp_ms)

    def _row(self, store: Store[Any, Any], key: Any, value: Any) -> RawRecord:
        topic = self._processor.changelog(store)
        frame = None if value is None else self._codecs[topic].encode([value])[0]
        return Record(topic, store.key_codec.encode(key), frame, 0)


def _committed(attempts: Iterator[_Attempt], found: Collection[Written]) -> _Attempt:
    """Return the attempt whose outputs were found, else the newest."""
    newest = attempt = next(attempts)
    while not _left(attempt, found):
        following = next(attempts, None)
        if following is None:
            return newest
        attempt = following
    return attempt


def _left(attempt: _Attempt, found: Collection[Written]) -> bool:
    return all((output.topic, output.key, output.value) in found for output in attempt.outputs)
