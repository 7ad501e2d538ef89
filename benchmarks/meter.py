"""What is measured inside a contender's process, in the same way for both."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping
from pathlib import Path


class Meter:
    """Time and CPU from the first poll that returned records to the commit that reaches every end.

    `ends` has the end offset of each partition. CPU is user plus system time of all threads of the process.
    """

    def __init__(self, ends: Mapping[int, int]) -> None:
        self._ends = dict(ends)
        self._committed: dict[int, int] = {}
        self._started: tuple[float, float] | None = None
        self._ended: tuple[float, float] | None = None
        self._commits = 0

    @property
    def done(self) -> bool:
        """Tell whether everything was committed."""
        return self._ended is not None

    def polled(self) -> None:
        """Note that a poll has just returned records."""
        if self._started is None:
            self._started = _now()

    def committed(self, offsets: Mapping[int, int]) -> None:
        """Note that a transaction with these offsets, by partition, was committed."""
        self._commits += 1
        self._committed.update(offsets)
        if all(self._committed.get(partition, 0) >= end for partition, end in self._ends.items()):
            self._ended = self._ended or _now()

    def report(self) -> dict[str, float]:
        """Return what was measured."""
        assert self._started is not None
        assert self._ended is not None
        return {
            "seconds": self._ended[0] - self._started[0],
            "cpu_seconds": self._ended[1] - self._started[1],
            "peak_rss_mb": _peak_rss_mb(),
            "commits": self._commits,
        }


def _now() -> tuple[float, float]:
    times = os.times()
    return time.perf_counter(), times.user + times.system


def _peak_rss_mb() -> float:
    """Return the peak of this program alone: ru_maxrss starts with what the parent held before exec."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
