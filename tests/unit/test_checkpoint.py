"""mark · due · commit: the order of the calls is the guarantee."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from rig import CHANGELOG, CODECS, Items, lists

from streams.checkpoint import Checkpoint
from streams.errors import AbortedError, EncodeError, FencedError
from streams.record import RawRecord, TopicPartition
from streams.state.backend import Backend
from streams.state.task_state import TaskState

ZERO, ONE = TopicPartition("in", 0), TopicPartition("in", 1)


class Calls:
    """A producer that notes its calls, looks at the local store meanwhile, and can fail."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.fails: dict[str, Exception] = {}
        self.stored: Callable[[], object] = lambda: None
        self.sent: list[RawRecord] = []
        self._reports: list[Callable[[int], None]] = []

    def _note(self, name: str, what: object = None) -> None:
        self.calls.append((name, what))
        assert self.stored() is None, f"INV-3: the store has the write at {name}"
        if name in self.fails:
            raise self.fails[name]

    def send(self, records: list[RawRecord]) -> None:
        self._note("send", len(records))
        self.sent += records

    def send_tracked(self, record: RawRecord, delivered: Callable[[int], None]) -> None:
        self._note("send_tracked")
        self.sent.append(record)
        self._reports.append(delivered)

    def flush(self) -> None:
        self._note("flush")
        for number, report in enumerate(self._reports):
            report(40 + number)

    def commit(self, offsets: Mapping[TopicPartition, int], group: Any) -> None:
        self._note("commit", (dict(offsets), group))


class Rig:
    def __init__(self, path: Path) -> None:
        self.producer = Calls()
        self.states: dict[TopicPartition, TaskState] = {}
        for partition in (ZERO, ONE):
            backend = Backend(path / str(partition.partition), [CHANGELOG], boot_id="one")
            source = TopicPartition(CHANGELOG, partition.partition)
            self.states[partition] = TaskState(backend, {lists: source}, {lists: CODECS[CHANGELOG]})
        self.now = 0.0
        self.checkpoint = Checkpoint(
            self.producer,
            self.states,
            lambda: "generation 3",
            interval=1.0,
            most_records=10,
            clock=lambda: self.now,
            now_ms=lambda: 77,
        )

    def row(self, partition: TopicPartition, key: bytes) -> bytes | None:
        backend = self.states[partition]._backend
        assert backend is not None
        return backend.get(CHANGELOG, key)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    for state in made.states.values():
        state.close()


def test_changelog_flush_offsets_and_only_then_the_store(rig: Rig) -> None:
    """INV-2, INV-3."""
    rig.states[ZERO].put(lists, "a", Items(items=(1,)))
    rig.states[ZERO].put(lists, "b", Items(items=(2,)))
    rig.states[ONE].put(lists, "c", Items(items=(3,)))
    rig.checkpoint.mark(ZERO, 5)
    rig.checkpoint.mark(ONE, 9)
    rig.producer.stored = lambda: rig.row(ZERO, b"a") or rig.row(ONE, b"c")
    assert rig.checkpoint.commit() == {ZERO: 5, ONE: 9}
    names = [name for name, _ in rig.producer.calls]
    assert names == ["send", "send_tracked", "send", "send_tracked", "flush", "commit"]
    assert rig.producer.calls[-1][1] == ({ZERO: 5, ONE: 9}, "generation 3")
    assert [(r.topic, r.key, r.partition, r.timestamp_ms) for r in rig.producer.sent] == [
        (CHANGELOG, b"a", 0, 77),
        (CHANGELOG, b"b", 0, 77),
        (CHANGELOG, b"c", 1, 77),
    ]
    assert rig.row(ZERO, b"a") == CODECS[CHANGELOG].encode([Items(items=(1,))])[0]
    assert [list(state.sources().values()) for state in rig.states.values()] == [[41], [42]]
    assert rig.checkpoint.marks == {}


@pytest.mark.parametrize("call", ["send", "send_tracked", "flush", "commit"])
@pytest.mark.parametrize("failure", [AbortedError("x"), FencedError("x")])
def test_a_commit_that_fails_anywhere_leaves_the_store_alone(rig: Rig, call: str, failure: Exception) -> None:
    """INV-3: and the marks, which the worker clears with the rewind."""
    rig.states[ZERO].put(lists, "a", Items(items=(1,)))
    rig.checkpoint.mark(ZERO, 5)
    rig.producer.fails[call] = failure
    with pytest.raises(type(failure)):
        rig.checkpoint.commit()
    assert rig.row(ZERO, b"a") is None
    assert rig.states[ZERO].pending() == 1
    rig.checkpoint.clear()
    assert rig.checkpoint.commit() == {}


def test_a_state_value_that_does_not_encode_sends_nothing(rig: Rig) -> None:
    rig.states[ONE].put(lists, "a", Items.model_construct(items=("x",)))
    rig.checkpoint.mark(ZERO, 5)
    with pytest.raises(EncodeError):
        rig.checkpoint.commit()
    assert rig.producer.calls == []


def test_nothing_marked_nothing_committed(rig: Rig) -> None:
    assert rig.checkpoint.commit() == {}
    assert rig.producer.calls == []


def test_offsets_alone_are_committed_too(rig: Rig) -> None:
    """INV-5: a skipped record moves the offset like any other."""
    rig.checkpoint.mark(ZERO, 5)
    assert rig.checkpoint.commit() == {ZERO: 5}
    assert [name for name, _ in rig.producer.calls] == ["flush", "commit"]


def test_a_commit_is_due_by_time_since_the_first_work(rig: Rig) -> None:
    rig.now = 50.0
    assert not rig.checkpoint.due()
    rig.checkpoint.begin()
    rig.checkpoint.mark(ZERO, 1)
    rig.now = 50.9
    rig.checkpoint.begin()
    assert not rig.checkpoint.due()
    assert not rig.checkpoint.expired()
    rig.now = 51.0
    assert rig.checkpoint.expired()
    assert rig.checkpoint.due()


def test_a_commit_is_due_by_outputs_and_changelog_records(rig: Rig) -> None:
    rig.checkpoint.begin()
    rig.checkpoint.mark(ZERO, 1, outputs=6)
    rig.states[ONE].put(lists, "a", Items(items=()))
    assert not rig.checkpoint.due()
    rig.checkpoint.mark(ZERO, 2, outputs=3)
    assert rig.checkpoint.due()
    rig.checkpoint.commit()
    rig.checkpoint.mark(ZERO, 3)
    assert not rig.checkpoint.due()


def test_the_newest_mark_of_a_partition_counts(rig: Rig) -> None:
    """INV-1."""
    rig.checkpoint.mark(ZERO, 1)
    rig.checkpoint.mark(ZERO, 4)
    assert rig.checkpoint.commit() == {ZERO: 4}


def test_outputs_count_from_the_last_commit(rig: Rig) -> None:
    rig.checkpoint.mark(ZERO, 1, outputs=10)
    assert rig.checkpoint.due()
    rig.checkpoint.commit()
    rig.checkpoint.mark(ZERO, 2, outputs=1)
    assert not rig.checkpoint.due()


def test_an_end_alone_is_due_in_time_too(rig: Rig) -> None:
    """INV-10: though no work began."""
    rig.checkpoint.mark(ZERO, 1)
    assert not rig.checkpoint.due()
    rig.now = 1.0
    assert rig.checkpoint.due()
