"""What the admin client makes of answers that a broker gives while it starts."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.errors import StreamsError, UnreachableError
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
        self.offsets: list[Any] = [SimpleNamespace(offset=7)]

    def list_offsets(self, asked: dict[Any, Any], **_: Any) -> dict[Any, Future[Any]]:
        self.asked.append("offsets")
        found = self._next(self.offsets)
        return {partition: answer(found) for partition in asked}

    def list_topics(self, **_: Any) -> Any:
        self.asked.append("topics")
        return SimpleNamespace(topics={"posts": SimpleNamespace(partitions={0: None, 1: None}, error=None)})

    def _next(self, answers: list[Any]) -> Any:
        return answers.pop(0) if len(answers) > 1 else answers[0]


class Member:
    """Stands for a consumer, which answers for offsets with what it is given: offsets or an error.

    Before it does, it fails as often as it is told to.
    """

    failures: list[int]

    made: list[dict[str, Any]]
    answer: Any

    def __init__(self, config: dict[str, Any]) -> None:
        Member.made.append(config)

    def committed(self, partitions: list[TopicPartition], _timeout: float) -> list[TopicPartition]:
        if Member.failures:
            raise KafkaException(KafkaError(Member.failures.pop()))
        if isinstance(Member.answer, KafkaException):
            raise Member.answer
        for partition, offset in zip(partitions, Member.answer, strict=True):
            partition.offset = offset
        return partitions


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    monkeypatch.setattr(module, "AdminClient", lambda *_, **__: made)
    monkeypatch.setattr(module, "_LEADER_WAIT", 0.0)
    monkeypatch.setattr(module, "Consumer", Member)
    Member.made, Member.answer, Member.failures = [], [5, -1001], []
    return made


@pytest.fixture
def admin(broker: Broker) -> Admin:
    del broker  # has to be there first
    return Admin(Settings(bootstrap_servers="b:1"), timeout=0.2)


def test_offsets_are_asked_for_by_a_member_that_never_joins(broker: Broker, admin: Admin) -> None:
    """An admin client that asks while there is no coordinator takes the process down (librdkafka 5040)."""
    for _ in range(2):
        assert admin.committed("app.copy") == {Partition("posts", 0): 5}
    assert broker.asked == ["topics"] * 2
    [config] = Member.made
    assert config["group.id"] == "app.copy"
    assert config["isolation.level"] == "read_uncommitted", "it would wait for open transactions"
    assert config["enable.auto.commit"] is False


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize(
    ("code", "error"), [(KafkaError._TIMED_OUT, UnreachableError), (KafkaError.NOT_COORDINATOR, StreamsError)]
)
def test_offsets_that_are_not_to_be_had_are_told(admin: Admin, code: int, error: type[StreamsError]) -> None:
    Member.answer = KafkaException(KafkaError(code))
    with pytest.raises(error, match=r"asking for the offsets of group app\.copy"):
        admin.committed("app.copy")


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("code", sorted(module._NO_COORDINATOR))
def test_a_coordinator_that_is_only_just_back_is_asked_again(admin: Admin, code: int) -> None:
    Member.failures = [code, code]
    assert admin.committed("app.copy") == {Partition("posts", 0): 5}
    assert Member.failures == []


@pytest.mark.parametrize("code", sorted(module._STALE_LEADER))
def test_a_stale_idea_of_who_leads_is_renewed(broker: Broker, admin: Admin, code: int) -> None:
    broker.offsets = [code, SimpleNamespace(offset=3), SimpleNamespace(offset=9)]
    assert admin.ranges([Partition("posts", 0)]) == {Partition("posts", 0): (3, 9)}
    assert broker.asked == ["offsets", "topics", "offsets", "offsets"]
    broker.offsets = [SimpleNamespace(offset=9)]
    assert admin.ends([Partition("posts", 0)]) == {Partition("posts", 0): 9}
    assert broker.asked[4:] == ["offsets"]


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


def test_topics_are_described_with_what_is_allowed_there(broker: Broker, admin: Admin) -> None:
    """Of one that may not even be looked at nothing is known; one that does not exist is left out."""
    read = [SimpleNamespace(name="READ"), SimpleNamespace(name="DESCRIBE")]
    answers = {
        "posts": SimpleNamespace(partitions=[0, 1], authorized_operations=read),
        "older": SimpleNamespace(partitions=[0], authorized_operations=None),
        "secret": KafkaError.TOPIC_AUTHORIZATION_FAILED,
        "nobody": KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
    asked: dict[str, Any] = {}

    def describe(_topics: object, **options: Any) -> dict[str, Future[Any]]:
        asked.update(options)
        return {name: answer(found) for name, found in answers.items()}

    broker.describe_topics = describe  # type: ignore[attr-defined] # a double
    assert admin.described([*answers, "posts"]) == {
        "posts": (2, frozenset({"READ", "DESCRIBE"})),
        "older": (1, None),
        "secret": (0, frozenset()),
    }
    assert asked["include_authorized_operations"] is True
    answers["posts"] = KafkaError._TIMED_OUT
    with pytest.raises(UnreachableError, match="looking for topic posts"):
        admin.described(answers)
