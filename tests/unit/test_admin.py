"""What the admin client makes of answers that a broker gives while it starts."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.errors import StreamsError
from streams.kafka import admin as module
from streams.kafka.admin import Admin
from streams.record import TopicPartition as Partition
from streams.settings import Settings


def answer(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(value, int):
        future.set_exception(KafkaException(KafkaError(value)))
    else:
        future.set_result(value)
    return future


class Broker:
    """Stands for the client: answers as told, the last answer again and again, and notes what it was asked."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.asked: list[str] = []
        self.coordinator: list[Any] = [SimpleNamespace()]
        self.offsets: list[Any] = [SimpleNamespace(offset=7)]

    def describe_consumer_groups(self, groups: list[str], **_: Any) -> dict[str, Future[Any]]:
        self.asked.append("group")
        return {groups[0]: answer(self._next(self.coordinator))}

    def list_consumer_group_offsets(self, asked: list[Any], **_: Any) -> dict[str, Future[Any]]:
        self.asked.append("committed")
        committed = SimpleNamespace(topic_partitions=[TopicPartition("posts", 0, 5), TopicPartition("posts", 1, -1001)])
        return {asked[0].group_id: answer(committed)}

    def list_offsets(self, asked: dict[Any, Any], **_: Any) -> dict[Any, Future[Any]]:
        self.asked.append("offsets")
        found = self._next(self.offsets)
        return {partition: answer(found) for partition in asked}

    def list_topics(self, **_: Any) -> Any:
        self.asked.append("topics")
        return SimpleNamespace(topics={"posts": None})

    def _next(self, answers: list[Any]) -> Any:
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    monkeypatch.setattr(module, "AdminClient", lambda *_, **__: made)
    monkeypatch.setattr(module, "_LEADER_WAIT", 0.0)
    return made


@pytest.fixture
def admin(broker: Broker) -> Admin:
    del broker  # has to be there first
    return Admin(Settings(bootstrap_servers="b:1"), timeout=0.2)


@pytest.mark.parametrize("absent", sorted(module._NO_COORDINATOR))
def test_offsets_are_asked_for_only_once_a_coordinator_answers(broker: Broker, admin: Admin, absent: int) -> None:
    broker.coordinator = [absent, absent, SimpleNamespace()]
    assert admin.committed("app.copy") == {Partition("posts", 0): 5}
    assert broker.asked == ["group"] * 3 + ["committed"]


def test_a_group_that_is_unknown_has_no_offsets_to_wait_for(broker: Broker, admin: Admin) -> None:
    broker.coordinator = [KafkaError.GROUP_ID_NOT_FOUND]
    admin.committed("app.copy")
    assert broker.asked == ["group", "committed"]


@pytest.mark.parametrize("code", [KafkaError.NOT_COORDINATOR, KafkaError.GROUP_AUTHORIZATION_FAILED])
def test_without_a_coordinator_offsets_are_never_asked_for(broker: Broker, admin: Admin, code: int) -> None:
    broker.coordinator = [code]
    with pytest.raises(StreamsError, match=r"coordinator of group app\.copy"):
        admin.committed("app.copy")
    assert "committed" not in broker.asked


@pytest.mark.parametrize("code", sorted(module._STALE_LEADER))
def test_a_stale_idea_of_who_leads_is_renewed(broker: Broker, admin: Admin, code: int) -> None:
    broker.offsets = [code, SimpleNamespace(offset=3), SimpleNamespace(offset=9)]
    assert admin.ranges([Partition("posts", 0)]) == {Partition("posts", 0): (3, 9)}
    assert broker.asked == ["offsets", "topics", "offsets", "offsets"]


def test_a_topic_that_does_not_exist_is_told_at_once(broker: Broker, admin: Admin) -> None:
    broker.offsets = [KafkaError._NOENT]
    with pytest.raises(StreamsError, match="asking for offsets"):
        admin.ranges([Partition("nobody", 0)])
    assert broker.asked == ["offsets", "topics"]


def test_a_leader_that_does_not_come_is_told_after_the_timeout(broker: Broker, admin: Admin) -> None:
    broker.offsets = [KafkaError.FENCED_LEADER_EPOCH]
    with pytest.raises(StreamsError, match="asking for offsets"):
        admin.ranges([Partition("posts", 0)])
    assert broker.asked.count("offsets") > 2
