"""What the producers of a worker have in common: handing records over, and waiting until the broker has them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.errors import AbortedError, FencedError
from streams.failpoints import Failpoint, reach
from streams.kafka.config import Config
from streams.kafka.errors import RECORD_FAULTS, made, refused
from streams.record import RawRecord

_QUEUE_FULL_WAIT = 0.05  # seconds; the records in the queue leave meanwhile
_Undelivered = tuple[KafkaError, str]  # and the topic

_FLUSH_SLICE = 0.2  # seconds; behind a refused record the others never leave


class Sending:
    """A producer that can be replaced, and that knows of every record that was not delivered. Not thread-safe."""

    def __init__(self, config: Config, timeout: float) -> None:
        """`timeout` bounds each call in seconds."""
        self._config = config
        self._timeout = timeout
        self._tainted = False  # the next record gets a fresh producer
        self._start()

    def send(self, records: Iterable[RawRecord]) -> None:
        """Hand records over; `flush` makes sure of them.

        Raises:
            AbortedError: what was sent since the last commit has to be aborted.
        """
        self.begin()
        produce = self._producer.produce
        for topic, key, value, timestamp_ms, partition, _offset, headers in records:
            while True:
                try:
                    # by position, with None for both names of the callback: keywords make it half as fast
                    produce(topic, value, key, partition, None, None, timestamp_ms, list(headers) if headers else None)
                except BufferError:
                    self._serve(self._producer.poll, _QUEUE_FULL_WAIT)
                except KafkaException as raised:
                    raise self._why(raised, topic) from raised
                else:
                    break
        self._serve(self._producer.poll, 0)

    def send_tracked(self, record: RawRecord, delivered: Callable[[int], None]) -> None:
        """Hand one record over and learn its offset once the broker has it, during `flush`."""
        undelivered = self._undelivered

        def report(error: KafkaError | None, message: Message) -> None:
            if error is None:
                delivered(message.offset())
            else:
                undelivered.append((error, message.topic()))

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
                raise self._why(raised, record.topic) from raised
            else:
                return

    def flush(self) -> None:
        """Wait until the broker has every record (INV-2). Zero left is no proof: refused ones have left too.

        Raises:
            AbortedError: a record was refused, or some are still waiting after the timeout.
        """
        deadline = time.monotonic() + self._timeout
        while left := self._serve(self._producer.flush, _FLUSH_SLICE):
            self._check()
            if time.monotonic() >= deadline:
                raise AbortedError(f"{left} records were not acknowledged within {self._timeout:g} s")
        self._check()

    def begin(self) -> None:
        """Make ready for a record."""
        if self._tainted:
            self._start()
            self._tainted = False

    def _start(self) -> None:
        reach(Failpoint.PRODUCER_STARTING)
        self._undelivered: list[_Undelivered] = []
        self._producer = made(Producer, {**self._config, "on_delivery": _collector(self._undelivered)})

    def _check(self) -> None:
        """Tell of a refused record, of the one that is to blame if there is one."""
        if self._undelivered:
            raise refused(
                *next((one for one in self._undelivered if one[0].code() in RECORD_FAULTS), self._undelivered[0])
            )

    def _serve(self, wait: Callable[[float], int], timeout: float) -> int:
        """Serve delivery reports; a client that is broken for good raises out of any of these calls."""
        try:
            return wait(timeout)
        except (KafkaException, SystemError) as raised:
            raise FencedError(f"the producer is broken for good: {raised}", where=self._id()) from raised

    def _why(self, raised: KafkaException, topic: str) -> AbortedError | FencedError:
        """Say why a record was not taken by a topic."""
        raise NotImplementedError

    def _id(self) -> str:
        return f"client.id {self._config['client.id']}"


def _collector(undelivered: list[_Undelivered]) -> Callable[[KafkaError | None, Message], None]:
    """Return a delivery callback that notes errors; it costs 0.1 µs a record and knows nothing of its producer.

    A producer that is part of a reference cycle would live on after it was replaced.
    """

    def note(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            undelivered.append((error, message.topic()))

    return note
