"""Broken runtimes that the judge of the random scenarios has to catch; if it does not, it proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import pytest
from fakes import Crash
from rig import Rig, play

from streams.checkpoint import Checkpoint
from streams.errors import AbortedError
from streams.owned import Owned
from streams.record import TopicPartition
from streams.state.backend import Backend
from streams.state.overlay import Overlay
from streams.state.restore import Restorer
from streams.state.task_state import TaskState
from streams.task import Task
from streams.worker import Worker

SEEDS = range(150)

Patch = Callable[[pytest.MonkeyPatch], None]


def offsets_before_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(self: Checkpoint) -> dict[TopicPartition, int]:
        offsets = dict(self.marks)
        if offsets:
            changes = {partition: state.changes() for partition, state in self._states.items()}
            positions = self._send_changelog(changes)
            self._producer.commit(offsets, self._group())
            self._producer.flush()
            for partition, state in self._states.items():
                state.committed(changes[partition], positions.get(partition, {}))
            self.clear()
        return offsets

    monkeypatch.setattr(Checkpoint, "commit", commit)


def state_before_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(self: Checkpoint) -> dict[TopicPartition, int]:
        offsets = dict(self.marks)
        if offsets:
            changes = {partition: state.changes() for partition, state in self._states.items()}
            positions = self._send_changelog(changes)
            self._producer.flush()
            for partition, state in self._states.items():
                state.committed(changes[partition], positions.get(partition, {}))
            self._producer.commit(offsets, self._group())
            self.clear()
        return offsets

    monkeypatch.setattr(Checkpoint, "commit", commit)


def commit_after_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "on_lost", Worker.on_revoked)


def close_without_commit_when_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outputs stay in the transaction, their offsets do not."""

    def on_revoked(self: Worker, partitions: Any) -> None:
        self._give_up(partitions, "revoked")

    monkeypatch.setattr(Worker, "on_revoked", on_revoked)


def no_rewind_after_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    rewind = Owned.rewind

    def forgetful(self: Owned) -> None:
        self.committed = self.done
        rewind(self)

    monkeypatch.setattr(Owned, "rewind", forgetful)


def overlay_kept_after_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Overlay, "discard", lambda self: self._dirty.clear())


def written_in_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """And every seventh time the process dies between them."""
    write = Backend.write
    times = count(1)

    def halves(self: Backend, changes: Mapping[str, Any], positions: Mapping[str, int]) -> None:
        write(self, {}, positions)
        if any(changes.values()) and next(times) % 7 == 0:
            raise Crash
        write(self, changes, {})

    monkeypatch.setattr(Backend, "write", halves)


def marked_before_the_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that was polled counts as done."""
    receive = Owned.receive

    def eager(self: Owned, records: Any) -> None:
        receive(self, records)
        self._end = records[-1].offset + 1
        if len(self.buffer) > 1:
            del self.buffer[-1]

    monkeypatch.setattr(Owned, "receive", eager)


def no_rollback_of_a_refused_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Task, record: Any, error: Any, mark: int) -> Any:
        return mark, (), self.refuse(record, error), error.stage

    monkeypatch.setattr(Task, "_refused", refused)


def refused_records_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never looking for the record that the broker refuses."""
    start_over = Worker._start_over

    def stubborn(self: Worker, error: AbortedError) -> None:
        error.fault = None
        start_over(self, error)

    monkeypatch.setattr(Worker, "_start_over", stubborn)


def no_restore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Restorer, "is_ready", lambda _self, _state: True)


def stale_cache_after_restore(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions move, rows do not."""
    follow = TaskState.follow

    def empty(self: TaskState, source: TopicPartition, records: Any, position: int) -> None:
        follow(self, source, records[:-1], position)

    monkeypatch.setattr(TaskState, "follow", empty)


def ends_are_not_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Owned, "take_end", lambda _self: None)


MUTANTS: list[Patch] = [
    offsets_before_flush,
    state_before_commit,
    commit_after_lost,
    close_without_commit_when_revoked,
    no_rewind_after_abort,
    overlay_kept_after_abort,
    written_in_two_steps,
    marked_before_the_outputs,
    no_rollback_of_a_refused_record,
    refused_records_block,
    no_restore,
    stale_cache_after_restore,
    ends_are_not_committed,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_judge_catches(
    mutant: Patch, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """INV-1, INV-2, INV-3, INV-4, INV-6, INV-10: each broken on purpose."""
    mutant(monkeypatch)
    for seed in SEEDS:
        rig = Rig(tmp_path_factory.mktemp("state"))
        try:
            play(rig, seed)
            rig.judge()
        except Exception as caught:  # noqa: BLE001 - the judge's, or what broke inside the broken runtime
            print(f"caught with seed {seed}: {caught!r:.200}")
            return
        finally:
            for number in list(rig.slots):
                rig.crash(number)
    raise AssertionError(f"{mutant.__name__} passed {len(SEEDS)} scenarios")
