"""What an instance that asks has in Kafka: a topic of its own for replies, a reader of it, and a producer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.errors import IncompatibleError, StreamsError, UnreachableError
from streams.kafka import config
from streams.kafka.admin import Admin
from streams.kafka.consumer import Reader
from streams.kafka.errors import error_of, made, translate
from streams.record import RawRecord, Record, TopicPartition
from streams.settings import Settings
from streams.topology import TopicSpec

KEPT_MS = 600_000  # replies are read at once, or never
BATCH = 500
_CONFIG = {"retention.ms": str(KEPT_MS), "segment.ms": str(KEPT_MS), "message.timestamp.type": "LogAppendTime"}
_WAIT = 0.05  # seconds between two looks at a new topic

_BEAT = "streams.reply.beat"


class ReplyBox:
    """Makes the topic; `send` is thread-safe, the rest is for one thread."""

    def __init__(self, settings: Settings, topic: str, requests: str) -> None:
        """Return once a record has gone into the new topic and come back.

        Raises:
            IncompatibleError: the topic of the requests does not exist.
            StreamsError: Kafka does not answer, or refuses something.
        """
        self.topic = topic
        self.broker_ms = 0
        """The broker's clock at the newest beat."""
        self._servers = settings.bootstrap_servers
        self._timeout = settings.start_timeout.total_seconds()
        self._admin = Admin(settings, self._timeout)
        if not self._admin.existing([requests]):
            raise IncompatibleError(
                f"topic {requests} does not exist", fix="`streams topic create MODULE:APP` makes it"
            )
        self._producer = made(Producer, {**config.producer(settings, topic), "linger.ms": 1})
        self._reader = Reader(config.reader(settings, topic))
        self._admin.create_topics([TopicSpec(topic, 1, _CONFIG)])
        try:
            self._begin()
        except BaseException:
            self.close(delete=True)
            raise

    def send(self, record: RawRecord, failed: Callable[[StreamsError], None]) -> None:
        """Hand a record over; `failed` is told if Kafka does not take it.

        Raises:
            StreamsError: it is not taken now.
        """

        def report(error: KafkaError | None, _message: Any) -> None:
            if error is not None:
                failed(translate(error, f"sending a request to {record.topic}", self._servers))

        topic, key, value, timestamp_ms, partition, _offset, headers = record
        try:
            self._producer.produce(topic, value, key, partition, report, None, timestamp_ms, list(headers))
        except KafkaException as raised:
            raise translate(error_of(raised), f"sending a request to {topic}", self._servers) from raised
        except BufferError as full:
            raise UnreachableError(
                "too many requests wait to be sent", where=f"bootstrap_servers {self._servers}", fix="check the broker"
            ) from full

    def poll(self, timeout: float) -> list[RawRecord]:
        """Return the replies that came, waiting up to `timeout` seconds for a first one.

        Raises:
            StreamsError: the topic cannot be read any more.
        """
        self._producer.poll(0)
        records = self._reader.poll(BATCH, timeout).records
        beats = [record for record in records if dict(record.headers).get(_BEAT)]
        if beats:
            self.broker_ms = beats[-1].timestamp_ms
        return [record for record in records if record not in beats] if beats else records

    def beat(self) -> None:
        """Leave a sign of life."""
        self.send(Record(self.topic, None, None, 0, 0, headers=((_BEAT, b"1"),)), lambda _error: None)

    def abandoned(self, candidates: list[str], since_ms: int) -> list[str]:
        """Return those of the reply topics that hold no sign of life since then."""
        newest = self._admin.offsets_at((TopicPartition(name, 0) for name in candidates), since_ms)
        return [tp.topic for tp, offset in newest.items() if offset is None]

    def topics(self) -> list[str]:
        """Return the names of all topics."""
        return list(self._admin.topics())

    def delete(self, topics: list[str]) -> None:
        """Delete topics."""
        self._admin.delete_topics(topics)

    def close(self, *, delete: bool) -> None:
        """Let go, and delete the topic if asked to."""
        self._producer.flush(self._timeout)
        self._reader.close()
        if delete:
            self._admin.delete_topics([self.topic])

    def _begin(self) -> None:
        deadline = time.monotonic() + self._timeout
        while not self._admin.existing([self.topic]) and time.monotonic() < deadline:
            time.sleep(_WAIT)
        self._reader.follow({TopicPartition(self.topic, 0): None})
        self.beat()
        while not self.broker_ms:
            self.poll(_WAIT)
            if time.monotonic() > deadline:
                raise UnreachableError(
                    f"the new topic {self.topic} cannot be used within {self._timeout:g} s",
                    where=f"bootstrap_servers {self._servers}",
                    fix="check the broker",
                )
