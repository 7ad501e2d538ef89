"""Which records run in lanes, kept where the next process finds it: one that kills its process has to be found.

Several run at once, so after a death each of them is a suspect. A suspect runs while nothing else does, so that the
next death tells it from the others. What ends well is none any more.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import structlog

from streams.failures.journal import MOST_DEATHS
from streams.lanes.runners import Job, Runner

Spot = tuple[int, int]
"""A partition of the input, and an offset."""

_ROW = struct.Struct(">BIqI")  # what it is, partition, offset, deaths
_NOTHING, _SUSPECT, _RUNNING = range(3)

_log = structlog.get_logger(__name__)


class Suspects:
    """The records that run in one slot and those that ran when its process died, in a mapped file; 0.5 µs a note."""

    def __init__(self, path: Path, concurrency: int) -> None:
        """Take over what the process before left; at most `concurrency` records run at a time.

        As many suspects are kept, those with the most deaths.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            left = _read(descriptor)
            os.ftruncate(descriptor, 0)
            os.ftruncate(descriptor, 2 * concurrency * _ROW.size)
            self._map = mmap.mmap(descriptor, 2 * concurrency * _ROW.size)
        finally:
            os.close(descriptor)
        worst = sorted(left.items(), key=lambda one: one[1], reverse=True)[:concurrency]
        self._deaths = dict(worst)
        self._rows: dict[Spot, int] = {}
        self._free = list(range(2 * concurrency))
        for spot in self._deaths:
            self._note(spot, _SUSPECT)
        if self._deaths:
            _log.warning("the process before died: what it had begun is tried alone", records=len(self._deaths))

    def __contains__(self, spot: Spot) -> bool:
        """Tell whether a record ran when the process died."""
        return spot in self._deaths

    def killers(self, partition: int) -> list[int]:
        """Return the offsets of the records of a partition over which the process died often enough."""
        return [at for (number, at), deaths in self._deaths.items() if number == partition and deaths >= MOST_DEATHS]

    def begin(self, spot: Spot) -> None:
        """Note that a record runs."""
        self._note(spot, _RUNNING)

    def end(self, spot: Spot) -> None:
        """Note that it ended; one that is given up without running stays known until that is committed."""
        if self._deaths.get(spot, 0) >= MOST_DEATHS:
            self._note(spot, _SUSPECT)
        else:
            self._forget(spot)

    def settle(self, spots: Iterable[Spot]) -> None:
        """Forget records that were dealt with: whoever comes back is tried again."""
        for spot in spots:
            self._forget(spot)

    def close(self) -> None:
        """Let go of the file; a process that ends in good order dies of nothing that runs."""
        for spot in list(self._rows):
            self._note(spot, _SUSPECT if spot in self._deaths else _NOTHING)
        self._map.close()

    def _note(self, spot: Spot, what: int) -> None:
        if spot not in self._rows:
            self._rows[spot] = self._free.pop()
        _ROW.pack_into(self._map, self._rows[spot] * _ROW.size, what, *spot, self._deaths.get(spot, 0))

    def _forget(self, spot: Spot) -> None:
        self._deaths.pop(spot, None)
        if spot in self._rows:
            self._note(spot, _NOTHING)
            self._free.append(self._rows.pop(spot))


class Watched:
    """A runner that notes which records run."""

    def __init__(self, runner: Runner, suspects: Suspects, spot_of: Callable[[Any], Spot]) -> None:
        self._runner = runner
        self._suspects = suspects
        self._spot_of = spot_of
        self.ask = runner.ask
        self.turn = runner.turn
        self.close = runner.close

    def start(self, job: Job, ended: Callable[[Any], None]) -> None:
        """Note a job, and begin it."""
        spot = self._spot_of(job)

        def over(job: Job) -> None:
            self._suspects.end(spot)
            ended(job)

        self._suspects.begin(spot)
        self._runner.start(job, over)


def _read(descriptor: int) -> dict[Spot, int]:
    """Return what the file tells: the deaths of each record, the last one of those that ran included."""
    held = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    rows = _ROW.iter_unpack(held[: len(held) // _ROW.size * _ROW.size])
    return {
        (partition, offset): deaths + (what == _RUNNING) for what, partition, offset, deaths in rows if what != _NOTHING
    }
