"""Records that were decoded before it is their turn, while the worker had to wait for a broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streams.record import RawRecord

Meanwhile = Callable[[], bool]
"""A little work that needs no broker, to be called while one is waited for; False once there is none left."""


def nothing() -> bool:
    """Have no work."""
    return False


class Ahead:
    """The records that come next in a partition, each with what it decodes to."""

    def __init__(self) -> None:
        self._records: list[RawRecord] = []
        self._values: list[Any] = []

    def __len__(self) -> int:
        """Count them."""
        return len(self._records)

    def add(self, records: Sequence[RawRecord], values: Sequence[Any]) -> None:
        """Take the records behind those that are here."""
        self._records += records
        self._values += values

    def take(self, batch: Sequence[RawRecord]) -> list[Any]:
        """Hand out the values of the batch's first records; none, and forget all, if others are here."""
        most = min(len(batch), len(self._records))
        if not most:
            return []
        if batch[0] is not self._records[0] or batch[most - 1] is not self._records[most - 1]:
            self.clear()
            return []
        values = self._values[:most]
        del self._records[:most], self._values[:most]
        return values

    def give_back(self, records: Sequence[RawRecord], values: Sequence[Any]) -> None:
        """Keep what a step left over: it comes before those that are here."""
        self._records[:0] = records
        self._values[:0] = values

    def clear(self) -> None:
        """Forget them: others come next."""
        self._records.clear()
        self._values.clear()
