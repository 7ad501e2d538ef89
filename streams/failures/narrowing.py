"""Finding the record to blame when a transaction is refused: smaller and smaller ones, down to a single record."""

from __future__ import annotations

from streams.record import TopicPartition


class Narrowing:
    """How many records the next transaction may hold, and which one it was when it held one alone.

    Few at first, too: a handler that takes longer than a transaction lives lets it expire if other outputs wait in it,
    and one that kills its process should do so alone; a new process must not repeat that for ever.
    """

    def __init__(self, poll_records: int) -> None:
        """Begin with one record a transaction; `poll_records` is as many as are polled at a time."""
        self._poll_records = poll_records
        self._most: int | None = 1
        self._suspects = 0  # records of a refused transaction that did not pass yet; until then the few stay few
        self._attempts = 0  # records stepped since the last commit
        self._last: tuple[TopicPartition, int] | None = None  # the newest of them

    @property
    def attempts(self) -> int:
        """How many records are in the open transaction."""
        return self._attempts

    def suspect(self, records: int) -> None:
        """Go on with one record a transaction until so many have passed: one of them may kill the process."""
        self._most, self._suspects = 1, records

    def room(self) -> int:
        """Say how many records the open transaction may still take."""
        return self._poll_records if self._most is None else self._most - self._attempts

    def attempted(self, records: int, partition: TopicPartition, last: int) -> None:
        """Note records that went into the open transaction."""
        self._attempts += records
        self._last = (partition, last)

    def committed(self) -> None:
        """Note that the transaction passed: the next one may hold more."""
        self._suspects = max(0, self._suspects - self._attempts)
        self._attempts = 0
        if self._most is not None and not self._suspects:
            self._most = None if self._most >= self._poll_records else self._most * 2

    def refused(self) -> tuple[TopicPartition, int] | None:
        """Note that the transaction was refused because of a record; return that record once it is known."""
        attempts, self._attempts = self._attempts, 0
        if attempts == 1 and self._last is not None:
            self._suspects = 0
            return self._last
        self._suspects = attempts
        self._most = max(1, attempts // 16)  # an abort costs half a second, a small commit 5 ms
        return None

    def aborted(self) -> None:
        """Note that the transaction was given up through no record's fault."""
        self._attempts = 0
