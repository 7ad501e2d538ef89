"""Doing it: bounded transactions, not faster than asked, resumable at every moment because each leaves its notes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, Protocol

from streams.dlq.plan import Action
from streams.errors import SendError
from streams.record import RawRecord

MOST_ACTIONS: Final = 500
MOST_BYTES: Final = 4 << 20
_SLICE = 0.1  # seconds; so soon a signal is heard


class Producer(Protocol):
    """Commits records together."""

    def commit_batch(self, records: list[RawRecord], /) -> None:
        """Commit all of them or none; raises SendError if one of them is refused for good."""


class Refused(NamedTuple):
    """What the broker does not take."""

    action: Action
    why: str


class Pace:
    """Lets so many actions pass in a second; without a rate, all."""

    def __init__(self, rate: float | None, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._next = clock()

    @property
    def most(self) -> int:
        """How many actions a transaction takes: no more than a second's."""
        return MOST_ACTIONS if self._rate is None else max(1, min(MOST_ACTIONS, math.floor(self._rate)))

    def wait(self, count: int, stopping: Callable[[], bool]) -> None:
        """Wait until the next `count` actions are due, or `stopping` says so."""
        if self._rate is None:
            return
        while (left := self._next - self._clock()) > 0 and not stopping():
            self._sleep(min(left, _SLICE))
        self._next = max(self._next, self._clock()) + count / self._rate


def run(
    producer: Producer,
    actions: Iterable[Action],
    pace: Pace,
    stopping: Callable[[], bool],
    done: Callable[[int], None],
) -> list[Refused]:
    """Commit all actions in their order, or until `stopping` says so between two transactions.

    `done` hears how many were committed. Returns those that the broker refuses for good; they stay as they are.
    """
    refused: list[Refused] = []
    for batch in batches(actions, pace.most):
        pace.wait(len(batch), stopping)
        if stopping():
            break
        failed = _commit(producer, batch)
        refused += failed
        done(len(batch) - len(failed))
    return refused


def batches(actions: Iterable[Action], most: int) -> Iterator[list[Action]]:
    """Yield actions in batches, bounded by number and size."""
    batch: list[Action] = []
    size = 0
    for action in actions:
        batch.append(action)
        size += _size(action)
        if len(batch) >= most or size >= MOST_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _commit(producer: Producer, batch: list[Action]) -> list[Refused]:
    """Commit a batch; one that is refused is halved until the one to blame stands alone."""
    try:
        producer.commit_batch(_in_runs(batch))
    except SendError as error:
        if len(batch) == 1:
            return [Refused(batch[0], str(error))]
        half = len(batch) // 2
        return _commit(producer, batch[:half]) + _commit(producer, batch[half:])
    return []


def _in_runs(batch: list[Action]) -> list[RawRecord]:
    """Put what is sent before the notes: a worker takes records up to the next note as one batch."""
    return [record for at in (0, 1) for action in batch for record in action.records[at : at + 1]]


def _size(action: Action) -> int:
    headers = (header for record in action.records for header in record.headers)
    body = sum(len(record.key or b"") + len(record.value or b"") for record in action.records)
    return body + sum(len(name) + len(value or b"") for name, value in headers)
