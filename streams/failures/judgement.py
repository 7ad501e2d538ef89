"""Whose fault failures are: when most of the last keys failed, it is what they all need, and not the records."""

from __future__ import annotations

from collections.abc import Sequence

from streams.record import RawRecord

KEYS = 100  # distinct ones that are looked at
LEAST = 5  # failed keys that it takes


class Judgement:
    """The newest outcome of the last keys of one processor in one worker; its tasks share it. Pure.

    `suspended` says that most of them failed, `failed` of `seen`. Then nothing new is begun and nothing is given up
    until enough of what waits succeeds. New records decide which keys are the last ones; further attempts only change
    their outcome, or a few keys that are tried again and again would soon be most of all.
    """

    def __init__(self) -> None:
        self._failing: dict[bytes | int, bool] = {}  # by key, the longest unseen first; records without one by offset
        self.failed = 0

    @property
    def seen(self) -> int:
        """How many keys are looked at."""
        return len(self._failing)

    @property
    def suspended(self) -> bool:
        """Tell whether most of the last keys failed."""
        return self.failed >= LEAST and 2 * self.failed > len(self._failing)

    def forget(self) -> None:
        """Begin anew."""
        self._failing.clear()
        self.failed = 0

    def note(self, records: Sequence[RawRecord], *, last_failed: bool, again: bool) -> None:
        """Take the outcome of records in the order they were handled: well, but for the last one perhaps."""
        failing = self._failing
        last = len(records) - 1
        for at in range(max(0, len(records) - KEYS), len(records)):
            record = records[at]
            key = record.offset if record.key is None else record.key
            before = failing.get(key) if again else failing.pop(key, None)
            if again and before is None:
                continue
            failing[key] = failed = last_failed and at == last
            self.failed += failed - bool(before)
        while len(failing) > KEYS:
            self.failed -= failing.pop(next(iter(failing)))
