"""`streams dlq redrive` while it is killed, told to end, overtaken and refused."""

from __future__ import annotations

import random
import re
import signal
import time
from collections import Counter

import pytest
from dead_letters import PARTITIONS, Letters, text
from live.workers import Live

from streams.record import RawRecord
from streams.topology import TopicSpec

pytestmark = pytest.mark.integration

OWN = (("trace", b"\x00\xff"), ("trace", b"2"), ("none", None), ("streams-like", b"x"))


@pytest.fixture
def letters(live: Live) -> Letters:
    return Letters(live)


def origins(sent: list[RawRecord]) -> Counter[str]:
    return Counter(text(dict(record.headers)["streams.origin"]) for record in sent)


def expected(letters: Letters, numbers: range) -> Counter[str]:
    return Counter(f"{letters.live.topic('items')}/{(n + 1) % PARTITIONS}/{n}" for n in numbers)


KILLS = [
    "produced=kill@2",
    "flushed=kill",
    "commit-sent=kill",
    "commit-sent=kill+1ms@2",
    "committed=kill",
    "committed=kill@2",
]


@pytest.mark.parametrize("target", ["processor", "origin"])
def test_a_run_that_is_killed_is_started_again_and_does_nothing_twice(letters: Letters, target: str) -> None:
    letters.fill(5_000)
    for rule in KILLS:
        kill = {"STREAMS_FAILPOINTS": rule}
        with letters.live.run(
            "dlq", "redrive", letters.group, "--to", target, "--execute", environment=kill
        ) as command:
            assert command.wait(60) == -signal.SIGKILL, command.log()
        assert f"failpoint {rule.partition('=')[0]} hit" in command.log()
    topic = letters.redrive if target == "processor" else letters.live.topic("items")
    left = 5_000 - len(letters.sent(topic))
    assert 0 < left < 5_000, "the kills have to come in the middle"
    assert f"{left} of {left}" in letters.run("redrive", letters.group, "--to", target, "--execute").stderr
    sent = origins(letters.sent(topic))
    print(f"{sum(sent.values())} records compared after {len(KILLS)} kills, the last with {left} left")
    assert sent == expected(letters, range(5_000))
    assert max(Counter(letters.notes()).values()) == 1


def test_of_two_at_the_same_time_the_first_is_fenced(letters: Letters) -> None:
    letters.fill(2_000)
    with letters.live.run("dlq", "redrive", letters.group, "--execute", "--rate", "100/s") as first:
        deadline = time.monotonic() + 40
        while not letters.notes():
            assert time.monotonic() < deadline, first.log()
            time.sleep(0.1)
        late = {"STREAMS_FAILPOINTS": "producer-starting=sleep:3s"}  # the first goes on after the second has looked
        with letters.live.run("dlq", "redrive", letters.group, "--execute", environment=late) as second:
            assert second.wait(60) == 0
        assert first.wait(20) == 5
    assert "another `streams dlq` command" in first.log()
    assert "Traceback" not in first.log()
    done, planned = map(int, re.findall(r"(\d+) of (\d+) dead letters redriven, job", second.log())[0])
    assert 0 < done < planned < 2_000, second.log()
    assert origins(letters.sent(letters.redrive)) == expected(letters, range(2_000))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_between_two_transactions(letters: Letters, number: signal.Signals, code: int) -> None:
    letters.fill(500)
    with letters.live.run("dlq", "redrive", letters.group, "--execute", "--rate", "20/s") as command:
        deadline = time.monotonic() + 40
        while not letters.notes():
            assert time.monotonic() < deadline, command.log()
            time.sleep(0.1)
        assert command.end(number) == code
    assert "run it again" in command.log()
    sent, notes = letters.sent(letters.redrive), letters.notes()
    assert 0 < len(sent) == len(notes) < 500
    assert len(sent) % 20 == 0, "whole transactions"


def test_a_rate_is_kept(letters: Letters) -> None:
    letters.fill(150)
    began = time.monotonic()
    said = letters.run("redrive", letters.group, "--execute", "--rate", "50/s")
    assert 2.0 < time.monotonic() - began < 20
    assert "150 of 150" in said.stderr


def test_a_record_that_the_broker_refuses_stays_open_and_the_others_go(letters: Letters) -> None:
    live, small = letters.live, f"{letters.live.name}.small"
    live.admin.create_topics([TopicSpec(small, PARTITIONS, {"max.message.bytes": "2000"})])
    live.send([letters.letter(n, **{"__connect.errors.topic": small}) for n in range(20)])
    live.send(
        [letters.letter(20, **{"__connect.errors.topic": small})._replace(value=random.Random(1).randbytes(9_000))]
    )
    said = letters.run("redrive", letters.group, "--to", "origin", "--execute", code=1)
    assert "20 of 21 dead letters redriven" in said.stderr
    assert "1 refused by Kafka and left as they are, the first (0/5)" in said.stderr
    assert len(live.read(small)) == 20
    assert letters.rows("list", letters.group)[0]["count"] == 1
