"""What our clients do around Confluent's: the traps that were measured or read in its source."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.errors import FencedError, StreamsError, UsageError
from streams.kafka import config, consumer
from streams.kafka.admin import Admin
from streams.kafka.consumer import GroupConsumer, Reader
from streams.kafka.producer import TransactionalProducer
from streams.record import TopicPartition
from streams.settings import load_settings

ZERO, ONE = TopicPartition("in", 0), TopicPartition("in", 1)


class Inner:
    """Notes what is called on Confluent's consumer."""

    def __init__(self, _config: object = None) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.subscribed: dict[str, Any] = {}

    def subscribe(self, _topics: list[str], **callbacks: Any) -> None:
        self.subscribed = callbacks

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            shown = [[(tp.topic, tp.partition, tp.offset) for tp in a] if isinstance(a, list) else a for a in arguments]
            self.calls.append((name, shown[0] if shown else None))
            return self.answers.get(name)

        return call


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> GroupConsumer:
    monkeypatch.setattr(consumer, "Consumer", Inner)
    return GroupConsumer({"bootstrap.servers": "b:1", "group.id": "g"})


def inner(client: Any) -> Inner:
    found: Inner = client._consumer
    return found


def test_an_assigned_partition_flows_whatever_it_was_in_an_earlier_life(group: GroupConsumer) -> None:
    """A pause survives unassign and assign (measured)."""
    group.assign({ZERO: 5, ONE: None})
    names = [name for name, _ in inner(group).calls]
    assert names == ["incremental_assign", "resume"]
    assert inner(group).calls[0][1] == [("in", 0, 5), ("in", 1, -2)]
    assert {place[:2] for place in inner(group).calls[1][1]} == {("in", 0), ("in", 1)}


def test_a_restart_resumes_before_it_seeks(group: GroupConsumer) -> None:
    """The other order lets the fetcher sleep for a second (measured)."""
    group.restart({ZERO: 5})
    assert [name for name, _ in inner(group).calls] == ["resume", "seek"]


def answer(partition: int, offset: int, error: object = None) -> Any:
    return SimpleNamespace(topic="in", partition=partition, offset=offset, error=error)


def test_committed_offsets_and_partitions_without_one(group: GroupConsumer) -> None:
    inner(group).answers["committed"] = [answer(0, 7), answer(1, -1001)]
    assert group.committed([ZERO, ONE], 1) == {ZERO: 7, ONE: None}


def test_an_offset_that_could_not_be_read_is_not_taken_for_none(group: GroupConsumer) -> None:
    """INV-10: or the partition would be processed from the beginning again."""
    inner(group).answers["committed"] = [answer(0, 7), answer(1, -1001, KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT))]
    with pytest.raises(FencedError):
        group.committed([ZERO, ONE], 1)


def test_what_a_listener_raises_comes_out_of_poll(group: GroupConsumer) -> None:
    """Nothing may be raised through C, and the partitions are given up all the same."""

    class Listener:
        def on_assigned(self, partitions: object) -> None:
            raise StreamsError(f"cannot take {partitions}")

        on_revoked = on_lost = on_assigned

    group.subscribe("in", Listener())
    partitions = [SimpleNamespace(topic="in", partition=0, offset=-1001)]
    for callback in ("on_revoke", "on_lost"):
        inner(group).subscribed[callback](None, partitions)
        assert inner(group).calls[-1][0] == "incremental_unassign"
        inner(group).answers["consume"] = []
        with pytest.raises(StreamsError, match="cannot take"):
            group.poll(1, 0)
        group.poll(1, 0)


class Message:
    def __init__(self, offset: int, code: int | None = None, partition: int = 0) -> None:
        self._offset, self._code, self._partition = offset, code, partition

    def error(self) -> KafkaError | None:
        return None if self._code is None else KafkaError(self._code)

    def __getattr__(self, name: str) -> Any:
        values = {
            "topic": "in",
            "partition": self._partition,
            "offset": self._offset,
            "key": b"k",
            "value": b"v",
            "timestamp": (1, 99),
            "headers": None,
        }
        return lambda: values[name]


def test_records_and_ends_are_told_apart(group: GroupConsumer) -> None:
    inner(group).answers["consume"] = [Message(4), Message(6, KafkaError._PARTITION_EOF, 1)]
    polled = group.poll(1, 0)
    assert [(record.origin, record.offset, record.timestamp_ms) for record in polled.records] == [(ZERO, 4, 99)]
    assert polled.ends == {ONE: 6}


def test_only_a_poll_that_may_wait_waits_for_more_than_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[tuple[int, float]] = []

    class Waits(Inner):
        def consume(self, most: int, timeout: float) -> list[Message]:
            waits.append((most, timeout))
            return [Message(4)] if most == 1 else []

    monkeypatch.setattr(consumer, "Consumer", Waits)
    lingers = GroupConsumer({"bootstrap.servers": "b:1", "group.id": "g"}, 0.005)
    lingers.poll(500, 0.05)
    lingers.poll(500, 0.0)
    lingers.poll(1, 0.05)
    assert waits == [(1, 0.05), (499, 0.005), (1, 0.0), (499, 0), (1, 0.05)]


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [(KafkaError._AUTO_OFFSET_RESET, 4), (KafkaError.TOPIC_AUTHORIZATION_FAILED, 4), (KafkaError._TRANSPORT, None)],
)
def test_errors_of_the_consumer(group: GroupConsumer, code: int, exit_code: int | None) -> None:
    """Offsets that are gone need a decision; a broker that is away is waited for."""
    inner(group).answers["consume"] = [Message(0, code)]
    if exit_code is None:
        assert group.poll(1, 0).records == []
        return
    with pytest.raises(StreamsError) as raised:
        group.poll(1, 0)
    assert raised.value.exit_code == exit_code


