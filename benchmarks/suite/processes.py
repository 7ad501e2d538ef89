"""Processes as Linux tells of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks.suite.watch import cpu_seconds


class Footprint(NamedTuple):
    """What one process holds: memory in MB, resident, its share of what is shared, and its own alone."""

    pid: int
    cpu_seconds: float
    rss_mb: float
    pss_mb: float
    uss_mb: float
    threads: int
    files: int


def footprint(pid: int) -> Footprint:
    """Measure a process; raises OSError if it is gone."""
    told = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        told[name.rstrip(":")] = int(value) / 1024
    return Footprint(
        pid,
        round(cpu_seconds(pid), 2),
        round(told["Rss"], 1),
        round(told["Pss"], 1),
        round(told["Private_Clean"] + told["Private_Dirty"], 1),
        sum(1 for _ in Path(f"/proc/{pid}/task").iterdir()),
        sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
    )


def children(pid: int) -> Iterable[int]:
    """Yield a process's descendants."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield child
            yield from children(child)
