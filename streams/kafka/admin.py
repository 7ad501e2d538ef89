"""Asking and changing the cluster: topics, offsets, groups."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    murmur2,
)
from confluent_kafka import TopicPartition as Assigned
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from streams.errors import UsageError
from streams.kafka.config import common
from streams.kafka.errors import error_of, made, translate
from streams.record import TopicPartition
from streams.settings import Settings
from streams.topology import TopicSpec

T = TypeVar("T")

_STALE_LEADER = {
    KafkaError._NOENT,  # noqa: SLF001 - no leader at all, while a broker comes back
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.NOT_LEADER_FOR_PARTITION,
}
_NO_COORDINATOR = {  # for a moment after a broker was away
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
_LEADER_WAIT = 0.1  # seconds


class Range(NamedTuple):
    """The offsets that a partition holds: from `start` up to and without `end`, the high watermark."""

    start: int
    end: int


class Described(NamedTuple):
    """A topic as this user sees it.

    `allowed` names the operations that are allowed on it, as ACLs spell them; None where the cluster does not tell. Of
    a topic that may not even be looked at nothing is known.
    """

    partitions: int
    allowed: frozenset[str] | None


class Member(NamedTuple):
    """One member of a group."""

    member_id: str
    instance_id: str
    client_id: str
    host: str
    partitions: list[TopicPartition]


class Group(NamedTuple):
    """A consumer group as the broker sees it."""

    name: str
    state: str
    members: list[Member]


class Admin:
    """Administration of one cluster; every call is bounded by `timeout` seconds.

    All calls raise UnreachableError where Kafka does not answer, and StreamsError where it refuses.
    """

    def __init__(self, settings: Settings, timeout: float = 10.0) -> None:
        config = common(settings, "streams-admin", "P")
        self._servers = config["bootstrap.servers"]
        self._timeout = timeout
        self._settings = settings
        self._admin = made(AdminClient, config)
        self._members: dict[str, Consumer] = {}

    def topics(self) -> dict[str, int]:
        """Return every topic with its number of partitions."""
        metadata = self._metadata("asking for topics")
        return {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}

    def existing(self, names: Iterable[str]) -> set[str]:
        """Return those of the topics that exist; asking makes none, whatever the broker's settings."""
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return set()
        answers = self._admin.describe_topics(TopicCollection(wanted), request_timeout=self._timeout)
        return set(self._well(answers, KafkaError.UNKNOWN_TOPIC_OR_PART, "looking for"))

    def described(self, names: Iterable[str]) -> dict[str, Described]:
        """Return those of the topics that exist, each with what this user may do there."""
        wanted = TopicCollection(list(dict.fromkeys(names)))
        answers = self._admin.describe_topics(wanted, include_authorized_operations=True, request_timeout=self._timeout)
        found = {}
        for name, answer in answers.items():
            try:
                topic = answer.result()
            except KafkaException as raised:
                code = error_of(raised).code()
                if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    found[name] = Described(0, frozenset())
                elif code != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise translate(error_of(raised), f"looking for topic {name}", self._servers) from raised
            else:
                allowed = frozenset(operation.name for operation in topic.authorized_operations or ())
                found[name] = Described(len(topic.partitions), allowed or None)
        return found

    def brokers(self) -> dict[int, str]:
        """Return the live brokers by id, each with the address that it tells its clients: `host:port`."""
        metadata = self._metadata("asking for brokers")
        return {broker.id: f"{broker.host}:{broker.port}" for broker in metadata.brokers.values()}

    def topic_config(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the effective configuration of topics."""
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in dict.fromkeys(names)]  # twice is malformed
        if not resources:
            return {}
        answers = self._admin.describe_configs(resources, request_timeout=self._timeout)
        configs = {
            resource.name: self._result(answer, "asking for topic settings") for resource, answer in answers.items()
        }
        return {name: {key: entry.value for key, entry in config.items()} for name, config in configs.items()}

    def create_topics(self, specs: Iterable[TopicSpec]) -> list[str]:
        """Make the topics that do not exist yet and return their names."""
        wanted = [
            NewTopic(spec.name, spec.partitions, self._settings.replication_factor, config=dict(spec.config))
            for spec in specs
        ]
        if not wanted:
            return []
        answers = self._admin.create_topics(wanted, request_timeout=self._timeout)
        return list(self._well(answers, KafkaError.TOPIC_ALREADY_EXISTS, "making"))

    def delete_topics(self, names: Iterable[str]) -> None:
        """Delete topics with all their records."""
        for name, answer in self._admin.delete_topics(list(names), request_timeout=self._timeout).items():
            self._result(answer, f"deleting topic {name}")

    def delete_groups(self, names: Iterable[str]) -> None:
        """Delete groups without members, with their offsets; those that do not exist are passed over."""
        existing = [name for name in names if name in self.groups()]
        if existing:
            for name, answer in self._admin.delete_consumer_groups(existing, request_timeout=self._timeout).items():
                self._result(answer, f"deleting group {name}")

    def ranges(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Range]:
        """Return what each partition holds, up to its high watermark (READ_UNCOMMITTED).

        A restore has to go that far: behind the last stable offset there may be records whose transaction is
        committed, only its marker has not arrived there yet.
        """
        asked = list(partitions)
        starts, ends = self._offsets([Assigned(*tp) for tp in asked], OffsetSpec.earliest()), self.ends(asked)
        return {tp: Range(starts[tp], ends[tp]) for tp in starts}

    def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the high watermark of each partition."""
        return self._offsets([Assigned(*tp) for tp in partitions], OffsetSpec.latest())

    def offsets_at(self, partitions: Iterable[TopicPartition], timestamp_ms: int) -> dict[TopicPartition, int | None]:
        """Return the offset of each partition's first record of that time or later; None where there is none yet."""
        found = self._offsets([Assigned(*tp) for tp in partitions], OffsetSpec.for_timestamp(timestamp_ms))
        return {tp: None if offset < 0 else offset for tp, offset in found.items()}

    def committed(self, group: str) -> dict[TopicPartition, int]:
        """Return the committed offsets of a group."""
        return self._asked_as_member(group, self._every_partition(group))

    def lag(self, group: str, topic: str | None = None) -> dict[TopicPartition, int]:
        """Return how many records each committed partition is behind; 0 behind a transaction marker."""
        committed = {tp: at for tp, at in self.committed(group).items() if topic in {None, tp.topic}}
        ranges = self.ranges(committed)
        return {tp: max(0, ranges[tp].end - at) for tp, at in committed.items()}

    def groups(self) -> dict[str, str]:
        """Return every group with its state."""
        listed = self._result(self._admin.list_consumer_groups(request_timeout=self._timeout), "listing groups")
        for error in listed.errors:
            raise translate(error, "listing groups", self._servers)
        return {group.group_id: group.state.name for group in listed.valid}

    def group(self, name: str) -> Group:
        """Describe one group.

        Raises:
            UsageError: there is no such group.
        """
        if name not in self.groups():
            raise UsageError(f"there is no group {name}", fix="`streams group list` shows what there is")
        self._asked_as_member(
            name, self._every_partition(name)[:1]
        )  # one is enough to wait for the coordinator, see there
        answer = self._admin.describe_consumer_groups([name], request_timeout=self._timeout)[name]
        described = self._result(answer, f"describing group {name}")
        return Group(name, described.state.name, [_member(member) for member in described.members])

    def _well(self, answers: Mapping[str, Any], passed_over: int, doing: str) -> Iterator[str]:
        """Yield the topics whose answer is no error; one error code is passed over."""
        for name, answer in answers.items():
            try:
                answer.result()
                yield name
            except KafkaException as raised:
                if error_of(raised).code() != passed_over:
                    raise translate(error_of(raised), f"{doing} topic {name}", self._servers) from raised

    def _offsets(self, asked: list[Assigned], spec: OffsetSpec) -> dict[TopicPartition, int]:
        """Ask until the brokers agree with the client on who leads: it does not look again by itself (measured)."""
        deadline = time.monotonic() + self._timeout
        while asked:
            answers = self._admin.list_offsets(
                dict.fromkeys(asked, spec),
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=self._timeout,
            )
            try:
                found = {TopicPartition(tp.topic, tp.partition): answer.result() for tp, answer in answers.items()}
            except KafkaException as raised:
                known = self._metadata("asking who leads the partitions").topics
                stale = error_of(raised).code() in _STALE_LEADER and all(tp.topic in known for tp in asked)
                if not stale or time.monotonic() > deadline:
                    raise translate(error_of(raised), "asking for offsets", self._servers) from raised
                time.sleep(_LEADER_WAIT)
            else:
                return {tp: info.offset for tp, info in found.items()}
        return {}

    def _every_partition(self, group: str) -> list[Assigned]:
        topics = self._metadata(f"asking for the topics of group {group}").topics
        return [Assigned(name, number) for name, topic in topics.items() for number in topic.partitions]

    def _asked_as_member(self, group: str, partitions: list[Assigned]) -> dict[TopicPartition, int]:
        """Ask for committed offsets with a consumer that never joins.

        Asked by an admin client while no broker is the group's coordinator, as for a moment after a start, librdkafka
        ends the process: its issue 5040, and an assertion for requests that then time out (both seen with 2.16).
        """
        if not partitions:
            return {}
        doing = f"asking for the offsets of group {group}"
        if group not in self._members:
            client = {**common(self._settings, f"{group}-admin", "C"), "group.id": group, "enable.auto.commit": False}
            self._members[group] = made(Consumer, {**client, "isolation.level": "read_uncommitted"})
        deadline = time.monotonic() + self._timeout
        while True:
            answered, failed = self._committed(group, partitions)
            if failed is None:
                return {TopicPartition(tp.topic, tp.partition): tp.offset for tp in answered if tp.offset >= 0}
            if failed.code() not in _NO_COORDINATOR or time.monotonic() > deadline:
                raise translate(failed, doing, self._servers)
            time.sleep(_LEADER_WAIT)

    def _committed(self, group: str, partitions: list[Assigned]) -> tuple[list[Assigned], KafkaError | None]:
        try:
            answered = self._members[group].committed(partitions, self._timeout)
        except KafkaException as raised:
            return [], error_of(raised)
        return answered, next((tp.error for tp in answered if tp.error is not None), None)

    def _metadata(self, doing: str) -> Any:
        try:
            return self._admin.list_topics(timeout=self._timeout)
        except KafkaException as raised:
            raise translate(error_of(raised), doing, self._servers) from raised

    def _result(self, answer: Future[T], doing: str) -> T:
        try:
            return answer.result()
        except KafkaException as raised:
            raise translate(error_of(raised), doing, self._servers) from raised


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition where producers in Java and here put a key."""
    return int(murmur2(key, partitions))


def _member(member: Any) -> Member:
    assigned = member.assignment.topic_partitions if member.assignment else []
    partitions = [TopicPartition(tp.topic, tp.partition) for tp in assigned]
    return Member(member.member_id, member.group_instance_id or "", member.client_id, member.host, sorted(partitions))
