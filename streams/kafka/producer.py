"""Writing: one transactional producer a worker, for outputs, changelogs and dead letters (INV-9)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as Assigned

from streams.errors import AbortedError, FencedError, SendError
from streams.failpoints import Failpoint, reach
from streams.kafka.config import Config
from streams.kafka.errors import RECORD_FAULTS, error_of, made, translate
from streams.record import RawRecord, TopicPartition

_log = structlog.get_logger(__name__)

_QUEUE_FULL_WAIT = 0.05  # seconds; the records in the queue leave meanwhile
_FLUSH_SLICE = 0.2  # seconds; behind a refused record the others never leave


class TransactionalProducer:
    """Opens a transaction with the first record, and ends it with `commit` or `abort`. Not thread-safe."""

    def __init__(self, config: Config, timeout: float) -> None:
        """Fence every earlier producer of the same id and roll its open transaction back.

        `timeout` bounds each call in seconds.

        Raises:
            UnreachableError: no broker answers within `timeout`.
            FencedError: the producer cannot be used.
        """
        self._config = config
        self._timeout = timeout
        self._open = False
        self._tainted = False
        self._start()

    def send(self, records: Iterable[RawRecord]) -> None:
        """Hand records over; `commit` makes sure of them.

        Raises:
            AbortedError: the transaction has to be aborted.
        """
        self.begin()
        produce = self._producer.produce
        for topic, key, value, timestamp_ms, partition, _offset, headers in records:
            while True:
                try:
                    # by position, with None for both names of the callback: keywords make it half as fast
                    produce(topic, value, key, partition, None, None, timestamp_ms, list(headers))
                except BufferError:
                    self._serve(self._producer.poll, _QUEUE_FULL_WAIT)
                except KafkaException as raised:
                    raise self._why(raised) from raised
                else:
                    break
        self._serve(self._producer.poll, 0)

    def send_tracked(self, record: RawRecord, delivered: Callable[[int], None]) -> None:
        """Hand one record over and learn its offset once the broker has it, during `flush`."""

        def report(error: object, message: Message) -> None:
            if error is None:
                delivered(message.offset())

        self.begin()
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    timestamp=record.timestamp_ms,
                    headers=list(record.headers),
                    on_delivery=report,
                )
            except BufferError:
                self._serve(self._producer.poll, _QUEUE_FULL_WAIT)
            except KafkaException as raised:
                raise self._why(raised) from raised
            else:
                return

    def flush(self) -> None:
        """Wait until the broker has every record (INV-2). Zero left is no proof: `commit` tells of refused ones.

        Raises:
            AbortedError: records are still waiting after the timeout, or for ever behind one that was refused.
        """
        deadline = time.monotonic() + self._timeout
        while left := self._serve(self._producer.flush, _FLUSH_SLICE):
            if self._undelivered:
                error = next((e for e in self._undelivered if _fault(e)), self._undelivered[0])
                raise AbortedError(error.str(), _fault(error))
            if time.monotonic() >= deadline:
                raise AbortedError(f"{left} records were not acknowledged within {self._timeout:g} s")

    def commit(self, offsets: Mapping[TopicPartition, int], group: Any) -> None:
        """Commit the transaction with the consumed offsets in it; fenced by the group's generation.

        Raises:
            AbortedError: nothing was committed; abort and go back to the last committed offsets.
            FencedError: somebody else owns the id or the partitions, or the outcome is unknown: start afresh.
        """
        self.begin()
        consumed = [Assigned(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        self._call(lambda left: self._producer.send_offsets_to_transaction(consumed, group, left), "sending offsets")
        reach(Failpoint.OFFSETS_SENT)
        reach(Failpoint.COMMIT_SENT)
        self._call(self._producer.commit_transaction, "committing")
        self._open = False

    def abort(self) -> None:
        """Roll the open transaction back. The next one gets a fresh producer.

        A refused record leaves the sequence of its partition broken for the producer that sent it (measured).

        Raises:
            FencedError: it could not be done; the broker does it when the id comes back or the time is up.
        """
        if not self._open:
            return
        self._producer.purge()
        reach(Failpoint.ABORTING)
        try:
            self._call(self._producer.abort_transaction, "aborting")
        except AbortedError as error:
            raise FencedError(f"the transaction could not be aborted: {error}") from error
        self._open = False
        self._tainted = True

    def close(self) -> None:
        """Roll back what is open, as far as that works, and let go."""
        try:
            self.abort()
        except FencedError as error:
            _log.warning("transaction left open", reason=str(error))

    def begin(self) -> None:
        """Open a transaction unless one is open.

        After a call that had to be repeated a late request may still be under way; only a new epoch fences it
        (transaction protocol V1, librdkafka#5423).
        """
        if self._open:
            return
        if self._tainted:
            self._start()
            self._tainted = False
        self._call(lambda _left: self._producer.begin_transaction(), "beginning")
        self._open = True

    def _start(self) -> None:
        self._undelivered: list[KafkaError] = []
        self._producer = made(Producer, {**self._config, "on_delivery": _collector(self._undelivered)})
        reach(Failpoint.PRODUCER_STARTING)
        try:
            self._producer.init_transactions(self._timeout)
        except KafkaException as raised:
            error = error_of(raised)
            raise translate(error, "initialising transactions", self._config["bootstrap.servers"]) from raised

    def _call(self, request: Callable[[float], object], doing: str) -> None:
        """Make a transactional request; a retriable failure means an unknown outcome, so the same call is repeated."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                request(max(0.1, deadline - time.monotonic()))
            except KafkaException as raised:
                error = error_of(raised)
                if not error.retriable() or time.monotonic() >= deadline:
                    raise self._classified(raised, doing) from raised
                self._tainted = True
            else:
                return

    def _serve(self, wait: Callable[[float], int], timeout: float) -> int:
        """Serve delivery reports; a client that is broken for good raises out of any of these calls."""
        try:
            return wait(timeout)
        except (KafkaException, SystemError) as raised:
            raise FencedError(f"the producer is broken for good: {raised}", where=self._id()) from raised

    def _why(self, raised: KafkaException) -> AbortedError | FencedError:
        """Say why a record was not taken; after a failed delivery only the commit names the reason."""
        if error_of(raised).code() != KafkaError._STATE:  # noqa: SLF001
            return self._classified(raised, "sending", aborts=True)
        try:
            self.flush()
            self._producer.commit_transaction(self._timeout)
        except KafkaException as reason:
            return self._classified(reason, "sending")
        return FencedError("a transaction was committed that had failed", where=self._id())

    def _classified(self, raised: KafkaException, doing: str, *, aborts: bool = False) -> AbortedError | FencedError:
        error = error_of(raised)
        if error.txn_requires_abort() or (aborts and not error.fatal()):
            return AbortedError(error.str(), _fault(error))
        return FencedError(
            f"the producer cannot go on while {doing}: {error.str()}",
            where=self._id(),
            fix="a fresh worker takes over; if this repeats, look for a second worker with the same state folder",
        )

    def _id(self) -> str:
        return f"transactional.id {self._config['transactional.id']}"


def _collector(undelivered: list[KafkaError]) -> Callable[[KafkaError | None, Message], None]:
    """Return a delivery callback that notes errors; it costs 0.1 µs a record and knows nothing of its producer.

    A producer that is part of a reference cycle would live on after it was replaced.
    """

    def note(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            undelivered.append(error)

    return note


def _fault(error: KafkaError) -> SendError | None:
    """Say whether a record is to blame for an error."""
    return SendError(error.str()) if error.code() in RECORD_FAULTS else None
