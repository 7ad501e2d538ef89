"""decode → process → encode for one partition of one processor.

`step` is pure: no socket, clock, thread or sleep. The worker, the test driver and any other host run this very code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, cast

from streams.avro.codec import Codec
from streams.avro.model import AvroModel
from streams.context import Context
from streams.errors import (
    DecodeError,
    EncodeError,
    HandlerError,
    RecordError,
    StreamsError,
    UnknownSchemaError,
)
from streams.policy import refuse
from streams.record import RawRecord, Record
from streams.state.task_state import TaskState
from streams.topology import Processor

MAX_STEP_OUTPUTS = 10_000  # a step ends between two records once it holds so many
MAX_RECORD_OUTPUTS = 100_000  # more from one record is a handler error
MAX_RECORD_BYTES = 64 << 20
CHUNK = 64  # a batch that does not decode is redone in chunks of this size, only the bad one record by record

Value = Any  # a decoded model, None for a tombstone, or the RecordError that refuses the record


class Step(NamedTuple):
    """What one call of `step` did: so many records of the batch are dealt with, and these are their outputs.

    `missing` names a schema id that has to be fetched before the next record can be dealt with. `counts` has
    `processed`, `tombstones` and one entry for each stage that refused records.
    """

    consumed: int
    outputs: list[RawRecord]
    counts: Counter[str]
    missing: int | None = None


class _Handled(NamedTuple):
    """A record between process and encode: the state's mark before it, what it gives, and why it was refused."""

    mark: int
    values: Sequence[tuple[_Output, Any]]
    refusal: list[RawRecord] | None
    outcome: str


class _Output(NamedTuple):
    """An output topic made ready: how a value gets its key, and the codec that frames it."""

    topic: str
    key_of: Callable[[Any], bytes | None]
    codec: Codec[Any]


