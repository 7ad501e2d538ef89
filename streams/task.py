"""decode → process → encode for one partition of one processor.

`step` is pure: no socket, clock, thread or sleep. The worker, the test driver and any other host run this very code.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby, islice, repeat
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, TypeVar, cast

from streams.avro.codec import Codec
from streams.avro.model import AvroModel
from streams.context import PROCESSED, Context
from streams.errors import DecodeError, EncodeError, HandlerError, HoldError, RecordError, StreamsError
from streams.failures.failures import Failures
from streams.failures.judgement import Judgement
from streams.failures.waiting import Waiting
from streams.idempotency.event_ids import EVENT_ID, made_of
from streams.idempotency.inbox import WITHOUT_ID, Sweep
from streams.record import UNSET, Headers, RawRecord, as_records
from streams.requests.replies import checked, replies
from streams.state.task_state import TaskState
from streams.topology import Processor

MAX_STEP_OUTPUTS = 10_000  # a step ends between two records once it holds so many
MAX_RECORD_OUTPUTS = 100_000  # more from one record is a handler error
MAX_RECORD_BYTES = 64 << 20

NOT_SEVERAL = (AvroModel, Mapping, str, bytes)  # one value of a wrong type, though some of them can be iterated

_TIMESTAMP = attrgetter("timestamp_ms")
_INDEX = itemgetter(0)

_T = TypeVar("_T", bound=tuple[Any, ...])

Value = Any  # a decoded model, None for a tombstone, or the RecordError that refuses the record


class Step(NamedTuple):
    """What one call of `step` did: so many records of the batch are dealt with, and these are their outputs.

    `hold` says why the next record cannot be dealt with now. `counts` has one entry for each outcome: `processed`,
    `tombstones`, `duplicates`, `waiting`, `queued`, `parked`, `skipped`, and for dead letters the stage in which they
    failed; and of the processed ones, those that an inbox found `without_id`.
    """

    consumed: int
    outputs: list[RawRecord]
    counts: Counter[str]
    hold: HoldError | None = None


class _Output(NamedTuple):
    """An output topic made ready: how values get their keys, and the codec that frames them."""

    topic: str
    keys_of: Callable[[Iterable[Any]], Iterable[bytes | None]]
    codec: Codec[Any]


# An output before it is encoded: the index of its record in the batch, its topic, and the value.
_Given = tuple[int, _Output, Any]


class _Handled(NamedTuple):
    """Consecutive records between process and encode, from `start` of the batch on.

    `marks` has the state's mark before each of them and `outcomes` its entry in the counts. Outputs and dead letters
    stand in the order of their records, each beside the index in the batch.
    """

    start: int
    marks: list[int]
    outcomes: list[str]
    outputs: list[_Given]
    letters: list[tuple[int, RawRecord]]

    @property
    def next(self) -> int:
        """The index of the record that comes next, or is in work."""
        return self.start + len(self.outcomes)


class Task:
    """One partition of one processor, with its state, the records that wait included."""

    def __init__(
        self,
        processor: Processor,
        codecs: Mapping[str, Codec[Any]],
        state: TaskState,
        waiting: Waiting | None = None,
        judgement: Judgement | None = None,
        *,
        event_ids: bool = False,
        retries_in_place: bool = False,
    ) -> None:
        """`codecs` has one codec for each topic name of the processor.

        Without `waiting` nothing is tried again, or, with `retries_in_place`, in its place. `judgement` is shared by a
        worker's tasks.
        `event_ids` says whether topics that say nothing of ids get them.
        """
        self.state = state
        self.failures = Failures(processor, waiting, judgement or Judgement(), in_place=retries_in_place)
        self.waiting = waiting
        self._waits: Mapping[int, object] = {} if waiting is None else waiting.entries
        self._blocked: Mapping[bytes | None, object] = {} if waiting is None else waiting.queues
        self._handler = processor.handler
        self._usual = processor.source.model
        self._wants_tombstones = processor.wants_tombstones
        self._context = Context(state, processor.group)
        self._decode_batch = codecs[processor.source.name].decode
        self._now_ms = 0
        written = [*processor.outputs.values(), *filter(None, [processor.reply])]
        self._outputs = {t.model: _Output(t.name, t.keys_of(), codecs[t.name]) for t in written}
        self._group = processor.group
        self._with_ids = {
            topic.name
            for topic in processor.outputs.values()
            if (event_ids if topic.event_ids is None else topic.event_ids)
        }
        self._has_inbox = processor.inbox is not None
        self._sweep = None if processor.inbox is None else Sweep(state, processor.inbox)
        self._requests = processor.source.name
        self._reply = processor.reply.name if processor.reply else None

    @property
    def running(self) -> RawRecord | None:
        """The record that the handler has, or had last."""
        return getattr(self._context, "record", None)

    def step(
        self, batch: Sequence[RawRecord], expired: Callable[[], bool], now_ms: int, *, again: bool = False
    ) -> Step:
        """Take the batch from bytes to bytes, as far as the limits allow; `again` says that it waited.

        A record that fails is answered by the processor's policy and leaves no other output and no state (INV-4); the
        others are not touched by it. One whose key waits is put behind it.

        Raises:
            StoppedError: a record failed and the policy is STOP.
            UsageError: the handler misuses the state.
        """
        self.state.forget_marks()
        self.failures.begin(batch, again=again)
        self._now_ms = self._context.now_ms = now_ms
        try:
            values = self.decode(batch)
        except HoldError as unknown:
            return Step(0, [], Counter(), unknown)
        outputs: list[RawRecord] = []
        counts: Counter[str] = Counter()
        consumed, hold = 0, None
        while consumed < len(batch) and hold is None:
            handled, hold = self._process(batch, values, consumed, expired)
            encoded, failure = self._encode(batch, handled)
            outputs += encoded
            done = len(handled.outcomes) if failure is None else failure.at
            counts.update(handled.outcomes[:done])
            consumed += done
            if failure is None:
                break
            hold = None
            self.state.rollback(handled.marks[done])
            values[consumed] = failure.error
        self.failures.end(consumed)
        if self._sweep is not None and consumed:
            self._sweep.step(batch[:consumed], now_ms)
            counts[PROCESSED] += counts[WITHOUT_ID]
        return Step(consumed, outputs, counts, hold)

    def refuse(self, record: RawRecord, error: RecordError, now_ms: int) -> Step:
        """Answer a record that failed outside `step`: one whose outputs the broker refuses."""
        self.state.forget_marks()
        try:
            if self.failures.queue(record, now_ms):
                return Step(1, [], Counter({"queued": 1}))
            letters, outcome = self.failures.answer(record, error, now_ms)
        except HoldError as hold:
            return Step(0, [], Counter(), hold)
        return Step(1, letters, Counter({outcome: 1}))

    def decode(self, batch: Sequence[RawRecord]) -> list[Value]:
        """Return what the handler gets of each record: a value, None for a tombstone, or why it does not decode.

        Raises:
            HoldError: that cannot be told yet.
        """
        frames = [record.value for record in batch if record.value is not None]
        decoded = iter(self._decode_frames(frames))
        if len(frames) == len(batch):
            values = list(decoded)
        else:
            values = [None if record.value is None else next(decoded) for record in batch]
        return values if self._reply is None else checked(batch, values, self._requests)

    def check(self, record: RawRecord, result: Any) -> int:
        """Return the bytes of the outputs that a handler's result comes to.

        Raises:
            RecordError: one of them fits no output.
        """
        encoded = self._encode_all([record], self._route(0, result), [])
        return sum(len(output.value or b"") for output in encoded)

    def discard(self) -> None:
        """Forget what is not committed."""
        self.state.discard()
        if self.waiting is not None:
            self.waiting.reload()

    def _decode_frames(self, frames: list[bytes]) -> list[Value]:
        """Decode a batch; behind a frame that is none it goes on."""
        values: list[Value] = []
        while len(values) < len(frames):
            try:
                values += self._decode_batch(frames[len(values) :] if values else frames)
            except DecodeError as error:
                values += [*error.before, error.bare()]
        return values

    def _process(
        self, batch: Sequence[RawRecord], values: Sequence[Value], start: int, expired: Callable[[], bool]
    ) -> tuple[_Handled, HoldError | None]:
        """Run the handler from `start` until the batch ends, the step is full, or a record has to be held."""
        handled = _Handled(start, [], [], [], [])
        try:
            self._handle(batch, values, handled, expired)
        except HoldError as hold:
            self.state.rollback(handled.marks.pop())
            return handled, hold
        return handled, None

    def _handle(
        self, batch: Sequence[RawRecord], values: Sequence[Value], handled: _Handled, expired: Callable[[], bool]
    ) -> None:
        """Run the handler. What most records need is done in here: a call is a twentieth of a microsecond for each.

        Raises:
            HoldError: the last mark is of a record that has to be held.
        """
        start, marks, outcomes, outputs, _ = handled
        handler, context, routes, has_inbox = self._handler, self._context, self._outputs, self._has_inbox
        mark, waits, usual = self.state.mark, self._waits, self._usual
        for at in range(start, len(batch)):
            record, value = batch[at], values[at]
            marks.append(mark())
            outcome = "" if type(value) is usual and not waits else self._settle(handled, record, value)
            if not outcome:
                context.record = record
                try:
                    result = handler(value, context)
                    if type(result) in routes:
                        outputs.append((at, routes[type(result)], result))
                    elif result is not None:
                        outputs += self._route(at, result)
                except (StreamsError, HoldError, MemoryError):
                    raise
                except RecordError as error:
                    outcome = self._failed(handled, record, error)
                except (Exception, SystemExit) as error:  # noqa: BLE001 - user code may raise anything; its record pays, nobody else
                    outcome = self._failed(handled, record, raised(error))
                else:
                    outcome = self._done(record) if waits or has_inbox else PROCESSED
            outcomes.append(outcome)
            if len(outputs) >= MAX_STEP_OUTPUTS or expired():
                return

    def _settle(self, handled: _Handled, record: RawRecord, value: Value) -> str:
        """Return what becomes of a record that the handler does not get; nothing if it gets it."""
        if self._waits and record.key in self._blocked and self.failures.queue(record, self._now_ms):
            return "queued"
        if isinstance(value, RecordError):
            return self._failed(handled, record, value)
        if value is not None or self._wants_tombstones:
            return ""
        if record.offset in self._waits:
            self.failures.dealt_with(record)
        return "tombstones"

    def _done(self, record: RawRecord) -> str:
        """Return what became of a record that the handler took."""
        if record.offset in self._waits:
            self.failures.dealt_with(record)
        return self._context.outcome if self._has_inbox else PROCESSED

    def _failed(self, handled: _Handled, record: RawRecord, error: RecordError) -> str:
        self.state.rollback(handled.marks[-1])
        letters, outcome = self.failures.answer(record, error, self._now_ms)
        handled.letters.extend((handled.next, letter) for letter in letters)
        return outcome

    def _route(self, at: int, result: Any) -> list[_Given]:
        """Pair each value that the handler returned or yielded with the topic for its type."""
        routes = self._outputs
        if result is None or type(result) in routes:
            return [] if result is None else [(at, routes[type(result)], result)]
        single = isinstance(result, NOT_SEVERAL)
        values = [result] if single else list(islice(cast("Iterable[Any]", result), MAX_RECORD_OUTPUTS + 1))
        if len(values) > MAX_RECORD_OUTPUTS:
            raise HandlerError(f"one record gave more than {MAX_RECORD_OUTPUTS:,} outputs")
        try:
            return [(at, routes[type(value)], value) for value in values]
        except KeyError as error:
            known = ", ".join(model.__name__ for model in routes) or "nothing (it has no to=…)"
            raise HandlerError(f"returned {error.args[0].__name__}, but its outputs take {known}") from None

    def _encode(self, batch: Sequence[RawRecord], handled: _Handled) -> tuple[list[RawRecord], _Failure | None]:
        try:
            return self._encode_all(batch, handled.outputs, handled.letters), None
        except EncodeError:
            pass
        encoded: list[RawRecord] = []  # some record's output does not fit: find it, keep what came before it
        for at in range(handled.start, handled.next):
            try:
                encoded += self._encode_all(batch, _of(at, handled.outputs), _of(at, handled.letters))
            except EncodeError as error:
                return encoded, _Failure(at - handled.start, error)
        return encoded, None

    def _encode_all(
        self, batch: Sequence[RawRecord], given: Sequence[_Given], letters: Sequence[tuple[int, RawRecord]]
    ) -> list[RawRecord]:
        """Encode outputs of records with one call per topic; each topic keeps their order, dead letters come first."""
        encoded = [letter for _, letter in letters]
        size = 0
        headers = self._id_headers(batch, given) if self._with_ids else {}
        for output in self._outputs.values():
            mine = given if len(self._outputs) == 1 else [one for one in given if one[1] is output]
            values, sources = [value for _, _, value in mine], [batch[at] for at, _, _ in mine]
            frames = output.codec.encode(values)
            if output.topic == self._reply:
                encoded += replies(sources, frames, self._requests)
                continue
            unset, ids = repeat(UNSET), headers.get(output.topic, repeat(()))
            keys, times = _keys(output, values), map(_TIMESTAMP, sources)
            encoded += as_records(zip(repeat(output.topic), keys, frames, times, unset, unset, ids))
            size += sum(map(len, frames))
        if size > MAX_RECORD_BYTES:  # then `_encode` looks at each record alone
            raise EncodeError(f"the outputs of one record take {size:,} bytes, more than {MAX_RECORD_BYTES:,}")
        return encoded

    def _id_headers(self, batch: Sequence[RawRecord], given: Sequence[_Given]) -> dict[str, list[Headers]]:
        """Give ids to the outputs of records, by topic, for topics that get them."""
        headers: dict[str, list[Headers]] = {topic: [] for topic in self._with_ids}
        for at, outputs in groupby(given, _INDEX):
            source = made_of(self._group, batch[at])
            for number, (_, output, _) in enumerate(outputs):
                if output.topic in headers:
                    headers[output.topic].append(((EVENT_ID, f"{source}/{number}".encode()),))
        return headers


def raised(error: BaseException) -> HandlerError:
    """Wrap what a handler raised; not in the frame that caught it: a variable there would keep all of it in a cycle."""
    failure = HandlerError()
    failure.__cause__ = error
    return failure


class _Failure(NamedTuple):
    """The first handled record with an output that does not encode."""

    at: int
    error: EncodeError


def _of(at: int, found: list[_T]) -> list[_T]:
    """Return what stands beside one index; they ascend."""
    return found[bisect_left(found, at, key=_INDEX) : bisect_right(found, at, key=_INDEX)]


def _keys(output: _Output, values: list[Any]) -> list[bytes | None]:
    try:
        return list(output.keys_of(values))
    except (ValueError, TypeError, AttributeError) as error:
        raise EncodeError(f"key of a record for {output.topic}: {error}") from error
