"""Publishing events from outside a processor: a web request, a script, a loader."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, TypeVar

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.avro.registry import Registry
from streams.kafka import config
from streams.kafka.idempotent import IdempotentProducer
from streams.local import default_settings
from streams.record import RawRecord, Record
from streams.settings import Settings, require
from streams.topic import Topic

V = TypeVar("V")


class Publisher:
    """Encodes values by their topic's contract and sends them; `flush` returns once all are acknowledged.

    Not thread-safe. A record goes to the partition of its key, as a processor's output does.
    """

    def __init__(self, settings: Settings | None = None, *, timeout: float = 30.0) -> None:
        """Connect to Kafka and the registry; `timeout` bounds `flush` in seconds.

        Without `settings`, those of the environment and `streams.toml` hold, else the local cluster of this folder.

        Raises:
            UsageError: nothing names a cluster.
        """
        settings = settings or default_settings()
        self._registry = Registry(require(settings.schema_registry_url, "schema_registry_url"))
        self._producer = IdempotentProducer(config.producer(settings, "streams-publisher"), timeout)
        self._codecs: dict[Topic[Any], Codec[Any]] = {}

    def send(self, topic: Topic[V], values: Iterable[V], *, timestamp_ms: int | None = None) -> None:
        """Send values in their order; without `timestamp_ms` their time is now.

        Raises:
            EncodeError: a value does not fit the contract; none of this call was sent.
            IncompatibleError: the contract is not registered.
            StreamsError: Kafka refuses a record.
        """
        listed = list(values)
        now = time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms
        keys = map(topic.key_of(), listed)
        frames = self._codec(topic).encode(listed)
        self.send_raw(Record(topic.name, key, frame, now) for key, frame in zip(keys, frames, strict=True))

    def send_raw(self, records: Iterable[RawRecord]) -> None:
        """Send records as they are.

        Raises:
            StreamsError: Kafka refuses a record.
        """
        self._producer.send(records)

    def flush(self) -> None:
        """Wait until everything sent is acknowledged.

        Raises:
            StreamsError: something was refused or not acknowledged in time.
        """
        self._producer.flush()

    def _codec(self, topic: Topic[V]) -> Codec[V]:
        if topic not in self._codecs:
            schema_id = self._registry.lookup(topic.subject, schema_of(topic.model).text)
            self._codecs[topic] = Codec(topic.model, schema_id)
        return self._codecs[topic]
