"""The cluster side of the benchmark: fill the topic once, run a contender, compare what it wrote.

Written with fastavro alone, so that neither the input nor the comparison rests on the codec under test.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka import TopicPartition as Assigned
from events import Headline, Post
from fastavro import parse_schema, schemaless_reader, schemaless_writer

from streams.avro.model import schema_of
from streams.kafka.admin import Admin, partition_of
from streams.record import TopicPartition

PARTITIONS = 4
SEED = 7
FIRST_MS = 1_750_000_000_000
AUDIENCES = ("PUBLIC", "FOLLOWERS", "PUBLIC", "FRIENDS")
WORDS = ("river", "stone", "cloud", "ember", "maple", "quiet", "north", "amber", "field", "light")
LONGEST_RUN = 600.0  # seconds
MARKER_WAIT = 10.0  # seconds
HEADER = 5  # bytes: 0 and the schema's id

POST, HEADLINE = (json.loads(schema_of(model).text) for model in (Post, Headline))


class BenchmarkError(Exception):
    """The benchmark has no result."""


@dataclass
class Digest:
    """What a topic holds, whatever the order: a count and the sum of the records' hashes."""

    count: int = 0
    total: int = 0

    def add(self, partition: int, key: bytes, timestamp_ms: int, headline: Mapping[str, Any]) -> None:
        """Add a record; a second copy of it changes the sum too."""
        names = ("post_id", "author", "text", "posted_at")
        seen = repr((partition, key, timestamp_ms, [headline[name] for name in names])).encode()
        self.total = (self.total + int.from_bytes(blake2b(seen, digest_size=16).digest(), "big")) % (1 << 128)
        self.count += 1


@dataclass(frozen=True)
class Filled:
    """The input: where each partition ends, its mean size in bytes, and what the output has to be."""

    ends: Mapping[int, int]
    mean_bytes: float
    expected: Digest


def posts(records: int) -> Iterator[dict[str, Any]]:
    """Yield the same posts every time; every second one is public."""
    random = Random(SEED)
    for number in range(records):
        author = random.randrange(10_000)
        yield {
            "post_id": f"p{number:08d}",
            "author": f"u{author:05d}",
            "text": " ".join(random.choices(WORDS, k=9)),
            "tags": random.choices(WORDS, k=2),
            "posted_at": datetime.fromtimestamp((FIRST_MS + number * 10) / 1000, UTC),
            "audience": AUDIENCES[number % 4],
            "reply_to": f"p{random.randrange(number):08d}" if number % 3 == 1 else None,
        }


def fill(config: Mapping[str, Any], topic: str, schema_id: int, records: int) -> Filled:
    """Write the posts and return what has to come of them."""
    schema, header = parse_schema(POST), b"\0" + schema_id.to_bytes(4, "big")
    producer = Producer(dict(config))
    ends, size, expected = dict.fromkeys(range(PARTITIONS), 0), 0, Digest()
    for post in posts(records):
        out = BytesIO()
        out.write(header)
        schemaless_writer(out, schema, post)
        value, key = out.getvalue(), post["author"].encode()
        timestamp_ms, partition = round(post["posted_at"].timestamp() * 1000), partition_of(key, PARTITIONS)
        _produce(producer, topic, partition, key, value, timestamp_ms)
        ends[partition] += 1
        size += len(value)
        if post["audience"] == "PUBLIC":
            expected.add(partition, key, timestamp_ms, post)
    if producer.flush(60):
        raise BenchmarkError("the input could not be written")
    return Filled(ends, size / records, expected)


def _produce(producer: Producer, topic: str, partition: int, key: bytes, value: bytes, timestamp_ms: int) -> None:
    while True:
        try:
            producer.produce(topic, value, key, partition, timestamp=timestamp_ms)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def contend(program: str, job: Mapping[str, Any]) -> dict[str, float]:
    """Run one contender in a process of its own and return what it measured.

    Raises:
        BenchmarkError: it failed or took too long.
    """
    path = Path(__file__).with_name(program)
    try:
        done = subprocess.run(
            [sys.executable, str(path)],
            input=json.dumps(job),
            stdout=subprocess.PIPE,
            text=True,
            timeout=LONGEST_RUN,
            check=True,
        )
    except subprocess.SubprocessError as error:
        raise BenchmarkError(f"{program}: {error}") from error
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def digest(admin: Admin, servers: str, topic: str, schema_id: int) -> Digest:
    """Read a topic from its beginning to its end, committed records only, and decode every record."""
    ends = {partition.partition: held.end for partition, held in _ranges(admin, topic).items()}
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "benchmark-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 10,
        }
    )
    consumer.assign([Assigned(topic, partition, 0) for partition in ends])
    found, schema, expected = Digest(), parse_schema(HEADLINE), b"\0" + schema_id.to_bytes(4, "big")
    missing = set(ends)
    while missing:
        for message in consumer.consume(5_000, 0.1):
            error = message.error()
            if error is None:
                headline = _decode(message.value(), schema, expected)
                found.add(message.partition(), message.key(), message.timestamp()[1], headline)
            elif error.code() != KafkaError._PARTITION_EOF:
                raise BenchmarkError(f"{topic} cannot be read: {error.str()}")
            elif message.offset() >= ends[message.partition()]:  # an earlier end: the last marker is still under way
                missing.discard(message.partition())
    consumer.close()
    return found


def committed(admin: Admin, group: str, topic: str, ends: Mapping[int, int]) -> dict[int, int]:
    """Return what the group committed, as the broker knows it; the marker of the last transaction may take a moment."""
    deadline = time.monotonic() + MARKER_WAIT
    while True:
        found = {tp.partition: at for tp, at in admin.committed(group).items() if tp.topic == topic}
        if all(found.get(number, 0) >= end for number, end in ends.items()) or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def written(admin: Admin, topic: str) -> int:
    """Count the offsets that a topic has used, transaction markers included."""
    return sum(held.end for held in _ranges(admin, topic).values())


def _ranges(admin: Admin, topic: str) -> Mapping[TopicPartition, Any]:
    return admin.ranges(TopicPartition(topic, partition) for partition in range(PARTITIONS))


def _decode(value: bytes, schema: Any, header: bytes) -> dict[str, Any]:
    body = BytesIO(value[HEADER:])
    headline = schemaless_reader(body, schema, None)
    if value[:HEADER] != header or body.read(1):
        raise BenchmarkError(f"an output record is malformed: {value!r}")
    assert isinstance(headline, dict)
    return headline
