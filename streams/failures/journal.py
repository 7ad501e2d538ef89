"""Which records a worker is at, kept where the next process finds it: one that kills its process has to be found.

A few bytes in a mapped file, written before each step: they survive the process, and cost a microsecond.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from streams.errors import StreamsError
from streams.record import RawRecord

MOST_DEATHS = 3
_ROW = struct.Struct(">BIqqI")


class Attempt(NamedTuple):
    """Records that were being stepped: a partition of the input, first and last offset, and deaths over them so far."""

    partition: int
    first: int
    last: int
    deaths: int


class Journal:
    """The attempt that is under way in one slot. A process that ends while there is one died of it, perhaps.

    `before` is what the process before died over; its `deaths` count every process in a row that died over these
    records.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size < _ROW.size:
                os.ftruncate(descriptor, _ROW.size)
            self._map = mmap.mmap(descriptor, _ROW.size)
        finally:
            os.close(descriptor)
        open_, partition, first, last, deaths = _ROW.unpack_from(self._map)
        self.before = Attempt(partition, first, last, deaths + 1) if open_ else None

    def killer(self, partition: int) -> int | None:
        """Return the offset of the record of this partition that was alone when its process died, often enough."""
        before = self.before
        if before is None or before.partition != partition or before.first != before.last:
            return None
        return before.first if before.deaths >= MOST_DEATHS else None

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    @contextmanager
    def attempt(self, partition: int, records: Sequence[RawRecord]) -> Iterator[None]:
        """Note that records are handled in the block; whatever happens after it is no record's fault.

        Nor is an error that ends the worker in good order, as STOP does.
        """
        offsets = [record.offset for record in records]
        self._begin(partition, min(offsets), max(offsets))
        try:
            yield
        except StreamsError:
            self._end()
            raise
        self._end()

    def _begin(self, partition: int, first: int, last: int) -> None:
        deaths = self.before.deaths if self.before is not None and self._overlaps(partition, first, last) else 0
        _ROW.pack_into(self._map, 0, 1, partition, first, last, deaths)

    def _end(self) -> None:
        self._map[0] = 0

    def _overlaps(self, partition: int, first: int, last: int) -> bool:
        before = self.before
        return before is not None and before.partition == partition and first <= before.last and last >= before.first
