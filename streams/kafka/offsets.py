"""A group's committed offsets, read and set from outside the group.

An admin client that is asked for a group's offsets while no broker is the group's coordinator ends the process
(librdkafka#5040, see `admin`). So it is done by a consumer that never joins, as `Admin.committed` does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Assigned

from streams.errors import IncompatibleError, StreamsError
from streams.kafka.config import common
from streams.kafka.errors import error_of, made, translate
from streams.record import TopicPartition
from streams.settings import Settings


class Place(NamedTuple):
    """A committed offset and the text that was committed with it."""

    offset: int
    note: str = ""


class GroupOffsets:
    """Reads and commits a group's offsets without being a member; as a context it closes itself."""

    def __init__(self, settings: Settings, group: str, timeout: float) -> None:
        """`timeout` bounds each call in seconds."""
        client = common(settings, f"{group}-offsets", "C")
        self._servers = client["bootstrap.servers"]
        self._group = group
        self._timeout = timeout
        self._consumer = made(Consumer, {**client, "group.id": group, "enable.auto.commit": False})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Place]:
        """Return what is committed, where anything is; open transactions are waited for."""
        asked = [Assigned(*tp) for tp in partitions]
        try:
            answered = self._consumer.committed(asked, self._timeout)
        except KafkaException as raised:
            raise self._refused(error_of(raised), "asking for") from raised
        for failed in (tp.error for tp in answered if tp.error is not None):
            raise self._refused(failed, "asking for")
        known = (tp for tp in answered if tp.offset >= 0)
        return {TopicPartition(tp.topic, tp.partition): Place(tp.offset, tp.metadata or "") for tp in known}

    def commit(self, places: Mapping[TopicPartition, Place]) -> None:
        """Commit offsets; the broker itself refuses that while the group has members.

        Raises:
            IncompatibleError: it has; nothing was committed.
        """
        try:
            answered = self._consumer.commit(offsets=assigned(places), asynchronous=False)
        except KafkaException as raised:
            raise self._refused(error_of(raised), "setting") from raised
        for failed in (tp.error for tp in answered or () if tp.error is not None):
            raise self._refused(failed, "setting")

    def membership(self) -> Any:
        """Return what a producer sends offsets to the group with. The broker takes them although there are members."""
        return self._consumer.consumer_group_metadata()

    def _refused(self, error: KafkaError, doing: str) -> StreamsError:
        if error.code() in {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION}:
            return IncompatibleError(
                f"a worker joined group {self._group} meanwhile; its offsets are as they were",
                fix="stop its workers, then try again",
            )
        return translate(error, f"{doing} the offsets of group {self._group}", self._servers)


def assigned(places: Mapping[TopicPartition, Place]) -> list[Assigned]:
    """Return places as the client takes them."""
    return [Assigned(tp.topic, tp.partition, at.offset, metadata=at.note) for tp, at in places.items()]
