"""Whether an output is what the input demands, read from Kafka alone; no figure counts before."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from benchmarks.programs.wire import Contract
from benchmarks.suite.errors import BenchmarkError, WrongOutputError
from benchmarks.suite.reference import Digest, Expected, canonical
from benchmarks.suite.workloads import COUNTING

SILENT = 60.0  # seconds without a record or an end of a partition: the output cannot be read

Ends = Mapping[int, int]
"""The committed end of each partition of a topic."""


@dataclass(frozen=True)
class Verdict:
    """`done_before` is the share of the input that the output before the given offsets stands for."""

    equal: bool
    complete: bool
    compared: int
    told: str
    done_before: float


def judge(servers: str, topic: str, ends: Ends, marks: Ends, expected: Expected) -> Verdict:
    """Read the output up to its ends and hold it against what it has to be."""
    if expected.workload.kind in COUNTING:
        return _counts(read(servers, topic, ends), marks, expected)
    verdict = _records(read(servers, topic, ends), marks, expected.output, lambda value: value)
    if verdict.equal or not verdict.complete:
        return verdict
    contract = expected.contract
    return _records(read(servers, topic, ends), marks, expected.canonical, lambda value: canonical(value, contract))


def judge_refused(servers: str, topic: str, ends: Ends, expected: Expected) -> Verdict:
    """Hold the dead letters against the broken frames: key and bytes."""
    found = Digest()
    for message in read(servers, topic, ends):
        found.add(0, message.key(), 0, message.value())
    same = found == expected.refused
    told = f"{found.count:,} dead letters, it has to be {expected.refused.count:,}"
    return Verdict(same, found.count >= expected.refused.count, found.count, "" if same else told, 0)


def _records(messages: Iterator[Message], marks: Ends, wanted: Digest, read_as: Callable[[bytes], bytes]) -> Verdict:
    found, before = Digest(), 0
    for message in messages:
        found.add(message.partition(), message.key(), message.timestamp()[1], read_as(message.value()))
        before += message.offset() < marks[message.partition()]
    same = found == wanted
    what = "other content" if found.count == wanted.count else f"it has to be {wanted.count:,}"
    told = "" if same else f"{found.count:,} records, {what}"
    return Verdict(same, found.count >= wanted.count, found.count, told, before / max(found.count, 1))


def _counts(messages: Iterator[Message], marks: Ends, expected: Expected) -> Verdict:
    last: dict[bytes, int] = {}
    before: dict[bytes, int] = {}
    compared, contract = 0, expected.contract
    for message in messages:
        key, posts = message.key(), _posts(message.value(), contract, message.key())
        last[key] = posts
        compared += 1
        if message.offset() < marks[message.partition()]:
            before[key] = posts
    same = last == expected.counts
    seen, wanted = sum(last.values()), expected.records
    told = f"{seen:,} records in {len(last):,} keys counted, it has to be {wanted:,} in {len(expected.counts):,}"
    return Verdict(same, seen >= wanted, compared, "" if same else told, sum(before.values()) / wanted)


def _posts(frame: bytes, contract: Contract, key: bytes) -> int:
    count = contract.decode(frame)
    if count["author"].encode() != key:
        raise WrongOutputError(f"a count lies under another key: {key!r} {count}")
    posts: int = count["posts"]
    return posts


def read(servers: str, topic: str, ends: Ends) -> Iterator[Message]:
    """Yield the committed records of a topic up to its ends."""
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
    try:
        missing = {partition for partition, end in ends.items() if end}
        consumer.assign([TopicPartition(topic, partition, 0) for partition in missing])
        heard = time.monotonic()
        while missing:
            if time.monotonic() - heard > SILENT:
                raise BenchmarkError(f"{topic} cannot be read to its ends: nothing came for {SILENT:.0f} s")
            for message in consumer.consume(5_000, 0.1):
                error, heard = message.error(), time.monotonic()
                if error is None:
                    if message.offset() < ends[message.partition()]:  # what came since is not what was looked at
                        yield message
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise BenchmarkError(f"{topic} cannot be read: {error.str()}")
                elif message.offset() >= ends[message.partition()]:  # an earlier end: a marker is still under way
                    missing.discard(message.partition())
    finally:
        consumer.close()
