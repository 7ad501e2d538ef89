"""Topics of a test's cluster by the app's own objects, the codecs of their values, and what they take."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.errors import UnknownSchemaError, UsageError
from streams.idempotency.event_ids import headers_of
from streams.record import UNSET, RawRecord, Record
from streams.testing.memory import Log, MemoryRegistry
from streams.topic import Table, Topic

V = TypeVar("V")


class Topics:
    """What an app's topics are called in a test's cluster, and how their values become bytes."""

    def __init__(self, namespace: str, log: Log, registry: MemoryRegistry) -> None:
        self._namespace = namespace
        self._log = log
        self._registry = registry
        self._named: dict[Topic[Any], Topic[Any]] = {}
        self._codecs: dict[Topic[Any], Codec[Any]] = {}

    def named(self, topic: Topic[V] | Table[Any, V]) -> Topic[V]:
        """Return a topic as the app's namespace calls it; one that is called so already stays.

        Raises:
            UsageError: the cluster has no such topic.
        """
        declared = topic.topic if isinstance(topic, Table) else topic
        if not isinstance(declared, Topic):
            raise UsageError(f"{declared!r} is neither a topic nor a table", fix="give what app.topic() returned")
        if declared not in self._named:
            inside = declared.in_namespace(self._namespace)
            self._named[declared] = inside if inside.name in self._log.topics else declared
            self._log.spec(self._named[declared].name)
        return self._named[declared]

    def codec(self, topic: Topic[V]) -> Codec[V]:
        """Return the codec of a topic as the cluster calls it."""
        if topic not in self._codecs:
            registered = self._registry.register(topic.subject, schema_of(topic.model).text)
            self._codecs[topic] = Codec(topic.model, registered)
        return self._codecs[topic]

    def records(
        self, topic: Topic[V], values: Sequence[V], at_ms: int, ids: Sequence[str] | None, random: Random
    ) -> list[RawRecord]:
        """Return values as records, with their event ids.

        Raises:
            EncodeError: a value does not fit the contract.
            UsageError: there are not as many ids as values.
        """
        frames = self.codec(topic).encode(values)
        new = (lambda: UUID(int=random.getrandbits(128), version=4)) if topic.event_ids else None
        headers = headers_of(len(values), ids, new)
        unset = repeat(UNSET)
        return list(
            map(Record, repeat(topic.name), map(topic.key_of(), values), frames, repeat(at_ms), unset, unset, headers)
        )

    def decode(self, codec: Codec[V], frame: bytes) -> V:
        """Decode a frame, with a schema of the registry's if need be."""
        try:
            return codec.decode([frame])[0]
        except UnknownSchemaError as unknown:
            text = self._registry.known(unknown.schema_id)
            if text is None:
                raise
            codec.learn(unknown.schema_id, text)
            return codec.decode([frame])[0]

    def check(self, records: Sequence[RawRecord]) -> None:
        """Refuse records that the broker would refuse.

        Raises:
            UsageError: one is too large, or for a partition that there is not.
        """
        for record in records:
            count = self._log.spec(record.topic).partitions
            if record.partition != UNSET and not 0 <= record.partition < count:
                raise UsageError(
                    f"topic {record.topic} has no partition {record.partition}", fix=f"use one of 0 to {count - 1}"
                )
            if not self._log.takes(record):
                size = len(record.value or b"")
                raise UsageError(
                    f"topic {record.topic} does not take a record of {size:,} bytes",
                    fix='send less, or declare the topic with config={"max.message.bytes": …}',
                )
