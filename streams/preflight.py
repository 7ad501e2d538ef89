"""What has to be true before a worker starts: topics as declared, contracts registered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Protocol

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.errors import IncompatibleError, UsageError
from streams.settings import Settings
from streams.topology import DEFAULT_MAX_MESSAGE_BYTES, Processor, TopicSpec


class Cluster(Protocol):
    """What is asked of the cluster."""

    def topics(self) -> Mapping[str, int]:
        """Return every topic with its number of partitions."""

    def topic_config(self, names: Iterable[str]) -> Mapping[str, Mapping[str, str]]:
        """Return the effective configuration of topics."""


class Contracts(Protocol):
    """What is asked of the registry."""

    def lookup(self, subject: str, text: str) -> int:
        """Return the id of a registered schema."""


def check_topics(cluster: Cluster, processor: Processor) -> None:
    """Compare the topics of a processor with those in Kafka.

    Raises:
        IncompatibleError: some are missing or differ; the message lists all of them.
    """
    specs = {spec.name: spec for spec in processor.topics()}
    existing = cluster.topics()
    configs = cluster.topic_config(name for name in specs if name in existing)
    problems = [problem for spec in specs.values() if (problem := _problem(spec, existing, configs))]
    if problems:
        raise IncompatibleError(
            f"the topics of processor {processor.name} are not as declared:\n"
            + "\n".join(f"  - {p}" for p in problems),
            fix="`streams topic create MODULE:APP` makes the missing ones; mend the others by hand",
        )


def commit_interval(processor: Processor, settings: Settings) -> timedelta:
    """Return how long a commit may wait: what the processor's stores ask for, else what is set.

    Raises:
        UsageError: that is longer than a transaction lives, so each would be rolled back before its commit.
    """
    every = processor.commit_every or settings.commit_interval
    if every >= settings.transaction_timeout:
        raise UsageError(
            f"processor {processor.name}: commit_every ({every}) must be shorter than transaction_timeout "
            f"({settings.transaction_timeout})",
            fix="shorten commit_every, or set a longer transaction_timeout",
        )
    return every


def smallest_limit(cluster: Cluster, processor: Processor) -> int:
    """Return the `max.message.bytes` of the topic of a processor that takes the least."""
    configs = cluster.topic_config(spec.name for spec in processor.topics())
    return min(int(config.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES)) for config in configs.values())


def load_codecs(contracts: Contracts, processor: Processor) -> dict[str, Codec[Any]]:
    """Return a codec for each topic that the processor reads or writes (INV-8).

    Raises:
        IncompatibleError: a schema that is to be written is not registered.
    """
    written = {topic.name: topic.model for topic in processor.outputs.values()}
    written |= {topic.name: topic.model for topic in filter(None, [processor.reply])}
    written |= {topic: store.model for store, topic in processor.changelogs().items()}
    read = {processor.source.name: processor.source.model}
    read |= {processor.table_topic(table).name: table.topic.model for table in processor.tables}
    codecs = {name: Codec(model) for name, model in read.items()}
    for name, model in written.items():
        codecs[name] = Codec(model, contracts.lookup(f"{name}-value", schema_of(model).text))
    return codecs


def _problem(spec: TopicSpec, existing: Mapping[str, int], configs: Mapping[str, Mapping[str, str]]) -> str | None:
    if spec.name not in existing:
        return f"{spec.name} does not exist"
    if existing[spec.name] != spec.partitions:
        return f"{spec.name} has {existing[spec.name]} partitions, declared are {spec.partitions}"
    declared, allowed = (int(config.get("max.message.bytes", 0)) for config in (spec.config, configs[spec.name]))
    if allowed and allowed < declared:
        return f"{spec.name} takes records of up to {allowed} bytes, declared are {declared}: some could not be kept"
    wanted = spec.config.get("cleanup.policy")
    found = configs[spec.name].get("cleanup.policy", "")
    if wanted and wanted not in found.split(","):
        return f"{spec.name} has cleanup.policy={found}, declared is {wanted}: state would be lost"
    return None
