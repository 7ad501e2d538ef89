"""Writing from outside a processor: no transaction, but every record is acknowledged or the caller hears of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.errors import StreamsError
from streams.kafka.config import Config
from streams.kafka.errors import error_of, made, translate
from streams.record import RawRecord

_QUEUE_FULL_WAIT = 0.05  # seconds


class IdempotentProducer:
    """Sends records without duplicates by retries. Not thread-safe."""

    def __init__(self, config: Config, timeout: float) -> None:
        """`timeout` bounds `flush` in seconds."""
        self._servers = config["bootstrap.servers"]
        self._timeout = timeout
        self._failed: tuple[KafkaError, str] | None = None
        self.acknowledged = 0
        """How many records the broker has, as far as it was heard of: `send` and `flush` listen."""
        self._producer = made(Producer, config)

    def send(self, records: Iterable[RawRecord], origin: str = "") -> None:
        """Hand records over; `flush` makes sure of them. `origin` says in an error where they come from.

        Raises:
            StreamsError: a record was refused, this one or an earlier one.
        """

        def note(error: KafkaError | None, _message: Any) -> None:
            self.acknowledged += error is None
            if error is not None and self._failed is None:
                self._failed = error, origin

        produce = self._producer.produce
        for topic, key, value, timestamp_ms, partition, _offset, headers in records:
            while True:
                try:
                    produce(topic, value, key, partition, note, None, timestamp_ms, list(headers))
                except BufferError:
                    self._producer.poll(_QUEUE_FULL_WAIT)
                except KafkaException as raised:
                    raise translate(
                        error_of(raised), f"sending {origin} to {topic}".replace("  ", " "), self._servers
                    ) from raised
                else:
                    break
        self._producer.poll(0)
        self._check()

    def flush(self) -> None:
        """Wait until every record is acknowledged.

        Raises:
            StreamsError: a record was refused, or some are not acknowledged after the timeout.
        """
        left = self._producer.flush(self._timeout)
        self._check()
        if left:
            raise StreamsError(
                f"{left} records were not acknowledged within {self._timeout:g} s",
                where=f"bootstrap_servers {self._servers}",
                fix="check the broker, then send them again",
            )

    def _check(self) -> None:
        if self._failed is not None:
            error, origin = self._failed
            raise translate(error, f"sending {origin}".rstrip(), self._servers)
