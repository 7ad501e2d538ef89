"""The worker over an in-memory Kafka: judged by the committed log, whatever befalls it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from happenings import play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rig import CODECS, DEAD_LETTERS, Item, Rig, produce
from rig import app as rig_app

from streams import Context
from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.errors import AbortedError, FencedError
from streams.kafka.admin import partition_of
from streams.record import TopicPartition
from streams.testing.memory import Outcome

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


@given(seed=st.integers(0, 1 << 32), cautious=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_exactly_once_whatever_befalls_the_workers(
    seed: int, cautious: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """INV-1, INV-2, INV-3, INV-4, INV-5, INV-6, INV-9, INV-10: nothing lost, twice, out of order or left behind."""
    rig = Rig(tmp_path_factory.mktemp("state"))
    rig.cautious = cautious
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
    assert rig.offsets == {}
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
    assert rig.offsets == {}


def test_nothing_is_committed_between_a_loss_and_its_rewind(rig: Rig) -> None:
    """INV-6: never commit after lost."""
    first = rig.start(0)
    rig.spread()
    rig.produce([(key, "ok") for key in "abcdefgh"])
    until_stepped(rig)
    first.worker.on_lost([ZERO])
    first.worker.on_revoked([ONE])
    assert rig.offsets == {}
    assert rig.log.committed("out") == []


class Answering:
    """A look-up that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: set[int] = set()
        self.polls = 0

    def request(self, schema_id: int) -> None:
        self.asked.add(schema_id)

    def is_waiting(self, schema_id: int) -> bool:
        return schema_id in self.asked

    def poll(self) -> None:
        """The answer comes from the test."""
        self.polls += 1


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
    assert rig.offsets == {}
    codec.learn(1, schema_of(Item).text)
    lookup.asked.clear()
    rig.settle()
    assert [record.key for record in rig.log.committed("out")] == [b"a"]


def test_committed_offsets_are_read_before_the_bounds_of_the_restore(rig: Rig) -> None:
    """INV-3: the other way round a commit in between would give newer offsets than state."""
    order: list[str] = []
    slot = rig.start(0)
    committed, begin = slot.consumer.committed, slot.worker._restorer.begin
    slot.consumer.committed = lambda *a: order.append("committed") or committed(*a)  # type: ignore[func-returns-value,method-assign] # replaced for this test
    slot.worker._restorer.begin = lambda states: order.append("bounds") or begin(states)  # type: ignore[func-returns-value,method-assign] # replaced for this test
    rig.spread()
    rig.run(0)
    assert order[:2] == ["committed", "bounds"]


def test_a_partition_whose_state_is_behind_waits_until_it_is_restored(rig: Rig) -> None:
    """INV-3: the slot without the state reads the changelog before the first record."""
    rig.start(0)
    rig.produce([(key, "ok") for key in "abcdefgh"])
    rig.settle()
    rig.stop(0)
    rig.produce([(key, "ok") for key in "abcdefgh"])
    slot = rig.start(1)
    rig.spread()
    rig.run(1)
    assert slot.worker._restorer.remaining()
    assert all(cursor.paused for cursor in slot.consumer.cursors.values())
    assert rig.slots[1].worker.counts["processed"] == 0
    rig.settle()
    assert rig.judge() > 0


def test_the_end_behind_a_marker_is_committed(rig: Rig) -> None:
    """INV-10: or lag would stay at 1 for ever."""
    rig.start(0)
    rig.produce([("a", "ok")], Outcome.COMMITTED)
    rig.produce([("a", "ok")], Outcome.ABORTED)
    rig.settle()
    assert rig.lag() == 0
    assert rig.log.high_watermark(rig.log.committed("in")[0].origin) == 4


def test_a_processor_that_feeds_itself_commits_no_ends(tmp_path: Path) -> None:
    """Each such commit would write a marker, which is a new end."""
    rig = Rig(tmp_path)
    slot = rig.start(0)
    slot.worker._loops = True
    rig.spread()
    rig.produce([("a", "ok")], Outcome.COMMITTED)
    rig.run(0, 40)
    assert list(rig.offsets.values()) == [1]


def test_a_record_is_not_dealt_with_again_after_a_rebalance_that_gives_it_back(rig: Rig) -> None:
    """INV-6."""
    one, two = rig.start(0), rig.start(1)
    rig.produce([(key, "ok") for key in "abcdefgh"])
    rig.spread()
    until_stepped(rig)
    for owner in (two, one, two):
        rig.group.assign([ZERO, ONE], owner.consumer)
        rig.run(0, 2)
        rig.run(1, 2)
    rig.settle()
    assert rig.judge() > 0


