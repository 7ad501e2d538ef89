"""What every engine promises of stateless processors: the same records through both, held against what is wanted."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import time
import urllib.request
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from live import stateless
from live.app import EXIT, LARGE, PREFIX
from live.events import Item, Left, Right
from live.stateless import ATTEMPTS, BOTH, DOOMED, FAN, FANNED, FILTER, FLAKY, FLAKY_FAILURES, PASS_OVER, REFUSE
from live.workers import PATIENCE, Command, Live

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.kafka.admin import partition_of
from streams.record import Headers, RawRecord, TopicPartition
from streams.testing.plugin import Kafka

pytestmark = pytest.mark.integration

ENGINES = ("native", "faust")
KEYS = [f"key {number}" for number in range(7)]
TEXTS = ("", FILTER, FAN, BOTH, "", PASS_OVER, REFUSE, FLAKY, DOOMED, LARGE, EXIT, "")
ROUNDS = 1
OWN: Headers = (("trace", b"1"), ("trace", b"\xff2"), ("nothing", None))
TOMBSTONE, POISON, UNKNOWN, NO_KEY, NO_KEY_POISON = 2_000, 2_001, 2_002, 2_003, 2_004  # times, which tell them apart
COMMITTED, ROLLED_BACK = 3_000, 3_001
MESSAGE, TRACE = "__connect.errors.exception.message", "__connect.errors.exception.stacktrace"
REFUSED = (REFUSE, DOOMED, EXIT, LARGE)


@dataclass
class Run:
    """What one engine made of the records."""

    engine: str
    live: Live
    given: dict[int, RawRecord]
    health: dict[str, Any] = field(default_factory=dict)
    code: int = 0
    stop_code: int = 0
    stop_log: str = ""

    def read(self, short: str) -> list[RawRecord]:
        return self.live.read(self.live.topic(short))

    def outputs(self, short: str, model: type[Item | Left | Right]) -> dict[int, list[Item | Left | Right]]:
        """Return the values of a topic by their time, which is that of the record they come from."""
        codec = Codec(model)
        text = schema_of(model).text
        codec.learn(self.live.registry.lookup(f"{self.live.topic(short)}-value", text), text)
        found = defaultdict(list)
        for record in self.read(short):
            found[record.timestamp_ms] += codec.decode([record.value or b""])
        return found

    def letters(self) -> dict[int, RawRecord]:
        found = {record.timestamp_ms: record for record in self.read("work.dlq")}
        assert len(found) == len(self.read("work.dlq")), "each once"
        return found


def records(live: Live) -> dict[int, RawRecord]:
    """Return what is sent, by its time: every kind of record for many keys, and records after it for each key."""
    numbers = range(1, ROUNDS * len(TEXTS) * len(KEYS) + 1)
    made = {n: live.item(KEYS[n % len(KEYS)], n, TEXTS[n % len(TEXTS)])._replace(headers=OWN) for n in numbers}
    plain = live.item(KEYS[0], 1)
    odd = {
        TOMBSTONE: plain._replace(value=None),
        POISON: plain._replace(value=b"no frame", headers=OWN),
        UNKNOWN: plain._replace(value=b"\0\0\xff\xff\xff" + (plain.value or b"")[5:], headers=OWN),
        NO_KEY: live.item("nobody", 1)._replace(key=None),
        NO_KEY_POISON: plain._replace(key=None, value=b"", headers=OWN),
    }
    made |= {when: record._replace(timestamp_ms=when) for when, record in odd.items()}
    return made


def transact(live: Live, when: int, *, commit: bool) -> None:
    """Write a record for every key in a transaction; its markers are written when this returns."""
    config: dict[str, str | int | float | bool] = {
        "bootstrap.servers": live.settings.bootstrap_servers,
        "transactional.id": uuid.uuid4().hex,
        "partitioner": "murmur2_random",
        "compression.type": "zstd",
    }
    producer = Producer(config)
    producer.init_transactions(30)
    producer.begin_transaction()
    for key in KEYS:
        record = live.item(key, when)
        producer.produce(record.topic, record.value, record.key, timestamp=when)
    producer.flush(30)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)
    Producer(config).init_transactions(30)  # the coordinator writes markers later than it answers; this waits for them


def begin(kafka: Kafka, folder: Path, engine: str) -> Run:
    """Deploy an app, and fill its input: the last record of each partition is none of a transaction."""
    settings = kafka.settings(folder / "state")
    live = Live(settings, f"{PREFIX}{uuid.uuid4().hex[:8]}", folder, stateless.build)
    live.deploy("work", "stop")
    given = records(live)
    transact(live, COMMITTED, commit=True)
    transact(live, ROLLED_BACK, commit=False)
    live.send(given.values())
    assert {partition_of(key.encode(), 4) for key in KEYS} == {0, 1, 2, 3}
    return Run(engine, live, given)


@pytest.fixture(scope="module")
def runs(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """Run both engines side by side, each to its end."""
    found = {engine: begin(kafka, tmp_path_factory.mktemp(engine), engine) for engine in ENGINES}
    with contextlib.ExitStack() as running:
        workers = {
            engine: running.enter_context(run.live.worker("work", more=["--engine", engine]))
            for engine, run in found.items()
        }
        stopping = {
            engine: running.enter_context(run.live.worker("stop", more=["--engine", engine]))
            for engine, run in found.items()
        }
        for engine, run in found.items():
            run.stop_code, run.stop_log = stopping[engine].wait(PATIENCE), stopping[engine].log()
            settle(run)
            run.health = healthy(workers[engine])
            run.code = workers[engine].end(signal.SIGTERM)
        yield found
    for run in found.values():
        run.live.close()


def settle(run: Run) -> None:
    """Wait until every record has come to its end; those that wait have their offsets committed before."""
    run.live.settle("work")
    deadline = time.monotonic() + PATIENCE
    flaky = set(of(run, FLAKY))
    while refused(run) - {one.timestamp_ms for one in run.read("work.dlq")} or flaky - {
        one.timestamp_ms for one in run.read("copies")
    }:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def healthy(worker: Command) -> dict[str, Any]:
    """Return what a supervisor says of its health, once it knows that everything is done."""
    found = re.search(r"http://[\d.]+:\d+", worker.log())
    assert found, worker.log()
    deadline = time.monotonic() + PATIENCE
    while True:
        with urllib.request.urlopen(f"{found[0]}/healthz", timeout=5) as answer:
            said: dict[str, Any] = json.load(answer)
        (one,) = said["workers"]
        if len(one["partitions"]) == 4 and not sum(at["lag"] for at in one["partitions"]):
            return said
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


def refused(run: Run) -> set[int]:
    """Return the times of what has to become a dead letter."""
    return {n for text in REFUSED for n in of(run, text)} | {POISON, UNKNOWN, NO_KEY_POISON}


def of(run: Run, text: str) -> list[int]:
    """Return the times of the records that say something."""
    found = [n for n in run.given if n < TOMBSTONE and TEXTS[n % len(TEXTS)] == text]
    assert len(found) == ROUNDS * len(KEYS) * TEXTS.count(text)
    return found


def per_key(records: Iterable[RawRecord]) -> dict[bytes | None, list[int]]:
    found: dict[bytes | None, list[int]] = defaultdict(list)
    for record in records:
        found[record.key].append(record.timestamp_ms)
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_a_record_becomes_none_one_or_several(runs: dict[str, Run], engine: str) -> None:
    run = runs[engine]
    copies = run.outputs("copies", Item)
    left, right = run.outputs("left", Left), run.outputs("right", Right)
    assert all([one.n for one in copies[n]] == [n] for n in of(run, ""))
    assert not [n for n in of(run, FILTER) if copies[n] or left[n] or right[n]]
    for n in of(run, FAN):
        assert sorted(one.key for one in copies[n]) == [f"{KEYS[n % len(KEYS)]}/{number}" for number in range(FANNED)]
    for n in of(run, BOTH):
        assert (left[n], right[n]) == ([Left(key=KEYS[n % len(KEYS)], n=n)], [Right(key=KEYS[n % len(KEYS)], n=n)])


@pytest.mark.parametrize("engine", ENGINES)
def test_keys_decide_the_partition_and_times_are_kept(runs: dict[str, Run], engine: str) -> None:
    run, looked = runs[engine], 0
    for short, partitions in (("copies", 4), ("left", 4), ("right", 3)):
        for record in run.read(short):
            assert record.partition == partition_of(record.key or b"", partitions)
            assert record.timestamp_ms in {*run.given, COMMITTED}
            looked += 1
    assert looked > 50


@pytest.mark.parametrize("engine", ENGINES)
def test_tombstones_and_records_without_a_key_are_handled(runs: dict[str, Run], engine: str) -> None:
    run = runs[engine]
    assert run.outputs("left", Left)[TOMBSTONE] == [Left(key=KEYS[0], n=-1)]
    assert run.outputs("copies", Item)[NO_KEY] == [Item(key="nobody", n=1, text="")]


@pytest.mark.parametrize("engine", ENGINES)
def test_only_what_was_committed_is_read(runs: dict[str, Run], engine: str) -> None:
    copies = runs[engine].outputs("copies", Item)
    assert sorted(one.key for one in copies[COMMITTED]) == sorted(KEYS)
    assert copies[ROLLED_BACK] == []


@pytest.mark.parametrize("engine", ENGINES)
def test_what_fails_is_answered_by_its_type(runs: dict[str, Run], engine: str) -> None:
    run = runs[engine]
    copies, letters = run.outputs("copies", Item), run.letters()
    assert not [n for n in of(run, PASS_OVER) if copies[n] or n in letters]
    assert all([one.n for one in copies[n]] == [n] for n in of(run, FLAKY))
    for n in of(run, FLAKY):
        assert len((run.live.flags / f"attempts-{n}").read_text()) > FLAKY_FAILURES
    attempts = {text: {dict(letters[n].headers)["streams.error.attempts"] for n in of(run, text)} for text in REFUSED}
    many = b"%d" % (ATTEMPTS + 1)
    assert attempts == {REFUSE: {b"1"}, DOOMED: {many}, EXIT: {many}, LARGE: {b"1"}}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_dead_letter_is_the_record_and_its_reason(runs: dict[str, Run], engine: str) -> None:
    run = runs[engine]
    letters = run.letters()
    assert letters.keys() == refused(run)
    for when, letter in letters.items():
        given = run.given[when]
        assert (letter.key, letter.value) == (given.key, given.value)
        assert letter.headers[: len(given.headers)] == given.headers
        assert dict(letter.headers)["__connect.errors.topic"] == run.live.topic("items").encode()
    kinds = {when: dict(letters[when].headers)["streams.error.kind"] for when in (POISON, UNKNOWN, NO_KEY_POISON)}
    assert kinds == {POISON: b"bad-magic", UNKNOWN: b"schema-unknown", NO_KEY_POISON: b"frame-too-short"}


@pytest.mark.parametrize("engine", ENGINES)
def test_the_order_of_a_key_is_that_of_its_records(runs: dict[str, Run], engine: str) -> None:
    run = runs[engine]
    for key, times in per_key(run.read("copies")).items():
        numbers = [when for when in times if when < TOMBSTONE]
        assert numbers == sorted(numbers), key
    assert len(per_key(run.read("copies"))) > len(KEYS)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_signal_ends_it_in_good_order(runs: dict[str, Run], engine: str) -> None:
    run = runs[engine]
    assert run.code == 143
    assert set(run.live.lag("work").values()) == {0}


@pytest.mark.parametrize("engine", ENGINES)
def test_health_tells_what_became_of_the_records(runs: dict[str, Run], engine: str) -> None:
    run = runs[engine]
    assert run.health["healthy"]
    (worker,) = run.health["workers"]
    assert worker["group"] == f"{run.live.name}.work"
    assert worker["state"] == "ready"
    assert worker["dead_letters"] > 0, "of this process: one that was started again counts anew"
    assert worker["commits"] > 0


def told(run: Run, short: str) -> dict[bytes | None, list[tuple[int, bytes | None, Headers]]]:
    """Return what a topic holds of each key, without what no two runs or clients have in common."""
    found = defaultdict(list)
    for record in run.read(short):
        sent = dict(record.headers).get("__connect.errors.stage") == b"send"  # each client has words of its own
        others = {"streams.error.time", TRACE, *([MESSAGE] if sent else [])}
        own = tuple(
            (name, value and value.replace(run.live.name.encode(), b"app"))
            for name, value in record.headers
            if name not in others
        )
        found[record.key].append((record.partition, record.timestamp_ms, record.value, own))
    return found


def test_the_engines_write_the_same(runs: dict[str, Run]) -> None:
    compared = 0
    for short in ("copies", "left", "right", "work.dlq"):
        native, faust = (told(runs[engine], short) for engine in ENGINES)
        assert faust.keys() == native.keys()
        for key, written in native.items():
            if key not in {None, b"nobody"}:  # theirs is any partition
                assert faust[key] == written, (short, key)
                compared += len(written)
    assert compared > 100


@pytest.mark.parametrize("engine", ENGINES)
def test_stop_ends_the_worker_before_the_record(runs: dict[str, Run], engine: str) -> None:
    run, live = runs[engine], runs[engine].live
    assert run.stop_code == 6
    assert "a record failed in process and the policy is STOP" in run.stop_log
    failing: dict[TopicPartition, int] = {}
    for record in live.read(live.topic("items")):
        if record.timestamp_ms < TOMBSTONE and TEXTS[record.timestamp_ms % len(TEXTS)] == REFUSE:
            failing.setdefault(record.origin, record.offset)
    assert len(failing) == 4
    committed = live.admin.committed(f"{live.name}.stop")
    assert all(offset <= failing[at] for at, offset in committed.items())
