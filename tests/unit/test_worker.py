"""The worker over an in-memory Kafka: judged by the committed log, whatever befalls it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import produce
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rig import CODECS, Item, Rig, play

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.errors import AbortedError
from streams.record import TopicPartition

ZERO, ONE = TopicPartition("in", 0), TopicPartition("in", 1)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def until_stepped(rig: Rig, number: int = 0) -> None:
    """Turn until something was handed over and nothing of it is committed."""
    for _ in range(20):
        rig.run(number)
        if rig.slots[number].worker._checkpoint.marks:
            return
    raise AssertionError("nothing was stepped")


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_exactly_once_whatever_befalls_the_workers(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """INV-1, INV-2, INV-3, INV-4, INV-5, INV-6, INV-9, INV-10: nothing lost, twice, out of order or left behind."""
    rig = Rig(tmp_path_factory.mktemp("state"))
    play(rig, seed)
    rig.judge()


def test_the_random_scenarios_compare_something(tmp_path_factory: pytest.TempPathFactory) -> None:
    compared, deaths = 0, 0
    for seed in range(10):
        rig = Rig(tmp_path_factory.mktemp("state"))
        play(rig, seed)
        compared += rig.judge()
        deaths += sum(rig.deaths.values())
    print(f"compared {compared} results over {deaths} deaths")
    assert compared > 50
    assert deaths > 3


def test_a_drain_whose_transaction_is_aborted_commits_nothing_afterwards(rig: Rig) -> None:
    """INV-2: the outputs were rolled back, so leaving the group must not commit their offsets."""
    rig.start(0)
    rig.spread()
    rig.produce([("a", "ok")])
    until_stepped(rig)
    rig.chaos.arm(0, AbortedError("chaos"))
    rig.stop(0)
    assert rig.log.offsets == {}
    rig.settle()
    assert rig.judge() > 0


def test_nothing_is_committed_between_a_failed_commit_and_its_rewind(rig: Rig) -> None:
    """INV-6: a second revocation in the same poll finds a transaction that holds outputs without their offsets."""
    first = rig.start(0)
    rig.spread()
    rig.produce([(key, "ok") for key in "abcdefgh"])
    until_stepped(rig)
    rig.chaos.arm(0, AbortedError("chaos"))
    first.worker.on_revoked([ZERO])
    first.worker.on_revoked([ONE])
    assert rig.log.offsets == {}


def test_nothing_is_committed_between_a_loss_and_its_rewind(rig: Rig) -> None:
    """INV-6: never commit after lost."""
    first = rig.start(0)
    rig.spread()
    rig.produce([(key, "ok") for key in "abcdefgh"])
    until_stepped(rig)
    first.worker.on_lost([ZERO])
    first.worker.on_revoked([ONE])
    assert rig.log.offsets == {}
    assert rig.log.committed("out") == []


class Answering:
    """A look-up that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: set[int] = set()

    def request(self, schema_id: int) -> None:
        self.asked.add(schema_id)

    def is_waiting(self, schema_id: int) -> bool:
        return schema_id in self.asked

    def poll(self) -> None:
        """The answer comes from the test."""


def test_the_last_record_of_a_partition_survives_the_wait_for_its_schema(tmp_path: Path) -> None:
    """INV-10: the end of the partition was seen before its last record was dealt with."""
    lookup = Answering()
    codec = Codec(Item)
    rig = Rig(tmp_path, codecs={**CODECS, "in": codec}, lookup=lookup)
    frame = CODECS["in"].encode([Item(key="a", n=1)])[0]
    produce(rig.log, [("in", b"a", frame)])
    rig.start(0)
    rig.spread()
    rig.run(0, 5)
    assert lookup.asked == {1}
    assert rig.log.offsets == {}
    codec.learn(1, schema_of(Item).text)
    lookup.asked.clear()
    rig.settle()
    assert [record.key for record in rig.log.committed("out")] == [b"a"]
