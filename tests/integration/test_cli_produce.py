"""JSON in, Avro out, and reading by time: the commands against a real cluster."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from live.app import RAISE
from live.events import Item, Kind, Measured
from live.workers import Live

from streams.avro.model import schema_of
from streams.kafka.admin import partition_of
from streams.record import RawRecord, Record
from streams.topology import TopicSpec

pytestmark = pytest.mark.integration

STREAMS = [sys.executable, "-m", "streams"]


def run(live: Live, *arguments: str, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*STREAMS, "topic", *arguments],
        input=stdin,
        env=live.full_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def lines(values: Iterable[Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def consumed(live: Live, topic: str, *more: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(live, "consume", topic, *more).stdout.splitlines()]


def measured(number: int) -> Measured:
    return Measured(
        sensor=(number << 40) - 5,
        at=datetime(2026, 2, 3, 4, 5, 6, number * 1000, tzinfo=UTC),
        day=date(1960 + number, 2, 3),
        price=Decimal(number).scaleb(-3) - 2,
        tag=uuid.UUID(int=number),
        raw=bytes(range(number)),
        kind=[Kind.UNKNOWN, Kind.HOT, Kind.COLD][number % 3],
        note=None if number % 2 else f"größer {number}",
        labels={f"room {n}": "x" for n in range(number % 3)},
    )


def content(records: Iterable[RawRecord], live: Live, topic: str) -> list[Any]:
    """Return what records mean: everything but where they lie; the frame without the id that names its schema."""
    found = live.registry.lookup(f"{topic}-value", schema_of(Measured).text)
    assert all(r.value is None or int.from_bytes(r.value[1:5], "big") == found for r in records)
    return sorted(((r.key, r.value and r.value[5:], r.timestamp_ms, r.headers) for r in records), key=repr)


def test_what_is_consumed_can_be_produced_again(live: Live) -> None:
    run(live, "create", live.target)
    source, copy = live.topic("measured"), live.topic("again")
    live.admin.create_topics([TopicSpec(copy, 3, {})])
    live.registry.register(f"{copy}-value", [schema_of(Measured).text], "BACKWARD")
    live.registry.register(f"{source}-value", [schema_of(Measured).text], "BACKWARD")
    topic = live.app.declared_topics()[source]
    live.publish(topic, [measured(number) for number in range(30)])
    frame = live.read(source)[0].value
    odd = [
        Record(source, b"gone", None, 5_000),
        Record(source, b"\xff\x00", frame, 6_000, headers=(("a", b"1"), ("a", b"\xff"), ("none", None), ("e", b""))),
        Record(source, None, frame, 1),
        Record(source, b"", frame, 7_000, headers=(("trace", "größer".encode()),)),
        Record(source, b"12345678", frame, 8_000),
    ]
    live.send(odd)

    consume = shlex.join([*STREAMS, "topic", "consume", source])
    produce = shlex.join([*STREAMS, "topic", "produce", copy, "--envelope"])
    subprocess.run(["sh", "-c", f"{consume} | {produce}"], env=live.full_environment(), check=True, timeout=60)

    before, after = live.read(source), live.read(copy)
    assert len(before) == len(after) == 35
    assert content(after, live, copy) == content(before, live, source)
    assert {r.key: r.partition for r in after if r.key} == {r.key: partition_of(r.key, 3) for r in after if r.key}


def test_values_are_sent_with_their_key_where_java_puts_them(live: Live, tmp_path: Path) -> None:
    live.deploy("copy")
    topic = live.topic("items")
    file = tmp_path / "items.jsonl"
    file.write_text(lines({"key": f"key {n}", "n": n, "text": "größer"} for n in range(50)) + "\n")

    said = run(live, "produce", topic, "--key", "key", "--file", str(file)).stderr

    assert said == "50 records sent, 50 acknowledged\n"
    assert live.items(topic) == [
        Item(key=r.key.decode(), n=int(r.key.split()[1]), text="größer") for r in live.read(topic) if r.key
    ]
    assert len(live.read(topic)) == 50
    assert all(r.key and r.partition == partition_of(r.key, 4) for r in live.read(topic))


def test_an_app_says_what_schema_and_key_are(live: Live) -> None:
    live.deploy("copy")
    topic = live.topic("items")
    run(live, "produce", topic, "--app", live.target, stdin=lines([{"key": "a", "n": 1, "text": ""}]))
    assert [r.key for r in live.read(topic)] == [b"a"]
    schema_id = live.registry.latest(f"{topic}-value")[0]
    run(live, "produce", topic, "--schema-id", str(schema_id), stdin=lines([{"key": "b", "n": 1, "text": ""}]))
    run(live, "produce", topic, "--subject", f"{topic}-value", stdin=lines([{"key": "c", "n": 1, "text": ""}]))
    assert sorted(item.key for item in live.items(topic)) == ["a", "b", "c"]
    assert [r.key for r in live.read(topic)].count(None) == 2


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["--key", "nmae"], 2, "use one of key, n, text"),
        (["--key", "key", "--app", "live.app:x"], 2, "--key says it too"),
        (["--schema-id", "1", "--subject", "x"], 2, "--subject and --schema-id each name the schema"),
        (["--subject", "nobody-value"], 4, "no schema is registered under nobody-value"),
        (["--schema-id", "999999"], 4, "no schema has the id 999999"),
        (["--file", "/no/such/file"], 2, "No such file"),
    ],
)
def test_what_cannot_begin_is_told_with_its_own_code(live: Live, more: list[str], code: int, told: str) -> None:
    live.deploy("copy")
    assert told in run(live, "produce", live.topic("items"), *more, code=code).stderr
    assert live.read(live.topic("items")) == []


def test_a_topic_that_is_not_there_or_not_declared_is_told(live: Live) -> None:
    live.deploy("copy")
    assert "there is no topic nowhere" in run(live, "produce", "nowhere", code=2).stderr
    live.admin.create_topics([TopicSpec(live.topic("own"), 1, {})])
    said = run(live, "produce", live.topic("own"), "--app", live.target, code=2).stderr
    assert f"does not declare topic {live.topic('own')}" in said
    assert "no schema is registered under" in run(live, "produce", live.topic("own"), code=4).stderr


def test_a_bad_line_ends_the_command_and_nothing_before_it_is_lost(live: Live) -> None:
    live.deploy("copy")
    topic = live.topic("items")
    stdin = lines([{"key": "a", "n": n, "text": ""} for n in range(3)] + [{"key": "a", "n": "x", "text": ""}] * 2)

    said = run(live, "produce", topic, stdin=stdin, code=1).stderr.splitlines()

    assert said[:2] == ['line 4: /n: "x" is not a whole long', "3 records sent, 3 acknowledged"]
    assert "no key" in said[2]
    assert said[3] == "error: not sent: line 4 and what follows"
    assert "tail -n +4" in said[4]
    assert sorted(item.n for item in live.items(topic)) == [0, 1, 2]
    again = run(live, "produce", topic, "--skip-bad", stdin=stdin + lines([{"key": "a", "n": 7, "text": ""}]), code=1)
    assert "error: not sent: lines 4, 5\n" in again.stderr
    assert sorted(item.n for item in live.items(topic)) == [0, 0, 1, 1, 2, 2, 7]


def test_a_record_that_kafka_refuses_is_told_by_its_line(live: Live) -> None:
    topic = live.topic("items")
    spec = next(spec for spec in live.app.topics() if spec.name == topic)
    live.deploy("copy", changed={topic: spec._replace(config={"max.message.bytes": "2000"})})
    noise = "".join(uuid.uuid4().hex for _ in range(200))
    stdin = lines({"key": "a", "n": n, "text": noise if n == 1 else ""} for n in range(2))
    said = run(live, "produce", topic, stdin=stdin, code=1).stderr
    assert "2 records sent, 1 acknowledged" in said
    assert "Kafka refused sending line 2" in said


def timed(live: Live, times: Iterable[int]) -> str:
    """Fill one partition with items whose number is their time in seconds."""
    topic = live.topic("items")
    spec = next(spec for spec in live.app.topics() if spec.name == topic)
    live.deploy("copy", changed={topic: spec._replace(partitions=2)})
    live.send(live.item("a", n)._replace(timestamp_ms=n * 1_000, partition=0) for n in times)
    return topic


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--from", "1970-01-02T00:00:03"], [86_403, 86_404, 86_402]),
        (["--from", "1970-01-02T01:00:03+01:00", "-n", "1"], [86_403]),
        (["--from", "86403000", "--to", "86404000"], [86_403]),
        (["--to", "1970-01-02T00:00:02Z"], [86_400, 86_401]),
        (["--to", "1970-01-02"], []),
        (["--from", "1970-01-03"], []),
        (["--from", "-1m"], []),
        (["-p", "0", "--offset", "1", "--to", "86403000"], [86_401, 86_402]),
        (["--from", "86401000", "-p", "1"], []),
        (["--from", "86401000", "-p", "0", "-n", "2"], [86_401, 86_402]),
    ],
)
def test_a_part_of_a_topic_is_chosen_by_time(live: Live, more: list[str], expected: list[int]) -> None:
    """The last record is late: a time stands for a place in the log, as in Kafka's own index."""
    topic = timed(live, [86_400, 86_401, 86_402, 86_403, 86_404, 86_402])
    assert [row["value"]["n"] for row in consumed(live, topic, *more)] == expected


