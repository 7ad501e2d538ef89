"""What has to be true before a worker starts: topics as declared, contracts registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Protocol

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.columnar.codec import codec_of
from streams.errors import IncompatibleError, UsageError
from streams.settings import Settings
from streams.topic import Topic
from streams.topology import DEFAULT_MAX_MESSAGE_BYTES, Processor, TopicSpec


class Described(Protocol):
    """A topic as this user sees it."""

    @property
    def partitions(self) -> int:
        """How many it has."""

    @property
    def allowed(self) -> frozenset[str] | None:
        """The operations that are allowed on it; None where that is not known."""


class Cluster(Protocol):
    """What is asked of the cluster."""

    def described(self, names: Iterable[str]) -> Mapping[str, Described]:
        """Return those of the topics that exist."""

    def topic_config(self, names: Iterable[str]) -> Mapping[str, Mapping[str, str]]:
        """Return the effective configuration of topics."""


class Contracts(Protocol):
    """What is asked of the registry."""

    def lookup(self, subject: str, text: str) -> int:
        """Return the id of a registered schema."""


def check_topics(cluster: Cluster, processor: Processor, *, writes: bool = True) -> None:
    """Compare the topics of a processor with those in Kafka; `writes` says that it will write to them.

    Raises:
        IncompatibleError: some are missing, forbidden or differ; the message lists all of them.
    """
    specs = {spec.name: spec for spec in processor.topics()}
    found = cluster.described(specs)
    problems = _unusable(found, processor, writes=writes)
    configs = cluster.topic_config(name for name in specs if name in found and name not in problems)
    differences = {name: _difference(specs[name], found[name], configs[name]) for name in configs}
    problems.update({name: told for name, told in differences.items() if told is not None})
    _tell(processor, {name: problems[name] for name in specs if name in problems})


def check_access(cluster: Cluster, processor: Processor) -> None:
    """Look whether the topics of a processor are there and may be used: without them it cannot go on.

    Raises:
        IncompatibleError: some are missing or forbidden; the message lists all of them.
    """
    _tell(processor, _unusable(cluster.described(spec.name for spec in processor.topics()), processor, writes=True))


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
    make: Callable[..., Codec[Any]] = codec_of if processor.batches else Codec
    codecs = {name: make(model) for name, model in read.items()}
    for name, model in written.items():
        codecs[name] = make(model, contracts.lookup(f"{name}-value", schema_of(model).text))
    return codecs


def _tell(processor: Processor, problems: Mapping[str, str]) -> None:
    if problems:
        raise IncompatibleError(
            f"the topics of processor {processor.name} are not as they have to be:\n"
            + "\n".join(f"  - {name} {problem}" for name, problem in problems.items()),
            fix="`streams topic create MODULE:APP` makes the missing ones; mend the others by hand",
        )


def _unusable(found: Mapping[str, Described], processor: Processor, *, writes: bool) -> dict[str, str]:
    """Say of each topic that is missing or forbidden what it lacks."""
    problems = {}
    for name, needed in _rights(processor, writes=writes).items():
        if name not in found:
            problems[name] = "does not exist"
            continue
        allowed = found[name].allowed
        lacking = set() if allowed is None else needed - allowed
        if lacking:
            problems[name] = f"is forbidden to this user: grant {', '.join(sorted(lacking))} on it"
    return problems


def _rights(processor: Processor, *, writes: bool) -> dict[str, set[str]]:
    """Return the operations that a processor needs on each of its topics, as ACLs spell them."""
    kept = set(processor.changelogs().values())
    read = {processor.source.name, processor.redrive_topic, *map(_name, map(processor.table_topic, processor.tables))}
    written = {processor.dead_letter_topic, *map(_name, processor.outputs.values())}
    return {
        spec.name: {"DESCRIBE", "DESCRIBE_CONFIGS"}
        | ({"READ"} if spec.name in read | kept else set())
        | ({"WRITE"} if writes and spec.name in written | kept else set())
        for spec in processor.topics()
    }


def _name(topic: Topic[Any]) -> str:
    return topic.name


def _difference(spec: TopicSpec, found: Described, config: Mapping[str, str]) -> str | None:
    if found.partitions != spec.partitions:
        return f"has {found.partitions} partitions, declared are {spec.partitions}"
    declared, allowed = (int(each.get("max.message.bytes", 0)) for each in (spec.config, config))
    if allowed and allowed < declared:
        return (
            f"takes records of up to {allowed} bytes, declared are {declared}: some could not be kept; "
            "raise its max.message.bytes"
        )
    wanted = spec.config.get("cleanup.policy")
    policy = config.get("cleanup.policy", "")
    if wanted and wanted not in policy.split(","):
        return f"has cleanup.policy={policy}, declared is {wanted}: state would be lost"
    return None
