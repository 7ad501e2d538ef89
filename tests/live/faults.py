"""Apps whose workers have a known fault, for which a judge has to condemn them: `live.faults:FAULT_NAME`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from live.app import build
from streams.app import App
from streams.owned import Feed, Owned
from streams.record import RawRecord, TopicPartition
from streams.state.task_state import TaskState
from streams.stepper import Stepper
from streams.task import Step


def keep_state() -> None:
    """Leave the state of an aborted transaction as it is."""
    TaskState.discard = lambda _self: None  # type: ignore[method-assign] # replaced for this test


def mark_early() -> None:
    """Mark what was polled, not what was processed."""
    step = Stepper._step

    def marking(
        self: Stepper, partition: TopicPartition, owned: Owned, batch: list[RawRecord], source: Feed | None
    ) -> Step:
        polled = owned.buffer[-1].offset + 1 if source is owned else None
        done = step(self, partition, owned, batch, source)
        if polled is not None:
            self._checkpoint.mark(partition, polled)
        return done

    Stepper._step = marking  # type: ignore[method-assign] # replaced for this test


FAULTS: Final[dict[str, Callable[[], Any]]] = {
    "keepstate": keep_state,
    "markearly": mark_early,
}


def __getattr__(target: str) -> App:
    fault, _, name = target.partition("_")
    if fault not in FAULTS:
        raise AttributeError(target)
    FAULTS[fault]()
    return build(name)
