"""Whose fault an error of Kafka is: a record's, a person's who has to grant or make something, or nobody's."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.errors import AbortedError, FencedError, SendError
from streams.kafka.errors import FORBIDDEN, RECORD_FAULTS, refused, translate
from streams.kafka.producer import AtLeastOnceProducer, TransactionalProducer
from streams.record import Record

REMEDIES = {
    KafkaError.MSG_SIZE_TOO_LARGE: "max.message.bytes of shop.dlq",
    KafkaError.INVALID_TIMESTAMP: "message.timestamp.before.max.ms",
    KafkaError.INVALID_RECORD: "cleanup.policy of shop.dlq",
}
NO_RECORDS_FAULT = [
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.POLICY_VIOLATION,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._PURGE_QUEUE,
]


def test_a_record_that_is_refused_names_the_topic_and_the_remedy() -> None:
    assert REMEDIES.keys() == RECORD_FAULTS.keys()
    for code, remedy in REMEDIES.items():
        error = refused(KafkaError(code, "no"), "shop.dlq")
        assert isinstance(error.fault, SendError)
        assert (error.fault.topic, str(error.fault), str(error)) == ("shop.dlq", "shop.dlq: no", "shop.dlq: no")
        assert remedy in error.fault.fix


@pytest.mark.parametrize("code", NO_RECORDS_FAULT)
def test_a_topic_that_is_missing_forbidden_or_away_is_no_records_fault(code: int) -> None:
    error = refused(KafkaError(code, "no"), "shop.dlq")
    assert error.fault is None
    assert str(error) == "shop.dlq: no"


@pytest.mark.parametrize("fatal", [False, True])
def test_what_is_forbidden_is_for_people_to_mend(fatal: bool) -> None:
    """A transactional id that is forbidden breaks the client for good; a fresh one would break again."""
    assert len(FORBIDDEN) == 4
    for code in FORBIDDEN:
        error = translate(KafkaError(code, "no", fatal=fatal), "reading shop.redrive", "b:1")
        assert error.exit_code == 4
        assert "Kafka forbids reading shop.redrive: no" in str(error)
        assert "grant it" in error.fix


class Refusing:
    """Confluent's producer, which takes no record."""

    error: KafkaError

    def __init__(self, _config: object) -> None:
        pass

    def init_transactions(self, _timeout: float) -> None:
        """It works."""

    def begin_transaction(self) -> None:
        """It works."""

    def produce(self, *_: Any, **__: Any) -> None:
        raise KafkaException(self.error)


@pytest.mark.parametrize(
    ("code", "fatal", "kind", "blames"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, False, AbortedError, True),
        (KafkaError._UNKNOWN_TOPIC, False, AbortedError, False),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, False, AbortedError, False),
        (KafkaError._FENCED, True, FencedError, False),
    ],
)
def test_what_is_not_even_taken_is_told_likewise(
    monkeypatch: pytest.MonkeyPatch, code: int, fatal: bool, kind: type[Exception], blames: bool
) -> None:
    monkeypatch.setattr("streams.kafka.sending.Producer", Refusing)
    Refusing.error = KafkaError(code, "no", fatal=fatal)
    names = {"client.id": "slot", "transactional.id": "slot", "bootstrap.servers": "b:1"}
    transactional = TransactionalProducer(names, 0.1)
    with pytest.raises(kind) as raised:
        transactional.send([Record("shop.dlq", None, b"", 0)])
    assert isinstance(getattr(raised.value, "fault", None), SendError) == blames
    if not fatal:
        with pytest.raises(AbortedError, match=r"shop\.dlq: no") as plain:
            AtLeastOnceProducer(names, 0.1, lambda _offsets: None).send([Record("shop.dlq", None, b"", 0)])
        assert isinstance(plain.value.fault, SendError) == blames