class Task:
    """One partition of one processor, with its state."""

    def __init__(self, processor: Processor, codecs: Mapping[str, Codec[Any]], state: TaskState) -> None:
        """`codecs` has one codec for each topic name of the processor."""
        self.state = state
        self._processor = processor
        self._handler = processor.handler
        self._context = Context(state)
        self._decode_batch = codecs[processor.source.name].decode
        self._outputs = {
            model: _Output(topic.name, topic.key_of(), codecs[topic.name]) for model, topic in processor.outputs.items()
        }

    def step(self, batch: Sequence[RawRecord], expired: Callable[[], bool]) -> Step:
        """Take the batch from bytes to bytes, as far as the limits allow.

        A record that fails is refused by the processor's policy and leaves no other output and no state (INV-4); the
        others are not touched by it.

        Raises:
            StoppedError: a record failed and the policy is STOP.
            UsageError: the handler misuses the state.
        """
        self.state.forget_marks()
        try:
            values = self._decode(batch)
        except UnknownSchemaError as unknown:
            return Step(0, [], Counter(), unknown.schema_id)
        outputs: list[RawRecord] = []
        counts: Counter[str] = Counter()
        consumed, missing = 0, None
        while consumed < len(batch) and missing is None:
            handled, missing = self._process(batch, values, consumed, expired)
            encoded, failure = self._encode(batch, consumed, handled)
            outputs += encoded
            done = len(handled) if failure is None else failure.at
            counts.update(item.outcome for item in handled[:done])
            consumed += done
            if failure is None:
                break
            self.state.rollback(handled[done].mark)
            values[consumed] = failure.error
        return Step(consumed, outputs, counts, missing)

    def refuse(self, record: RawRecord, error: RecordError) -> list[RawRecord]:
        """Answer a record that failed outside `step`, because the broker refuses what it gives."""
        return refuse(self._processor.on_failure, record, error, self._processor.dead_letter_topic)

    def _decode(self, batch: Sequence[RawRecord]) -> list[Value]:
        frames = [record.value for record in batch if record.value is not None]
        decoded = iter(self._decode_frames(frames))
        if len(frames) == len(batch):
            return list(decoded)
        return [None if record.value is None else next(decoded) for record in batch]

    def _decode_frames(self, frames: list[bytes]) -> list[Value]:
        try:
            return self._decode_batch(frames)
        except DecodeError as error:
            if len(frames) == 1:
                return [error]
            size = CHUNK if len(frames) > CHUNK else 1
            chunks = (frames[start : start + size] for start in range(0, len(frames), size))
            return [value for chunk in chunks for value in self._decode_frames(chunk)]

    def _process(
        self, batch: Sequence[RawRecord], values: Sequence[Value], start: int, expired: Callable[[], bool]
    ) -> tuple[list[_Handled], int | None]:
        """Run the handler from `start` until the batch ends, the step is full, or a schema is missing."""
        handled: list[_Handled] = []
        outputs = 0
        mark = self.state.mark
        for index in range(start, len(batch)):
            before = mark()
            try:
                item = self._handle(batch[index], values[index], before)
            except UnknownSchemaError as unknown:
                self.state.rollback(before)
                return handled, unknown.schema_id
            handled.append(item)
            outputs += len(item.values)
            if outputs >= MAX_STEP_OUTPUTS or expired():
                break
        return handled, None

    def _handle(self, record: RawRecord, value: Value, mark: int) -> _Handled:
        if isinstance(value, RecordError):
            return self._refused(record, value, mark)
        if value is None and not self._processor.wants_tombstones:
            return _Handled(mark, (), None, "tombstones")
        self._context.record = record
        try:
            return _Handled(mark, self._route(self._handler(value, self._context)), None, "processed")
        except (StreamsError, UnknownSchemaError, MemoryError):
            raise
        except RecordError as error:
            return self._refused(record, error, mark)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - user code may raise anything; its record pays, nobody else
            failure = HandlerError()
            failure.__cause__ = error
            return self._refused(record, failure, mark)

    def _refused(self, record: RawRecord, error: RecordError, mark: int) -> _Handled:
        self.state.rollback(mark)
        return _Handled(mark, (), self.refuse(record, error), error.stage)

    def _route(self, result: Any) -> Sequence[tuple[_Output, Any]]:
        """Pair each value that the handler returned or yielded with the topic for its type."""
        if result is None:
            return ()
        routes = self._outputs
        single = type(result) in routes or isinstance(result, AvroModel)
        values = [result] if single else list(islice(cast("Iterable[Any]", result), MAX_RECORD_OUTPUTS + 1))
        if len(values) > MAX_RECORD_OUTPUTS:
            raise HandlerError(f"one record gave more than {MAX_RECORD_OUTPUTS:,} outputs")
        try:
            return [(routes[type(value)], value) for value in values]
        except KeyError as error:
            known = ", ".join(model.__name__ for model in routes) or "nothing (it has no to=…)"
            raise HandlerError(f"returned {error.args[0].__name__}, but its outputs take {known}") from None

    def _encode(
        self, batch: Sequence[RawRecord], start: int, handled: Sequence[_Handled]
    ) -> tuple[list[RawRecord], _Failure | None]:
        try:
            return self._encode_all(batch, start, handled), None
        except EncodeError:
            pass
        encoded: list[RawRecord] = []  # some record's output does not fit: find it, keep what came before it
        for index, item in enumerate(handled):
            try:
                encoded += self._encode_all(batch, start + index, [item])
            except EncodeError as error:
                return encoded, _Failure(index, error)
        return encoded, None

    def _encode_all(self, batch: Sequence[RawRecord], start: int, handled: Sequence[_Handled]) -> list[RawRecord]:
        """Encode the outputs of consecutive records with one call per topic, keeping their order."""
        if not any(item.values or item.refusal for item in handled):
            return []
        by_output: dict[str, list[Any]] = {}
        for item in handled:
            for output, value in item.values:
                by_output.setdefault(output.topic, []).append(value)
        framed = {
            output.topic: iter(_frames(output, by_output[output.topic]))
            for output in self._outputs.values()
            if output.topic in by_output
        }
        encoded: list[RawRecord] = []
        for index, item in enumerate(handled, start):
            encoded += item.refusal or ()
            timestamp = batch[index].timestamp_ms
            size = 0
            for output, _ in item.values:
                key, value = next(framed[output.topic])
                size += len(value)
                encoded.append(Record(output.topic, key, value, timestamp))
            if size > MAX_RECORD_BYTES:
                raise EncodeError(f"the outputs of one record take {size:,} bytes, more than {MAX_RECORD_BYTES:,}")
        return encoded


class _Failure(NamedTuple):
    """The first handled record with an output that does not encode."""

    at: int
    error: EncodeError


def _frames(output: _Output, values: list[Any]) -> Iterable[tuple[bytes | None, bytes]]:
    frames = output.codec.encode(values)
    try:
        return list(zip(map(output.key_of, values), frames, strict=True))
    except (ValueError, TypeError, AttributeError) as error:
        raise EncodeError(f"key of a record for {output.topic}: {error}") from error