def test_a_reader_gives_only_what_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "Consumer", Inner)
    reader = Reader({"bootstrap.servers": "b:1"})
    assert reader.poll(5, 0).records == []
    reader.follow({ZERO: None})
    inner(reader).answers["consume"] = [Message(0), Message(3), Message(9, KafkaError._PARTITION_EOF, 1)]
    polled = reader.poll(1, 0)
    assert [record.offset for record in polled.records] == [0, 3]
    assert polled.ends == {}  # nobody follows that one
    reader.follow({ONE: 7})
    assert inner(reader).calls[-1] == ("incremental_assign", [("in", 1, 7)])
    reader.unfollow([ZERO])
    assert inner(reader).calls[-1][0] == "incremental_unassign"


def test_a_value_that_the_client_refuses_is_the_users_to_correct() -> None:
    """No traceback, and no worker that is started again and again: exit code 2."""
    settings = load_settings(
        command_line={"bootstrap_servers": "localhost:1", "kafka": {"socket.timeout.ms": "soon"}, "state_dir": None}
    )
    late = load_settings(command_line={"bootstrap_servers": "localhost:1", "kafka": {"message.timeout.ms": "999999"}})
    for refused in (
        lambda: Admin(settings),
        lambda: GroupConsumer(config.group_consumer(settings, "g", "i")),
        lambda: Reader(config.reader(settings, "r")),
        lambda: TransactionalProducer(config.transactional_producer(late, "t"), 1.0),
    ):
        with pytest.raises(UsageError) as raised:
            refused()
        assert "timeout.ms" in str(raised.value)


class InnerProducer:
    """Confluent's producer with an answer for each call: an exception to raise, or nothing."""

    def __init__(self, _config: object = None) -> None:
        self.calls: list[str] = []
        self.failures: dict[str, list[Exception]] = {}
        Made.producers.append(self)

    def __getattr__(self, name: str) -> Any:
        def call(*_arguments: Any, **_named: Any) -> int:
            self.calls.append(name)
            failures = self.failures.get(name)
            if failures:
                raise failures.pop(0)
            return 0

        return call


class Made:
    producers: list[InnerProducer]


@pytest.fixture
def transactional(monkeypatch: pytest.MonkeyPatch) -> TransactionalProducer:
    Made.producers = []
    monkeypatch.setattr("streams.kafka.sending.Producer", InnerProducer)
    return TransactionalProducer({"bootstrap.servers": "b:1", "transactional.id": "t"}, 0.2)


def failed(code: int, **flags: bool) -> KafkaException:
    return KafkaException(KafkaError(code, "told", **flags))


def test_a_call_with_an_unknown_outcome_is_repeated_and_the_producer_replaced(
    transactional: TransactionalProducer,
) -> None:
    """Only a new epoch fences a late request (librdkafka#5423)."""
    [first] = Made.producers
    first.failures["commit_transaction"] = [failed(KafkaError._TIMED_OUT, retriable=True)]
    transactional.commit({ZERO: 1}, object())
    assert first.calls.count("commit_transaction") == 2
    transactional.begin()
    assert len(Made.producers) == 2
    assert Made.producers[1].calls == ["init_transactions", "begin_transaction"]


def test_an_outcome_that_stays_unknown_ends_the_worker(transactional: TransactionalProducer) -> None:
    """INV-2: neither commit nor rewind may be assumed. Who is refused at once does not ask without a pause."""
    [first] = Made.producers
    first.failures["commit_transaction"] = [failed(KafkaError._TIMED_OUT, retriable=True)] * 1_000_000
    with pytest.raises(FencedError):
        transactional.commit({ZERO: 1}, object())
    assert 2 <= first.calls.count("commit_transaction") <= 20


def test_an_error_that_is_neither_retriable_nor_abortable_ends_the_worker(
    transactional: TransactionalProducer,
) -> None:
    Made.producers[0].failures["send_offsets_to_transaction"] = [failed(KafkaError.UNKNOWN)]
    with pytest.raises(FencedError):
        transactional.commit({ZERO: 1}, object())
    assert "commit_transaction" not in Made.producers[0].calls


def test_closing_rolls_back_and_an_abort_is_followed_by_a_fresh_producer(transactional: TransactionalProducer) -> None:
    transactional.begin()
    transactional.abort()
    transactional.abort()
    assert Made.producers[0].calls.count("abort_transaction") == 1
    transactional.begin()
    assert len(Made.producers) == 2
    transactional.close()
    assert Made.producers[1].calls[-1] == "abort_transaction"
