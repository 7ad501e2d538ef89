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
        self._failed: KafkaError | None = None
        self._producer = made(Producer, {**config, "on_delivery": self._note})

    def send(self, records: Iterable[RawRecord]) -> None:
        """Hand records over; `flush` makes sure of them.

        Raises:
            StreamsError: a record was refused, this one or an earlier one.
        """
        for topic, key, value, timestamp_ms, partition, _offset, headers in records:
            while True:
                try:
                    self._producer.produce(topic, value, key, partition, timestamp=timestamp_ms, headers=list(headers))
                except BufferError:
                    self._producer.poll(_QUEUE_FULL_WAIT)
                except KafkaException as raised:
                    raise translate(error_of(raised), f"sending to {topic}", self._servers) from raised
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

    def _note(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None and self._failed is None:
            self._failed = error

    def _check(self) -> None:
        if self._failed is not None:
            raise translate(self._failed, "sending", self._servers)
