"""Broken runtimes that the rig's judge has to catch; `tests.scenarios.statemachine` plants more of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from happenings import play
from rig import Rig

from streams.errors import AbortedError
from streams.owned import Owned
from streams.record import TopicPartition
from streams.state.overlay import Overlay
from streams.state.restore import Restorer
from streams.state.task_state import TaskState
from streams.task import Task
from streams.worker import Worker

SEEDS = range(150)

Patch = Callable[[pytest.MonkeyPatch], None]


def no_rewind_after_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    rewind = Owned.rewind

    def forgetful(self: Owned) -> None:
        self.committed = self.done
        rewind(self)

    monkeypatch.setattr(Owned, "rewind", forgetful)


def overlay_kept_after_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Overlay, "discard", lambda self: self._dirty.clear())


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
    def failed(self: Task, record: Any, error: Any, mark: int) -> Any:
        return mark, (), *self.failures.answer(record, error, 0)

    monkeypatch.setattr(Task, "_failed", failed)


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
    no_rewind_after_abort,
    overlay_kept_after_abort,
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
