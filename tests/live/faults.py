"""Apps whose workers have a known fault, for which a judge has to condemn them: `live.faults:FAULT_NAME`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from live.app import build
from streams.app import App
from streams.owned import Owned
from streams.record import TopicPartition
from streams.state.task_state import TaskState
from streams.worker import Worker


def keep_state() -> None:
    """Leave the state of an aborted transaction as it is."""
    TaskState.discard = lambda _self: None  # type: ignore[method-assign]


def mark_early() -> None:
    """Mark what was polled, not what was processed."""
    step = Worker._step

    def marking(self: Worker, partition: TopicPartition, owned: Owned) -> None:
        polled = owned.buffer[-1].offset + 1
        step(self, partition, owned)
        self._checkpoint.mark(partition, polled)

    Worker._step = marking  # type: ignore[method-assign]


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