def test_an_error_of_the_listener_ends_the_worker_and_nothing_is_committed_any_more(rig: Rig) -> None:
    """INV-6: what was stepped before is for the next owner."""
    rig.start(0)
    rig.group.assign([ZERO], rig.slots[0].consumer)
    rig.produce([(key, "ok") for key in "abcdefgh"])
    until_stepped(rig)
    rig.chaos.arm(1, FencedError("no committed offsets"))
    rig.group.assign([ONE], rig.slots[0].consumer)
    rig.run(0)
    assert rig.deaths == {"FencedError": 1}
    assert rig.offsets == {}
    rig.settle()
    assert rig.judge() > 0


def test_a_handler_that_takes_longer_than_a_transaction_lives_is_got_past(tmp_path: Path) -> None:
    """With outputs of another partition waiting in it a transaction expires; after a restart it must not again."""
    processor = rig_app.processors["append"]
    rig = Rig(tmp_path)
    slow = next(key for key in "abcdefgh" if partition_of(key.encode(), 2) == 1)
    quick = next(key for key in "abcdefgh" if partition_of(key.encode(), 2) == 0)

    def sleepy(item: Item, ctx: Context) -> Any:
        rig.now += 15.0 if item.key == slow else 0.0
        return processor.handler(item, ctx)

    rig.processor = replace(processor, handler=sleepy)
    rig.transaction_timeout, rig.cautious = 10.0, True
    rig.start(0)
    rig.produce([(quick, "ok"), (slow, "ok")] * 3)
    rig.settle()
    assert rig.judge() > 0


def test_a_drain_commits_what_is_done(rig: Rig) -> None:
    """INV-6: before the group is left, so that nobody has to do it again."""
    slot = rig.start(0)
    rig.spread()
    rig.produce([("a", "ok")])
    until_stepped(rig)
    slot.worker.drain()
    assert sum(rig.offsets.values()) == 1


def test_an_aborted_drain_leaves_no_transaction_open(rig: Rig) -> None:
    slot = rig.start(0)
    rig.spread()
    rig.produce([("a", "ok")])
    until_stepped(rig)
    rig.chaos.arm(0, AbortedError("chaos"))
    slot.worker.drain()
    assert slot.producer.transaction is None


def test_a_partition_waits_for_its_schema_alone_and_nothing_more_of_it_is_delivered(tmp_path: Path) -> None:
    """INV-8: the look-up is served, asked once, and the other partition goes on."""
    lookup = Answering()
    codec = Codec(Item, 1)
    rig = Rig(tmp_path, codecs={**CODECS, "in": codec}, lookup=lookup)
    slot = rig.start(0)
    rig.spread()
    waiting = next(key for key in "abcdefgh" if partition_of(key.encode(), 2) == 0)
    other = next(key for key in "abcdefgh" if partition_of(key.encode(), 2) == 1)
    frame = codec.encode([Item(key=waiting, n=7)])[0]
    produce(rig.log, [("in", waiting.encode(), b"\x00\x00\x00\x00\x63" + frame[5:])])
    rig.run(0, 3)
    rig.produce([(other, "ok"), (waiting, "ok")])
    rig.run(0, 60)
    assert lookup.asked == {0x63}
    assert lookup.polls > 0
    assert slot.consumer.cursors[ZERO].paused
    assert not slot.consumer.cursors[ONE].paused
    assert rig.offsets == {ONE: 1}
    codec.refuse(0x63, "there is none")
    lookup.asked.clear()
    rig.settle()
    assert [letter.key for letter in rig.log.committed(DEAD_LETTERS)] == [waiting.encode()]


def test_a_partition_that_needs_no_restore_runs_at_once(rig: Rig) -> None:
    slot = rig.start(0)
    rig.spread()
    rig.run(0)
    assert [owned.ready for owned in slot.worker._partitions.owned.values()] == [True, True]
    assert not any(cursor.paused for cursor in slot.consumer.cursors.values())


def test_records_of_partitions_that_are_not_owned_are_dropped(rig: Rig) -> None:
    """A poll may return what was taken away while it ran."""
    slot = rig.start(0)
    rig.group.assign([ZERO], slot.consumer)
    rig.run(0)
    rig.produce([(key, "ok") for key in "abcdefgh"])
    slot.consumer.assign({ONE: None})
    rig.run(0, 60)
    assert set(rig.offsets) == {ZERO}
    del slot.consumer.cursors[ONE]
    rig.settle()
    assert rig.judge() > 0


def test_the_interval_of_a_commit_begins_with_its_first_record(rig: Rig) -> None:
    slot = rig.start(0)
    rig.spread()
    rig.run(0)
    rig.now += 100
    rig.produce([("a", "ok")])
    slot.worker.run_once()
    assert slot.worker._checkpoint.marks
    assert not slot.worker._checkpoint.due()


def test_what_was_done_is_counted(rig: Rig) -> None:
    slot = rig.start(0)
    rig.produce([("a", "ok"), ("a", "ok"), ("a", "junk"), ("a", "tombstone")])
    rig.settle()
    assert slot.worker.counts == {"processed": 2, "failed_in_decode": 1, "tombstones": 1, "outputs": 3}
