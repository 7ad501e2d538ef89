"""Reading a story's topics back, decoded, as any consumer of committed records sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from streams import App
from streams.avro.codec import Codec
from streams.avro.registry import Registry
from streams.errors import UnknownSchemaError
from streams.kafka import config
from streams.kafka.admin import Admin
from streams.kafka.consumer import Reader
from streams.kafka.snapshot import read_through
from streams.record import RawRecord, TopicPartition
from streams.settings import Settings, require

V = TypeVar("V")


class TopicReader:
    """Reads whole topics, independently of any group."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = Admin(settings)
        self._registry = Registry(require(settings.schema_registry_url, "schema_registry_url"))

    def raw(self, topic: str) -> Iterator[list[RawRecord]]:
        """Yield every committed record that the topic holds now."""
        partitions = self._admin.topics()[topic]
        spans = self._admin.ranges(TopicPartition(topic, number) for number in range(partitions))
        reader = Reader(config.reader(self._settings, "stories-verify"))
        try:
            yield from read_through(reader, spans)
        finally:
            reader.close()

    def values(self, topic: str, model: type[V]) -> Iterator[list[tuple[RawRecord, V]]]:
        """Yield every record with its value; tombstones are left out."""
        codec = Codec(model)
        for batch in self.raw(topic):
            records = [record for record in batch if record.value is not None]
            yield list(zip(records, self._decode(codec, [record.value or b"" for record in records]), strict=True))

    def _decode(self, codec: Codec[V], frames: list[bytes]) -> list[Any]:
        while True:
            try:
                return codec.decode(frames)
            except UnknownSchemaError as unknown:
                codec.learn(unknown.schema_id, self._registry.schema(unknown.schema_id))


def dead_letters(reader: TopicReader, app: App) -> int:
    """Count the records that the processors of an app refused."""
    topics = [processor.dead_letter_topic for processor in app.processors.values()]
    return sum(len(batch) for topic in topics for batch in reader.raw(topic))
