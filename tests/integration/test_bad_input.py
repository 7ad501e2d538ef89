"""What real workers do with records, services and topics that are not as they should be."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from live import app as processors
from live.app import LIMIT
from live.events import Appended
from live.items import KEYS, PER_KEY, by_key, good
from live.kcat import Kcat
from live.workers import Live

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.avro.wire import header
from streams.record import RawRecord, Record
from streams.schema_lookup import UNKNOWN_FOR
from streams.topology import TopicSpec

pytestmark = pytest.mark.integration

HEADERS = (("trace", b"7"), ("trace", b"8"), ("empty", b""), ("null", None))
UNKNOWN_ID = 900_001
GIVES_UP = 20.0  # seconds: 15 of waiting, and the start of two processes on a busy machine


class Bad(NamedTuple):
    """A record that is refused, and the reason that its dead letter gives."""

    record: RawRecord
    stage: str
    kind: str
    message: str


def between(records: list[RawRecord], others: Iterable[RawRecord]) -> list[RawRecord]:
    """Put other records among the first half of the records, so that good ones follow every bad one."""
    mixed = list(records)
    for place, other in enumerate(others, 1):
        mixed.insert(place * 7, other)
    return mixed


def check_dead_letters(live: Live, kcat: Kcat, processor: str, bad: list[Bad]) -> None:
    """Each bad record is one dead letter with everything it had, and its reason."""
    topic = live.app.processors[processor].dead_letter_topic
    letters = {(letter.key, letter.value): letter for letter in live.read(topic)}
    sources = {(record.key, record.value): record for record in live.read(live.topic("items"))}
    assert kcat.count(topic) == len(letters) == len(bad) > 0
    for expected in bad:
        identity = expected.record.key, expected.record.value
        letter, source = letters[identity], sources[identity]
        assert letter.headers[: len(HEADERS)] == HEADERS
        assert letter.timestamp_ms == expected.record.timestamp_ms
        reason = {name: (value or b"").decode() for name, value in letter.headers[len(HEADERS) :]}
        assert expected.message in reason.pop("__connect.errors.exception.message")
        assert reason.pop("__connect.errors.exception.class.name")
        assert (
            reason.items()
            >= {
                "__connect.errors.connector.name": live.app.processors[processor].group,
                "__connect.errors.task.id": str(source.partition),
                "__connect.errors.topic": source.topic,
                "__connect.errors.partition": str(source.partition),
                "__connect.errors.offset": str(source.offset),
                "__connect.errors.stage": expected.stage,
                "streams.error.kind": expected.kind,
                "streams.error.attempts": "1",
            }.items()
        )


def with_headers(record: RawRecord, at: int) -> RawRecord:
    return record._replace(headers=HEADERS, timestamp_ms=1_600_000_000_000 + at)


def refused_by_copy(live: Live) -> list[Bad]:
    """One record of every kind that `copy` refuses; the key says which."""
    whole = live.item("cut", 1, "some text").value or b""

    def raw(key: str, value: bytes) -> RawRecord:
        return Record(live.topic("items"), key.encode(), value, 0)

    found = [
        Bad(raw("magic", b"\x01" + whole[1:]), "decode", "bad-magic", "first byte is 1"),
        Bad(raw("short", whole[:3]), "decode", "frame-too-short", "3 bytes"),
        Bad(raw("empty", b""), "decode", "frame-too-short", "0 bytes"),
        Bad(raw("cut", whole[:-2]), "decode", "truncated", "Item"),
        Bad(raw("more", whole + b"\x00"), "decode", "trailing-bytes", "Item"),
        Bad(raw("unknown", header(UNKNOWN_ID) + whole[5:]), "decode", "schema-unknown", str(UNKNOWN_ID)),
        Bad(live.item("raises", 1, processors.RAISE), "process", "process", "ValueError: item 1 is not welcome"),
        Bad(live.item("exits", 1, processors.EXIT), "process", "process", "SystemExit: 3"),
        Bad(live.item("large", 1, processors.LARGE), "send", "send", "too large"),
    ]
    return [bad._replace(record=with_headers(bad.record, at)) for at, bad in enumerate(found)]


def test_each_bad_record_is_a_dead_letter_and_costs_the_others_nothing(live: Live, kcat: Kcat) -> None:
    live.deploy("copy")
    bad = refused_by_copy(live)
    tombstone = Record(live.topic("items"), b"gone", None, 0)
    began = time.monotonic()
    with live.worker("copy"):
        live.send(between(good(live), [*(one.record for one in bad), tombstone]))
        live.settle("copy")
    took = time.monotonic() - began

    check_dead_letters(live, kcat, "copy", bad)
    copies = live.items(live.topic("copies"))
    assert kcat.count(live.topic("copies")) == len(copies) == PER_KEY * len(KEYS)
    assert by_key(copies) == {key: list(range(PER_KEY)) for key in KEYS}
    assert took > UNKNOWN_FOR  # an unknown id may be registered a moment later


def test_state_that_cannot_be_written_is_its_records_fault(live: Live, kcat: Kcat) -> None:
    changelog = f"{live.name}.append.histories.changelog"
    small = TopicSpec(changelog, 4, {"cleanup.policy": "compact", "max.message.bytes": LIMIT})
    live.deploy("append", changed={changelog: small})
    bad = [
        Bad(with_headers(live.item(KEYS[0], 1_000, processors.LARGE_STATE), 0), "send", "send", "too large"),
        Bad(with_headers(live.item(KEYS[1], 1_001, processors.ODD_STATE), 1), "encode", "encode", "History"),
        Bad(with_headers(live.item("other", 1_002, processors.LARGE_STATE), 2), "send", "send", "too large"),
    ]
    with live.worker("append"):
        live.send(between(good(live), (one.record for one in bad)))
        live.settle("append")

    check_dead_letters(live, kcat, "append", bad)
    codec = Codec(Appended)
    topic = live.topic("appended")
    codec.learn(live.registry.lookup(f"{topic}-value", schema_of(Appended).text), schema_of(Appended).text)
    found: dict[str, list[Appended]] = defaultdict(list)
    for one in codec.decode([record.value or b"" for record in live.read(topic)]):
        found[one.key].append(one)
    assert set(found) == set(KEYS)
    for key in KEYS:
        assert [one.n for one in found[key]] == list(range(PER_KEY))
        assert [one.size for one in found[key]] == list(range(1, PER_KEY + 1))
        assert found[key][-1].digest == processors.digest(range(PER_KEY))


def test_what_is_absent_at_the_start_is_told_with_exit_3(live: Live) -> None:
    live.deploy("copy")
    absent = {
        "Kafka does not answer": {"STREAMS_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
        "schema registry does not answer": {"STREAMS_SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"},
    }
    began = time.monotonic()
    with contextlib.ExitStack() as resources:
        arguments = ["worker", live.target, "--processor", "copy"]
        started = {
            what: resources.enter_context(live.run(*arguments, environment=environment))
            for what, environment in absent.items()
        }
        for what, command in started.items():
            assert command.wait(GIVES_UP - (time.monotonic() - began)) == 3
            assert what in command.log()
            assert "Traceback" not in command.log()


def test_topics_that_are_not_as_declared_are_told_with_exit_4(live: Live) -> None:
    changelog = f"{live.name}.append.histories.changelog"
    appended, dead = live.topic("appended"), f"{live.name}.append.dlq"
    live.admin.create_topics([TopicSpec(appended, 3, {}), TopicSpec(changelog, 4, {"cleanup.policy": "delete"})])
    live.admin.create_topics([TopicSpec(dead, 4, {})])

    with live.worker("append") as worker:
        assert worker.wait(20) == 4
    told = worker.log()
    assert f"{live.topic('items')} does not exist" in told
    assert f"{appended} has 3 partitions, declared are 4" in told
    assert f"{changelog} has cleanup.policy=delete, declared is compact" in told
    assert "streams topic create" in told
    assert "starting it again" not in told


def test_a_contract_that_is_not_registered_is_told_with_exit_4(live: Live) -> None:
    live.admin.create_topics(live.app.processors["copy"].topics())

    with live.worker("copy") as worker:
        assert worker.wait(20) == 4
    assert f"the schema of {live.topic('copies-value')} is not registered" in worker.log()


def test_the_policy_stop_ends_for_good_before_the_record(live: Live, kcat: Kcat) -> None:
    live.deploy("stop")
    live.send([live.item("a", 0), live.item("a", 1, processors.RAISE), live.item("a", 2)])

    with live.worker("stop") as worker:
        assert worker.wait(20) == 6
    assert "the policy is STOP" in worker.log()
    assert "starting it again" not in worker.log()
    assert sum(live.lag("stop").values()) >= 2
    assert kcat.count(live.topic("copies")) <= 1


def test_the_policy_skip_passes_over(live: Live, kcat: Kcat) -> None:
    live.deploy("skip")
    bad = [live.item("a", 1, processors.RAISE), live.item("a", 1, processors.LARGE), live.item("a", 1, processors.EXIT)]
    live.send([live.item("a", 0), *bad, live.item("a", 2)])

    with live.worker("skip"):
        live.settle("skip")
    assert [item.n for item in live.items(live.topic("copies"))] == [0, 2]
    assert kcat.count(live.topic("copies")) == 2
    assert f"{live.name}.skip.dlq" not in live.admin.topics()


def test_a_table_key_of_another_partition_is_a_dead_letter(live: Live) -> None:
    live.deploy("look_elsewhere")
    live.send([live.item("a", 0)])

    with live.worker("look_elsewhere"):
        live.settle("look_elsewhere")
    [dead] = live.read(f"{live.name}.look_elsewhere.dlq")
    reason = dict(dead.headers)["__connect.errors.exception.message"]
    assert reason is not None
    assert b"this task reads partition" in reason
