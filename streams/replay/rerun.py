"""The loop of a replay: handle → hand over → commit, in short transactions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

from streams.errors import AbortedError, EncodeError, RecordError, StreamsError
from streams.record import RawRecord, TopicPartition
from streams.replay.handling import Handling, Refusal
from streams.replay.job import Parts

MOST_OUTPUTS = 10_000  # of a transaction
LONGEST = 1.0  # seconds; a transaction ends between two records


class Outlet(Protocol):
    """Where outputs go; what is sent counts once it is committed."""

    def send(self, outputs: Sequence[RawRecord]) -> None:
        """Hand outputs over."""

    def commit(self, done: Mapping[TopicPartition, int]) -> None:
        """Make what was sent count, and note that everything below these offsets is done.

        Raises:
            AbortedError: it does not count; a record is to blame or not.
        """

    def abort(self) -> None:
        """Take back what was sent since the last commit."""


class Counts(NamedTuple):
    """What a replay did."""

    records: int
    outputs: int
    refused: int


class Rerun:
    """Replays records. One whose outputs or state are refused on commit is found by redoing them one by one."""

    def __init__(
        self,
        handling: Handling,
        outlet: Outlet,
        parts: Parts,
        refused: Callable[[Refusal], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`refused` hears of every record that failed, once."""
        self._handling = handling
        self._outlet = outlet
        self._parts = parts
        self._tell = refused
        self._clock = clock
        self._done: dict[TopicPartition, int] = {}
        self._suspects = 0  # records of a transaction that was refused, which are redone one by one
        self._taken = 0
        self._records = self._outputs = self._refused = 0

    @property
    def counts(self) -> Counts:
        """Return what was done so far."""
        return Counts(self._records, self._outputs, self._refused)

    def handle(self, records: Sequence[RawRecord]) -> None:
        """Replay records, of several partitions perhaps, each in its order.

        Raises:
            StreamsError: it cannot go on; what was committed counts.
        """
        at = 0
        while at < len(records):
            alone = self._suspects > 0
            self._taken = 0
            try:
                self._transaction(records[at : at + 1] if alone else records[at:])
            except (AbortedError, EncodeError) as error:
                self._undo(error)
                if not alone:
                    self._suspects = self._taken
                    continue
                self._refuse(records[at], error)
            at += self._taken
            self._suspects = max(0, self._suspects - self._taken)

    def finish(self) -> None:
        """Note that everything is done, what is behind the last record too."""
        try:
            self._outlet.commit({tp: part.span.end for tp, part in self._parts.items()})
        except AbortedError as error:
            self._undo(error)

    def _transaction(self, records: Sequence[RawRecord]) -> None:
        """Handle records from the first one on until it is time to commit."""
        began, sent, handled = self._clock(), 0, 0
        over = False
        for (tp, wanted), run in groupby(records, lambda record: (record.origin, self._wanted(record))):
            left = list(run)
            while left and not over:
                consumed, outputs = self._handling.step(left, lambda: self._clock() - began >= LONGEST)
                self._taken += consumed
                if wanted:
                    self._outlet.send(outputs)
                    sent, handled = sent + len(outputs), handled + consumed
                    self._done[tp] = left[consumed - 1].offset + 1
                del left[:consumed]
                over = sent >= MOST_OUTPUTS or self._clock() - began >= LONGEST
        self._commit()
        self._records, self._outputs = self._records + handled, self._outputs + sent

    def _commit(self) -> None:
        changes = self._handling.changes()
        self._outlet.commit(self._done)
        self._handling.commit(changes)
        self._done = {}
        for refusal in self._handling.take_refusals():
            if self._wanted(refusal[0]):
                self._refused += 1
                self._tell(refusal)

    def _undo(self, error: AbortedError | EncodeError) -> None:
        self._outlet.abort()
        self._handling.discard()
        self._done = {}
        if isinstance(error, AbortedError) and error.fault is None:
            raise StreamsError(
                f"a transaction of the replay was rolled back: {error}",
                fix="see how the broker is, then go on with --job",
            ) from error

    def _refuse(self, record: RawRecord, error: AbortedError | EncodeError) -> None:
        fault = error.fault if isinstance(error, AbortedError) else error
        assert isinstance(fault, RecordError)
        self._taken = 1
        if self._wanted(record):
            self._records += 1
            self._refused += 1
            self._tell((record, fault))

    def _wanted(self, record: RawRecord) -> bool:
        return record.offset >= self._parts[record.origin].wanted_from
