"""The clients without transactions: what was not delivered is sent again, and only an owner commits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.errors import AbortedError, FencedError, SendError, UsageError
from streams.kafka.consumer import GroupConsumer
from streams.kafka.producer import AtLeastOnceProducer
from streams.record import RawRecord, Record, TopicPartition
from streams.settings import load_settings

ZERO = TopicPartition("plain.in", 0)


# ---- the clients ----


class InnerProducer:
    """Confluent's producer: what it refuses it tells the delivery callback of, when it is flushed."""

    made: list[InnerProducer]

    def __init__(self, config: dict[str, Any]) -> None:
        self._told = config["on_delivery"]
        self._waiting: list[tuple[str, Callable[..., None]]] = []
        self.purged = False
        self.stuck = 0
        self.made.append(self)

    def produce(self, topic: str, *_: Any, on_delivery: Callable[..., None] | None = None, **__: Any) -> None:
        if topic == "at once":
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large"))
        self._waiting.append((topic, on_delivery or self._told))

    def poll(self, _timeout: float) -> int:
        return 0

    def flush(self, _timeout: float) -> int:
        codes = {"large": KafkaError.MSG_SIZE_TOO_LARGE, "late": KafkaError._MSG_TIMED_OUT}
        for topic, told in self._waiting:
            self._told_of = topic
            told(KafkaError(codes[topic], topic) if topic in codes else None, self)
        self._waiting.clear()
        return self.stuck

    def topic(self) -> str:
        return self._told_of

    def offset(self) -> int:
        return 41

    def purge(self) -> None:
        self.purged = True


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[TopicPartition, int]]:
    InnerProducer.made = []
    monkeypatch.setattr("streams.kafka.sending.Producer", InnerProducer)
    return []


@pytest.fixture
def producer(commits: list[Mapping[TopicPartition, int]]) -> AtLeastOnceProducer:
    return AtLeastOnceProducer({"client.id": "slot"}, 0.05, commits.append)


def record(topic: str) -> RawRecord:
    return Record(topic, b"key", b"value", 0)


def test_offsets_are_committed_and_the_producer_is_kept(
    producer: AtLeastOnceProducer, commits: list[Mapping[TopicPartition, int]]
) -> None:
    offsets: list[int] = []
    producer.send([record("fine")])
    producer.send_tracked(record("fine"), offsets.append)
    producer.flush()
    producer.commit({ZERO: 3}, None)
    producer.close()

    assert offsets == [41]
    assert commits == [{ZERO: 3}]
    assert len(InnerProducer.made) == 1
    assert not InnerProducer.made[0].purged


@pytest.mark.parametrize(("topic", "blames"), [("large", True), ("late", False), ("at once", True)])
@pytest.mark.parametrize("tracked", [True, False])
def test_a_record_that_was_not_delivered_aborts_and_the_producer_is_replaced(
    topic: str, blames: bool, tracked: bool, producer: AtLeastOnceProducer
) -> None:
    def send() -> None:
        if tracked:
            producer.send_tracked(record(topic), lambda _offset: None)
        else:
            producer.send([record("fine"), record(topic)])
        producer.flush()

    with pytest.raises(AbortedError) as raised:
        send()
    producer.abort()
    producer.abort()
    assert len(InnerProducer.made) == 1
    producer.send([record("fine")])
    producer.flush()

    assert isinstance(raised.value.fault, SendError) == blames
    assert str(raised.value).startswith(f"{topic}: ")
    assert not isinstance(raised.value.fault, SendError) or raised.value.fault.topic == topic
    assert InnerProducer.made[0].purged
    assert len(InnerProducer.made) == 2


def test_records_that_the_broker_does_not_acknowledge_abort(producer: AtLeastOnceProducer) -> None:
    InnerProducer.made[0].stuck = 2
    producer.send([record("fine")])

    with pytest.raises(AbortedError, match="2 records were not acknowledged"):
        producer.flush()


class Answered(NamedTuple):
    """Stands for a partition in the answer to a commit."""

    error: KafkaError | None


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError.ILLEGAL_GENERATION, AbortedError),
        (KafkaError.UNKNOWN_MEMBER_ID, AbortedError),
        (KafkaError.REBALANCE_IN_PROGRESS, AbortedError),
        (KafkaError._TIMED_OUT, AbortedError),
        (KafkaError.FENCED_INSTANCE_ID, FencedError),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_an_owner_that_is_none_any_more_does_not_commit(
    code: int, expected: type[Exception], whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = KafkaError(code, "told")
    answer = KafkaException(error) if whole else [Answered(None), Answered(error)]

    with pytest.raises(expected, match="could not be committed"):
        consumer_that_answers(answer, monkeypatch).commit({ZERO: 3})


def test_a_commit_that_is_answered_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer_that_answers([Answered(None)], monkeypatch).commit({ZERO: 3})


def consumer_that_answers(answer: Any, monkeypatch: pytest.MonkeyPatch) -> GroupConsumer:
    class Told:
        def __init__(self, _config: object) -> None:
            """Connect to nothing."""

        def commit(self, *, offsets: list[Any], asynchronous: bool) -> Any:
            assert not asynchronous
            assert [(one.topic, one.partition, one.offset) for one in offsets] == [(*ZERO, 3)]
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setattr("streams.kafka.consumer.Consumer", Told)
    return GroupConsumer({"bootstrap.servers": "b:1", "group.id": "g"})


def test_the_guarantee_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(file=Path("none")).guarantee == "exactly_once"
    monkeypatch.setenv("STREAMS_GUARANTEE", "at_least_once")
    assert load_settings(file=Path("none")).guarantee == "at_least_once"
    with pytest.raises(UsageError, match="guarantee"):
        load_settings(command_line={"guarantee": "at_most_once"}, file=Path("none"))
