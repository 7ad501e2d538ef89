"""Client configuration that is part of the guarantees, merged with what the user passes through."""

from __future__ import annotations

import logging
from datetime import timedelta

from streams.settings import Settings, librdkafka_properties, require

Config = dict[str, str | int | bool | object]

MOST_BATCH_BYTES = 1_000_000  # librdkafka's own default, just below a topic's

READERS_SHARE = 0.25  # of the prefetch budget, for changelogs, tables and what comes back
RECORD_OVERHEAD = 400  # bytes that librdkafka keeps around a record (measured)

client_log = logging.getLogger("streams.kafka")


def common(settings: Settings, client_id: str, scope: str) -> Config:
    """Start a client's configuration with the user's properties that this kind of client reads (`C` or `P`)."""
    known = librdkafka_properties()
    passed = {name: value for name, value in settings.kafka.items() if known[name] in {"*", scope}}
    return {
        **passed,
        "bootstrap.servers": require(settings.bootstrap_servers, "bootstrap_servers"),
        "client.id": client_id,
        "logger": client_log,
    }


def group_consumer(settings: Settings, group: str, instance: str) -> Config:
    """Configure the consumer of one slot: classic protocol, cooperative-sticky, static membership.

    From SIGKILL to the restarted worker's first record: 1.3 s so, 46 s with dynamic members (measured).
    """
    return {
        **_prefetch(settings, 1 - READERS_SHARE),
        **common(settings, instance, "C"),
        "group.id": group,
        "group.instance.id": instance,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": milliseconds(settings.session_timeout),
        "heartbeat.interval.ms": min(1000, milliseconds(settings.session_timeout) // 3),
        "max.poll.interval.ms": milliseconds(settings.max_poll_interval),
        **_COMMITTED_READS,
    }


def reader(settings: Settings, client_id: str) -> Config:
    """Configure an assign-only consumer: it has a group id because librdkafka wants one, and never commits."""
    return {
        **_prefetch(settings, READERS_SHARE),
        **common(settings, client_id, "C"),
        "group.id": f"{client_id}.reader",
        **_COMMITTED_READS,
    }


def producer(settings: Settings, client_id: str, batch_bytes: int = MOST_BATCH_BYTES) -> Config:
    """Configure a producer that never duplicates or reorders by its own retries.

    A topic's max.message.bytes holds for a whole batch, and what is refused is not split: `batch_bytes` must not be
    above it, or many small records pass for one that is too large.
    """
    return {
        "batch.size": min(batch_bytes, MOST_BATCH_BYTES),
        "linger.ms": 10,
        "compression.type": "lz4",
        "retry.backoff.ms": 5,
        "queue.buffering.max.messages": 500_000,
        "queue.buffering.max.kbytes": 128 << 10,
        "allow.auto.create.topics": False,  # one that was deleted would come back without its settings
        "message.max.bytes": 64 << 20,  # the topic's limit decides; the client must not refuse earlier
        **common(settings, client_id, "P"),
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
    }


def transactional_producer(settings: Settings, transactional_id: str, batch_bytes: int = MOST_BATCH_BYTES) -> Config:
    """Configure the producer of a worker that commits exactly once."""
    return {
        **producer(settings, transactional_id, batch_bytes),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": milliseconds(settings.transaction_timeout),
    }


def milliseconds(length: timedelta) -> int:
    """Return whole milliseconds, as Kafka's settings take them."""
    return int(length.total_seconds() * 1000)


def _prefetch(settings: Settings, share: float) -> Config:
    """Keep the fetch queue full without holding more than a share of the worker's budget.

    librdkafka counts records and the bytes of their values apart, each over all partitions of a client; what it keeps
    around a record counts nowhere. A fetch that was asked for just below a bound comes on top (ADR 17). Its own
    back-off of 1000 ms lets a fast consumer idle most of the time (measured: a third of the rate).
    """
    budget = int(settings.prefetch_bytes * share)
    records = min(settings.prefetch_records, budget // 2 // RECORD_OVERHEAD)
    return {
        "queued.min.messages": max(1, records),
        "queued.max.messages.kbytes": max(1, (budget - records * RECORD_OVERHEAD) >> 10),
        "fetch.max.bytes": max(MOST_BATCH_BYTES, budget // 8),
        "fetch.queue.backoff.ms": 10,
        "fetch.wait.max.ms": 100,  # a rewind at the end of a log waits for the fetch that is under way
    }


_COMMITTED_READS: Config = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "allow.auto.create.topics": False,
}