def test_following_begins_at_a_time_and_ends_quietly_with_its_reader(live: Live) -> None:
    topic = timed(live, [86_400, 86_401, 86_402])
    consume = shlex.join([*STREAMS, "topic", "consume", topic, "-f", "--from", "86401000"])
    done = subprocess.run(
        ["bash", "-c", f"{consume} | head -n 1; echo ${{PIPESTATUS[0]}}"],
        env=live.full_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    first, code = done.stdout.splitlines()
    assert json.loads(first)["value"]["n"] == 86_401
    assert code == "141", "as a program that SIGPIPE ends"
    assert done.stderr == ""


def test_a_dead_letter_becomes_a_failing_test(live: Live, tmp_path: Path) -> None:
    live.deploy("copy")
    now = time.time_ns() // 1_000_000  # the retention of dead letters goes by the time of their records
    live.send(live.item(*item)._replace(timestamp_ms=now) for item in [("good", 1), ("bad", 2, RAISE)])
    with live.worker("copy"):
        live.settle("copy")
    file = tmp_path / "test_refused.py"
    options = ["--as-test", str(file), "--app", live.target]

    assert run(live, "consume", f"{live.name}.copy.dlq", *options).stdout == ""
    assert "exists already" in run(live, "consume", f"{live.name}.copy.dlq", *options, code=2).stderr
    ran = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file.name]
    done = subprocess.run(ran, cwd=tmp_path, env=live.full_environment(), capture_output=True, text=True, check=False)
    assert "1 failed" in done.stdout
    assert "kind='process'" in done.stdout

    run(live, "consume", live.topic("items"), "-n", "2", *options, "--processor", "copy", "--force")
    done = subprocess.run(ran, cwd=tmp_path, env=live.full_environment(), capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout
