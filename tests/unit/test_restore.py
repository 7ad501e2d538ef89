"""Restoring to the high watermark, following tables for ever, and wiping what a topic does not continue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from rig import Appended, Items

from streams import App
from streams.avro.codec import Codec
from streams.record import Positions, Record, TopicPartition
from streams.state.backend import Backend
from streams.state.restore import Bounds, Restorer
from streams.state.task_state import TaskState
from streams.testing.memory import Log, MemoryReader, Outcome, Transaction
from streams.topology import TopicSpec

app = App("restore")
lists = app.store("lists", str, Items)
names = app.table("names", Appended, key="key")
CHANGELOG, NAMES = TopicPartition("changelog", 0), TopicPartition("names", 0)
ITEMS, APPENDED = Codec(Items, 1), Codec(Appended, 2)


class Rig:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = Log([TopicSpec("changelog", 1, {}), TopicSpec("names", 1, {})])
        self.reader = MemoryReader(self.log, 1)
        self.starts: dict[TopicPartition, int] = {}
        self.restorer = Restorer(self.reader, self.bounds)
        self.state = self.opened()

    def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        return {tp: Bounds(self.starts.get(tp, 0), self.log.high_watermark(tp)) for tp in partitions}

    def opened(self) -> TaskState:
        return TaskState(
            Backend(self.path / "state", ["changelog", "names"], boot_id="one"),
            {lists: CHANGELOG, names: NAMES},
            {lists: ITEMS, names: APPENDED},
        )

    def change(self, key: str, *items: int, transaction: Transaction | None = None) -> None:
        [frame] = ITEMS.encode([Items(items=items)])
        self.log.append(Record("changelog", key.encode(), frame, 0, 0), transaction)

    def name(self, key: str, n: int, transaction: Transaction | None = None) -> None:
        [frame] = APPENDED.encode([Appended(key=key, n=n, size=0)])
        self.log.append(Record("names", key.encode(), frame, 0, 0), transaction)

    def restore(self, polls: int = 20) -> None:
        self.restorer.begin([self.state])
        for _ in range(polls):
            self.restorer.poll()

    def reopen(self) -> None:
        self.restorer.forget([self.state])
        self.state.close()
        self.state = self.opened()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.state.close()


def test_nothing_to_restore_is_ready_at_once(rig: Rig) -> None:
    rig.restorer.begin([rig.state])
    assert rig.restorer.is_ready(rig.state)
    assert set(rig.reader.cursors) == {NAMES}


def test_a_changelog_is_read_to_its_end_and_no_longer(rig: Rig) -> None:
    for n in range(10):
        rig.change(f"k{n % 4}", n)
    rig.restorer.begin([rig.state])
    assert not rig.restorer.is_ready(rig.state)
    assert rig.restorer.remaining() == {CHANGELOG: 10}
    for _ in range(20):
        rig.restorer.poll()
    assert rig.restorer.is_ready(rig.state)
    assert rig.restorer.remaining() == {}
    assert rig.state.get(lists, "k1") == Items(items=(9,))
    assert set(rig.reader.cursors) == {NAMES}
    assert rig.state.sources()[CHANGELOG] == 10


def test_what_a_transaction_holds_back_is_waited_for(rig: Rig) -> None:
    """INV-3: behind the last stable offset there may be committed rows whose marker is still to come."""
    rig.change("a", 1)
    pending = Transaction()
    rig.change("a", 1, 2, transaction=pending)
    rig.restore()
    assert not rig.restorer.is_ready(rig.state)
    rig.log.decide(pending, Outcome.COMMITTED)
    rig.restorer.poll()
    rig.restorer.poll()
    assert rig.restorer.is_ready(rig.state)
    assert rig.state.get(lists, "a") == Items(items=(1, 2))


def test_rows_of_an_aborted_transaction_are_not_restored_but_passed(rig: Rig) -> None:
    """INV-3: the end event says so where no record does."""
    aborted = Transaction()
    rig.change("a", 9, transaction=aborted)
    rig.log.decide(aborted, Outcome.ABORTED)
    rig.restore()
    assert rig.restorer.is_ready(rig.state)
    assert rig.state.get(lists, "a") is None
    assert rig.state.sources()[CHANGELOG] == 2


def test_a_second_restore_reads_only_what_is_new(rig: Rig) -> None:
    rig.change("a", 1)
    rig.restore()
    rig.reopen()
    rig.change("b", 2)
    rig.restorer.begin([rig.state])
    assert rig.reader.cursors[CHANGELOG].position == 1
    for _ in range(5):
        rig.restorer.poll()
    assert (rig.state.get(lists, "a"), rig.state.get(lists, "b")) == (Items(items=(1,)), Items(items=(2,)))


def test_state_beyond_the_end_of_its_topic_is_wiped(rig: Rig) -> None:
    """The topic was made anew: its offsets mean something else."""
    for n in range(5):
        rig.change("a", n)
    rig.restore()
    rig.reopen()
    rig.log._partitions[CHANGELOG].entries.clear()
    rig.change("b", 7)
    rig.restore()
    assert rig.state.get(lists, "a") is None
    assert rig.state.get(lists, "b") == Items(items=(7,))
    assert rig.restorer.is_ready(rig.state)


def test_state_before_the_start_of_its_topic_is_wiped(rig: Rig) -> None:
    """What was deleted in between is not known any more."""
    for n in range(5):
        rig.change(f"k{n}", n)
    rig.state.follow(CHANGELOG, [], 1)
    rig.state.put(lists, "old", Items(items=(1,)))
    rig.state.committed(rig.state.changes(), {"changelog": 1})
    rig.reopen()
    rig.starts[CHANGELOG] = 3
    rig.restore()
    assert rig.state.get(lists, "old") is None
    assert rig.state.get(lists, "k2") is None
    assert rig.state.get(lists, "k3") == Items(items=(3,))


def test_a_table_is_followed_for_ever(rig: Rig) -> None:
    rig.name("a", 1)
    rig.restore()
    assert rig.restorer.is_ready(rig.state)
    rig.name("a", 2)
    rig.name("b", 3)
    rig.restorer.poll()
    rig.restorer.poll()
    assert [rig.state.get(names, key).n for key in "ab"] == [2, 3]  # type: ignore[union-attr] # both are there
    assert rig.restorer.is_ready(rig.state)


def test_a_table_is_ready_when_what_was_there_at_assignment_is_read(rig: Rig) -> None:
    for n in range(7):
        rig.name("a", n)
    rig.restorer.begin([rig.state])
    rig.restorer.poll()
    assert not rig.restorer.is_ready(rig.state)
    rig.name("a", 99)
    for _ in range(6):
        rig.restorer.poll()
    assert rig.restorer.is_ready(rig.state)


def test_a_task_that_is_given_up_is_read_no_longer(rig: Rig) -> None:
    rig.change("a", 1)
    rig.name("a", 1)
    rig.restorer.begin([rig.state])
    rig.restorer.forget([rig.state])
    assert rig.reader.cursors == {}
    assert rig.restorer.remaining() == {}
    rig.restorer.poll()
    assert set(rig.state.sources().values()) == {None}


def test_tasks_do_not_disturb_each_other(tmp_path: Path) -> None:
    log = Log([TopicSpec("changelog", 2, {})])
    reader = MemoryReader(log, 1)
    restorer = Restorer(reader, log.bounds)
    states = [
        TaskState(
            Backend(tmp_path / str(number), ["changelog"], boot_id="one"),
            {lists: TopicPartition("changelog", number)},
            {lists: ITEMS},
        )
        for number in range(2)
    ]
    for number in range(2):
        [frame] = ITEMS.encode([Items(items=(number,))])
        for _ in range(1 + 20 * number):
            log.append(Record("changelog", b"a", frame, 0, number))
    restorer.begin(states)
    while not restorer.is_ready(states[0]):
        restorer.poll()
    assert not restorer.is_ready(states[1])
    assert states[0].get(lists, "a") == Items(items=(0,))
    restorer.forget(states[:1])
    while not restorer.is_ready(states[1]):
        restorer.poll()
    assert states[1].get(lists, "a") == Items(items=(1,))
    for state in states:
        state.close()


def test_many_tasks_are_taken_up_with_one_question_and_one_call(tmp_path: Path) -> None:
    """A call goes through all partitions that are followed: one for each of a thousand tasks would crawl."""
    log = Log([TopicSpec("changelog", 3, {})])
    told: list[Any] = []

    class Noting(MemoryReader):
        def follow(self, positions: Positions) -> None:
            told.append(dict(positions))
            super().follow(positions)

        def unfollow(self, partitions: Iterable[TopicPartition]) -> None:
            told.append(list(partitions))
            super().unfollow(partitions)

    def bounds(sources: Iterable[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        told.append("bounds")
        return log.bounds(sources)

    restorer = Restorer(Noting(log, 1), bounds)
    places = [TopicPartition("changelog", number) for number in range(3)]
    states = [
        TaskState(Backend(tmp_path / str(n), ["changelog"], boot_id="one"), {lists: places[n]}, {lists: ITEMS})
        for n in range(3)
    ]
    [frame] = ITEMS.encode([Items(items=(1,))])
    for number in range(3):
        log.append(Record("changelog", b"a", frame, 0, number))
    restorer.begin(states)
    assert told == ["bounds", dict.fromkeys(places, 0)]
    told.clear()
    restorer.forget(states)
    assert told == [places]
    for state in states:
        state.close()
