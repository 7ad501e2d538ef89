"""decode → process → encode by the batch: a task whose handler takes and gives columns.

A batch that fails is bisected until the record is found that fails alone; the policy answers it as it does for rows,
and what was in the batch beside it goes on, in its order. The same purity as `streams.task` holds here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple

from streams.avro.codec import Codec
from streams.columnar.codec import Decoded, column_codec
from streams.columnar.context import BatchContext
from streams.columnar.declared import Batches
from streams.columnar.types import arrow, polars
from streams.context import PROCESSED
from streams.errors import DecodeError, EncodeError, HandlerError, HoldError, RecordError, StreamsError
from streams.failures.judgement import Judgement
from streams.failures.waiting import Waiting
from streams.record import RawRecord, Record
from streams.state.task_state import TaskState
from streams.task import MAX_RECORD_BYTES, MAX_RECORD_OUTPUTS, MAX_STEP_OUTPUTS, Step, Task, raised
from streams.topology import Processor

_NO_ROW: Final = -1  # of a tombstone, or of a frame that does not decode


class _Span(NamedTuple):
    """Records of the batch that are next, and what is known to be wrong if it is a single one."""

    start: int
    end: int
    error: RecordError | None = None


class _Done(NamedTuple):
    """What became of a span."""

    outputs: list[RawRecord]
    counts: Counter[str]


class _FailedError(Exception):
    """The handler failed with these records, or their outputs do not encode; nothing of it is left."""

    def __init__(self, places: Sequence[int], error: RecordError) -> None:
        self.places = places
        self.error = error


class _HeldError(Exception):
    """The record at this place cannot be dealt with now."""

    def __init__(self, place: int, hold: HoldError) -> None:
        self.place = place
        self.hold = hold


def open_task(
    processor: Processor,
    codecs: Mapping[str, Codec[Any]],
    state: TaskState,
    waiting: Waiting | None = None,
    judgement: Judgement | None = None,
    *,
    event_ids: bool = False,
) -> Task:
    """Return the task of a processor, of whichever kind; the arguments are those of `Task`."""
    kind = Task if processor.batches is None else BatchTask
    return kind(processor, codecs, state, waiting, judgement, event_ids=event_ids)


class BatchTask(Task):
    """One partition of a batch processor, with its state, the records that wait included."""

    def __init__(
        self,
        processor: Processor,
        codecs: Mapping[str, Codec[Any]],
        state: TaskState,
        waiting: Waiting | None = None,
        judgement: Judgement | None = None,
        *,
        event_ids: bool = False,
    ) -> None:
        super().__init__(processor, codecs, state, waiting, judgement, event_ids=event_ids)
        self._batches = processor.batches
        self._source = column_codec(codecs[processor.source.name])
        self._output = next(iter(processor.outputs.values()), None)
        self._writer = None if self._output is None else column_codec(codecs[self._output.name])
        self._batch: Sequence[RawRecord] = ()
        self._rows: Sequence[int] = ()
        self._errors: dict[int, DecodeError] = {}
        self._whole = False
        self._decoded: Decoded = Decoded(None, {})
        self._first: RawRecord | None = None

    @property
    def running(self) -> RawRecord | None:
        """The first record of those that the handler has, or had last."""
        return self._first

    def step(
        self, batch: Sequence[RawRecord], expired: Callable[[], bool], now_ms: int, *, again: bool = False
    ) -> Step:
        """Take the batch from bytes to bytes, as far as the limits allow; `again` says that it waited.

        What waited is handled record by record: it failed alone, and is tried alone.

        Raises:
            StoppedError: a record failed and the policy is STOP.
            UsageError: the handler misuses the state.
        """
        self.state.forget_marks()
        self.failures.begin(batch, again=again)
        self._now_ms = now_ms
        try:
            self._take(batch)
        except HoldError as unknown:
            return Step(0, [], Counter(), unknown)
        outputs: list[RawRecord] = []
        counts: Counter[str] = Counter()
        consumed, hold = 0, None
        pending = self._spans(alone=again)
        while pending and not (consumed and (len(outputs) >= MAX_STEP_OUTPUTS or expired())):
            span = pending.pop()
            mark = self.state.mark()
            try:
                done = self._deal_with(span)
            except _FailedError as failed:
                self.state.rollback(mark)
                pending += _parts(span, failed)
                continue
            except _HeldError as held:  # the records before it have their turn first
                self.state.rollback(mark)
                hold = held.hold
                pending = [span._replace(end=held.place)] if held.place > span.start else []
                continue
            outputs += done.outputs
            counts += done.counts
            consumed = span.end
        self.failures.end(consumed)
        return Step(consumed, outputs, counts, None if pending else hold)

    def _take(self, batch: Sequence[RawRecord]) -> None:
        """Decode the batch.

        Raises:
            UnknownSchemaError: a frame names a schema that has to be fetched first.
        """
        self._batch = batch
        frames = [record.value for record in batch if record.value is not None]
        self._decoded = self._source.decode_columns(frames) if frames else Decoded(None, {})
        there = [at for at, record in enumerate(batch) if record.value is not None]
        self._errors = {there[place]: error for place, error in self._decoded.errors.items()}
        self._whole = len(there) == len(batch) and not self._errors
        if self._whole:
            self._rows = range(len(batch))
            return
        row = iter(range(len(there)))
        known = set(there) - self._errors.keys()
        self._rows = [next(row) if at in known else _NO_ROW for at in range(len(batch))]

    def _spans(self, *, alone: bool) -> list[_Span]:
        """Return what is to be handled together, the first part last: those before and after each bad frame."""
        size = len(self._batch)
        if alone:
            return [_Span(at, at + 1, self._errors.get(at)) for at in range(size - 1, -1, -1)]
        spans, start = [], 0
        for at in [*self._errors, size]:
            if at > start:
                spans.append(_Span(start, at))
            if at < size:
                spans.append(_Span(at, at + 1, self._errors[at]))
            start = at + 1
        return spans[::-1]

    def _deal_with(self, span: _Span) -> _Done:
        counts: Counter[str] = Counter()
        places: Sequence[int] = range(span.start, span.end)
        if self._waits or not self._whole:
            places = self._places(span, counts)
        outputs: list[RawRecord] = []
        if places and span.error is not None:
            outputs, outcome = self._answer(span, span.error)
            counts[outcome] += 1
        elif places:
            outputs = self._handle_places(span, places)
            counts[PROCESSED] += len(places)
        return _Done(outputs, counts)

    def _places(self, span: _Span, counts: Counter[str]) -> list[int]:
        """Return the places of a span that are to be handled: keys that wait are not, nor tombstones."""
        places: list[int] = []
        for at in range(span.start, span.end):
            record = self._batch[at]
            try:
                queued = bool(self._waits) and record.key in self._blocked and self.failures.queue(record, self._now_ms)
            except HoldError as hold:
                raise _HeldError(at, hold) from hold
            if queued:
                counts["queued"] += 1
            elif self._rows[at] == _NO_ROW and span.error is None:
                counts["tombstones"] += 1
                self.failures.dealt_with(record)
            else:
                places.append(at)
        return places

    def _answer(self, span: _Span, error: RecordError) -> tuple[list[RawRecord], str]:
        try:
            return self.failures.answer(self._batch[span.start], error, self._now_ms)
        except HoldError as hold:
            raise _HeldError(span.start, hold) from hold

    def _handle_places(self, span: _Span, places: Sequence[int]) -> list[RawRecord]:
        records = self._batch[span.start : span.end]
        if len(places) < len(records):
            records = [self._batch[at] for at in places]
        self._first = records[0]
        context = BatchContext(self.state, records, self._now_ms)
        try:
            outputs = self._encode_batch(self._handler(self._values(places), context), records)
        except (StreamsError, MemoryError):
            raise
        except HoldError as hold:  # of what the handler needs, so of all of them
            raise _HeldError(span.start, hold) from hold
        except RecordError as error:
            raise _FailedError(places, error) from error
        except (Exception, SystemExit) as error:  # noqa: BLE001 - user code may raise anything; its records pay, nobody else
            raise _FailedError(places, raised(error)) from None
        for record in records if self._waits else ():
            self.failures.dealt_with(record)
        return outputs

    def _values(self, places: Sequence[int]) -> Any:
        """Return the rows of records as the handler wants them."""
        first, last = self._rows[places[0]], self._rows[places[-1]]
        batch = self._decoded.batch
        if last - first == len(places) - 1:
            values = batch.slice(first, len(places))
        else:
            values = batch.take(arrow().array([self._rows[at] for at in places], arrow().int32()))
        return polars().from_arrow(values) if self._batches is Batches.POLARS else values

    def _encode_batch(self, given: Any, records: Sequence[RawRecord]) -> list[RawRecord]:
        """Return the output records of what a handler gave, in their order.

        Raises:
            HandlerError: it is no batch with the columns of the output, or there is no output.
            EncodeError: a row does not fit, or there is too much of it.
        """
        if given is None:
            return []
        if self._output is None or self._writer is None:
            raise HandlerError(f"returned {type(given).__name__}, but it has no to=…")
        batch, times = self._writer.columns.conform(given)
        if batch.num_rows > MAX_RECORD_OUTPUTS:
            raise HandlerError(f"one batch gave more than {MAX_RECORD_OUTPUTS:,} rows")
        frames = self._writer.encode_columns(batch)
        size = sum(map(len, frames))
        if size > MAX_RECORD_BYTES:
            raise EncodeError(f"the outputs of one batch take {size:,} bytes, more than {MAX_RECORD_BYTES:,}")
        stamps = repeat(max(record.timestamp_ms for record in records)) if times is None else times.to_pylist()
        return list(map(Record, repeat(self._output.name), self._keys(batch), frames, stamps))

    def _keys(self, batch: Any) -> list[bytes | None]:
        assert self._output is not None
        if self._output.key is None:
            return [None] * batch.num_rows
        name = next(f.alias or n for n, f in self._output.model.model_fields.items() if n == self._output.key)
        column = batch.column(name)
        if arrow().types.is_string(column.type):
            keys: list[bytes | None] = column.cast(arrow().binary()).to_pylist()
            return keys
        return list(map(self._output.key_codec.encode, column.to_pylist()))


def _parts(span: _Span, failed: _FailedError) -> list[_Span]:
    """Return what is to be handled instead of a span that failed, the first part last."""
    if len(failed.places) > 1:
        middle = failed.places[len(failed.places) // 2]
        return [_Span(middle, span.end), _Span(span.start, middle)]
    (at,) = failed.places
    parts = [_Span(at + 1, span.end), _Span(at, at + 1, failed.error), _Span(span.start, at)]
    return [part for part in parts if part.end > part.start]
