"""Publishing events from outside a processor: a web request, a script, a loader."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, TypeVar

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.avro.registry import Registry
from streams.idempotency.event_ids import headers_of
from streams.kafka import config
from streams.kafka.idempotent import IdempotentProducer
from streams.local import default_settings
from streams.record import UNSET, RawRecord, Record
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

    def send(
        self,
        topic: Topic[V],
        values: Iterable[V],
        *,
        timestamp_ms: int | None = None,
        ids: Sequence[str] | None = None,
    ) -> None:
        """Send values in their order; without `timestamp_ms` their time is now.

        Each gets an event id for the inboxes of processors: one of `ids`, in the same order, else a new UUID. Give the
        ids where you may have to send again, after an error or a restart. A topic with `event_ids=False` gets none.

        Raises:
            EncodeError: a value does not fit the contract; none of this call was sent.
            UsageError: there are not as many ids as values; none was sent.
            IncompatibleError: the contract is not registered.
            StreamsError: Kafka refuses a record.
        """
        listed = list(values)
        headers = headers_of(len(listed), ids, None if topic.event_ids is False else uuid.uuid4)
        now = time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms
        keys = map(topic.key_of(), listed)
        frames = self._codec(topic).encode(listed)
        columns = repeat(topic.name), keys, frames, repeat(now), repeat(UNSET), repeat(UNSET), headers
        self.send_raw(map(Record, *columns))

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
