"""The input: records from a fixed seed, framed by hand with fastavro, written once."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

from confluent_kafka import Producer

from benchmarks.programs.wire import Contract
from benchmarks.suite.errors import BenchmarkError
from benchmarks.suite.workloads import Input
from streams.kafka.admin import partition_of

SEED = 7
FIRST_MS = 1_750_000_000_000
AUDIENCES = ("PUBLIC", "FOLLOWERS", "PUBLIC", "FRIENDS")
WORDS = ("river", "stone", "cloud", "ember", "maple", "quiet", "north", "amber", "field", "light")
BROKEN = b"\xff" * 16  # no length of a string: every codec has to refuse it
METERS = 1_000


def records(of: Input, count: int) -> Iterator[dict[str, Any]]:
    """Yield the same records every time."""
    make: Callable[[Input, int], Iterator[dict[str, Any]]] = {"Post": _posts, "ActivePowerRecord": _power}[of.schema]
    return make(of, count)


def _posts(of: Input, count: int) -> Iterator[dict[str, Any]]:
    """Every second post is public; the first tag tells whether it is of the 1, 10 or 50 % that pass a filter."""
    random = Random(SEED)
    draw = _zipf(random, of.keys) if of.zipf else lambda: random.randrange(of.keys)
    for number in range(count):
        place = random.random() * 100
        mark = "p1" if place < 1 else "p10" if place < 10 else "p50" if place < 50 else "rest"
        yield {
            "post_id": f"p{number:08d}",
            "author": f"u{number if of.each_once else draw():05d}",
            "text": " ".join(random.choices(WORDS, k=of.words)),
            "tags": [mark, random.choice(WORDS)],
            "posted_at": datetime.fromtimestamp((FIRST_MS + number * 10) / 1000, UTC),
            "audience": AUDIENCES[number % 4],
            "reply_to": f"p{random.randrange(number):08d}" if number % 3 == 1 else None,
        }


def _power(of: Input, count: int) -> Iterator[dict[str, Any]]:
    random = Random(SEED)
    for number in range(count):
        meter, watts = random.randrange(min(of.keys, METERS)), random.randrange(1 << 20) / 64
        yield {"identifier": f"meter-{meter:04d}", "timestamp": FIRST_MS + number * 10, "valueInW": watts}


def _zipf(random: Random, keys: int) -> Callable[[], int]:
    """Draw keys with a probability of 1/rank."""
    sums = list(itertools.accumulate(1 / rank for rank in range(1, keys + 1)))
    return lambda: bisect_right(sums, random.random() * sums[-1])


Placed = tuple[int, bytes, int, bytes, Mapping[str, Any] | None]
"""Partition, key, timestamp in milliseconds, frame, and the record unless the frame is broken."""


def frames(of: Input, count: int, contract: Contract) -> Iterator[Placed]:
    """Yield the records as they lie in the topic."""
    key_of = "author" if of.schema == "Post" else "identifier"
    every = 100 // of.poison_percent if of.poison_percent else 0
    for number, record in enumerate(records(of, count)):
        key, timestamp_ms = record[key_of].encode(), FIRST_MS + number * 10
        broken = every and number % every == every - 1
        frame = contract.header + BROKEN if broken else contract.encode(record)
        yield partition_of(key, of.partitions), key, timestamp_ms, frame, None if broken else record


def fill(client: Mapping[str, Any], topic: str, placed: Iterator[Placed], see: Callable[[Placed], None]) -> int:
    """Write the records to their partitions, show each to `see`, and return the bytes of all values."""
    producer, size = Producer({**client, "log_level": 0}), 0
    for one in placed:
        partition, key, timestamp_ms, frame, _ = one
        size += len(frame)
        see(one)
        while True:
            try:
                producer.produce(topic, frame, key, partition, timestamp=timestamp_ms)
            except BufferError:
                producer.poll(0.1)
            else:
                break
    if producer.flush(60):
        raise BenchmarkError(f"the input {topic} could not be written")
    return size
