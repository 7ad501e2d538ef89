"""The settings of every contender, made in one place so that they are the same wherever they mean the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.suite.workloads import EXACTLY_ONCE, Guarantee
from streams.embedded import Addresses
from streams.kafka import config
from streams.settings import Settings

# What a framework over librdkafka that makes its own clients may be told: the rest it decides itself.
_FETCH = ("queued.min.messages", "queued.max.messages.kbytes", "fetch.queue.backoff.ms", "fetch.wait.max.ms")
_SEND = (
    "batch.size",
    "linger.ms",
    "compression.type",
    "retry.backoff.ms",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "partitioner",
    "enable.idempotence",
)


def toolkit(addresses: Addresses, state: Path, guarantee: Guarantee) -> Settings:
    """Return the toolkit's settings: its defaults."""
    return Settings(
        bootstrap_servers=addresses.bootstrap_servers,
        schema_registry_url=addresses.schema_registry_url,
        state_dir=state,
        guarantee=guarantee,
        log_level="warning",
    )


def clients(settings: Settings, name: str) -> dict[str, Any]:
    """Return what a job says of clients: each contender takes the part that it can use."""
    consumer = _plain(config.group_consumer(settings, f"{name}.work", name))
    sends = config.transactional_producer if settings.guarantee == EXACTLY_ONCE else config.producer
    producer = _plain(sends(settings, name))
    return {
        "toolkit": settings.model_dump(mode="json", exclude_unset=True),
        "consumer": consumer,
        "producer": producer,
        "fetch": {key: consumer[key] for key in _FETCH} | {"isolation.level": "read_committed"},
        "send": {key: producer[key] for key in _SEND},
        "java": {"consumer.group.instance.id": name, **_java(consumer, producer)},
        "commit_interval_ms": config.milliseconds(settings.commit_interval),
    }


def _java(consumer: Mapping[str, Any], producer: Mapping[str, Any]) -> dict[str, Any]:
    """Translate to the names of the Java clients, which prefetch one fetch and need no more."""
    return {
        "consumer.fetch.max.wait.ms": consumer["fetch.wait.max.ms"],
        "consumer.max.poll.records": 10_000,
        "consumer.isolation.level": "read_committed",
        "producer.linger.ms": producer["linger.ms"],
        "producer.batch.size": 262_144,
        "producer.compression.type": producer["compression.type"],
        "producer.buffer.memory": producer["queue.buffering.max.kbytes"] << 10,
        "statestore.cache.max.bytes": 64 << 20,
        "num.stream.threads": 1,
    }


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "logger"}
