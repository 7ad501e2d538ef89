"""Whose fault failures are: when most of the last keys failed, it is what they all need, and not the records."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from streams.record import RawRecord

KEYS = 100  # distinct ones that are looked at
LEAST = 5  # failed keys that it takes
REMEMBERED = 1000  # records; a few hot keys must not hide the others for long

_Seen = tuple[list[bytes | None], bool]  # keys, and whether the last of them failed


class Judgement:
    """The newest outcome of the last keys of one processor in one worker; its tasks share it. Pure.

    `suspended` says that most of them failed, `failed` of `seen`. Then nothing new is begun and nothing is given up
    until enough of what waits succeeds.
    """

    def __init__(self) -> None:
        self._notes: deque[_Seen] = deque()
        self._records = 0
        self._failures = 0
        self.suspended = False
        self.failed = 0
        self.seen = 0

    def note(self, records: Sequence[RawRecord], *, last_failed: bool) -> None:
        """Take the outcome of records that were handled in this order: they succeeded, but for the last one perhaps."""
        if not records:
            return
        tail = [record.key for record in records[-KEYS:]]
        self._notes.append((tail, last_failed))
        self._records += len(tail)
        self._failures += last_failed
        while self._records - len(self._notes[0][0]) >= REMEMBERED:
            dropped, failed = self._notes.popleft()
            self._records -= len(dropped)
            self._failures -= failed
        if last_failed or self.suspended:
            self._judge()

    def _judge(self) -> None:
        self.seen, self.failed = self._count() if self._failures >= LEAST else (0, 0)
        self.suspended = self.failed >= LEAST and 2 * self.failed > self.seen

    def _count(self) -> tuple[int, int]:
        """Return how many distinct keys there were last, and how many of them failed the last time."""
        known: set[bytes] = set()
        seen = failed = 0
        for records, last_failed in reversed(self._notes):
            at_fault = last_failed
            for key in reversed(records):
                failing, at_fault = at_fault, False
                if key is not None and key in known:
                    continue
                if key is not None:
                    known.add(key)
                seen += 1
                failed += failing
                if seen == KEYS:
                    return seen, failed
        return seen, failed
