"""How long a contender takes to have its state back from Kafka: the counts of so many keys, one record each.

Each fills its state once. Then, in turn: some keys get one more record, the state folder is emptied (or left as it is),
and the contender is started; time is from the start of its process to the right counts of those keys in the output.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.programs.wire import Contract
from benchmarks.suite.bench import Bench, Started
from benchmarks.suite.contenders import Contender
from benchmarks.suite.errors import FAILURES, WrongOutputError
from benchmarks.suite.inputs import fill, frames
from benchmarks.suite.reference import Expected
from benchmarks.suite.runner import Keep, Row, Say
from benchmarks.suite.workloads import Input, Workload

NAME = "restore_1m"
WORKLOAD = Workload(NAME, "count", "counts of a million keys restored from Kafka", "Count", input=Input(each_once=True))
AGAIN = 1_000  # records after each restart
WITHOUT = {
    "handwritten": "it keeps its state nowhere but in its output, and does not read that",
    "bytewax": "its recovery store is a local file; from Kafka it has nothing to restore",
    "faust": "filling a million keys takes it half an hour",
    "faststream": "it keeps no state",
}


class _Restored:
    """A contender with its state filled."""

    def __init__(self, bench: Bench, contender: Contender, records: int) -> None:
        self.contender, self._bench = contender, bench
        self.failed = ""
        self.seconds: dict[str, list[float]] = {"restore": [], "warm": []}
        self.peak_rss_mb = 0.0
        name = f"{contender.name}-restore".replace("_", "-")
        self._job = bench.job(WORKLOAD, WORKLOAD.input.topic(records), name)

    def fill(self, expected: Expected) -> None:
        """Let it count everything."""
        with Started(self.contender, self._job) as process:
            self._bench.watched(process, self._job, expected)

    def restart(self, kind: str, expected: Expected, records: int, *, counted: bool) -> None:
        """Start it with or without its state folder; the input has `AGAIN` records more than before."""
        least = self._bench.outputs(self._job) + AGAIN  # to read all of it earlier would take the time that is measured
        _append(self._bench, self._job, expected, records)
        if kind == "restore":
            _empty(Path(self._job["state"]))
        began = time.perf_counter()
        with Started(self.contender, self._job) as process:
            watched = self._bench.watched(process, self._job, expected, least)
        if counted:
            self.seconds[kind].append(watched.last.at - began)
            self.peak_rss_mb = max(self.peak_rss_mb, watched.peak_rss_mb if kind == "restore" else 0)

    def row(self, records: int) -> Row:
        """Return what it comes to."""
        restore, warm = (self.seconds[kind] for kind in ("restore", "warm"))
        if not restore or not warm:
            return {"outputs_equal": False, "failed": self.failed}
        row = {
            "restore_seconds": round(median(restore), 2),
            "min": round(min(restore), 2),
            "max": round(max(restore), 2),
            "warm_start_seconds": round(median(warm), 2),
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            "outputs_equal": True,
            "keys": records,
            "repetitions": len(restore),
        }
        return row | ({"stopped": self.failed} if self.failed else {})

    def tidy(self) -> None:
        """Delete its topics."""
        self._bench.tidy(self._job)


def compare(
    bench: Bench, contenders: Sequence[Contender], records: int, repetitions: int, say: Say, keep: Keep
) -> Mapping[str, Row]:
    """Return a row for each contender; the first restart of each kind does not count."""
    expected = bench.prepare(WORKLOAD, records)
    able = [_Restored(bench, contender, records) for contender in contenders if contender.name not in WITHOUT]
    for one in able:
        _try(one, say, "filled", partial(one.fill, expected))
    for number in range(repetitions + 1):
        for kind in ("warm", "restore"):
            for one in able if number % 2 else able[::-1]:
                _try(one, say, kind, partial(one.restart, kind, expected, records, counted=number > 0))
        if number:
            keep(_rows(contenders, able, records))
    for one in able:
        one.tidy()
    return _rows(contenders, able, records)


def _rows(contenders: Sequence[Contender], able: Sequence[_Restored], records: int) -> Mapping[str, Row]:
    rows = {one.contender.name: one.row(records) for one in able}
    return {c.name: rows.get(c.name) or {"not_available": WITHOUT[c.name]} for c in contenders}


def _try(one: _Restored, say: Say, what: str, step: Callable[[], None]) -> None:
    if one.failed:
        return
    try:
        step()
    except FAILURES as error:
        one.failed = str(error) or repr(error)
        if isinstance(error, WrongOutputError):
            one.seconds = {"restore": [], "warm": []}
    say(f"{NAME} {one.contender.name} {what}: {one.failed or [round(s[-1], 2) for s in one.seconds.values() if s]}")


def _empty(state: Path) -> None:
    """Delete all but the name of the toolkit's slot: the others are told their member id with the job."""
    for path in sorted(state.rglob("*"), reverse=True):
        if path.is_file() and path.name != "id":
            path.unlink()


def _append(bench: Bench, job: Mapping[str, Any], expected: Expected, records: int) -> None:
    contract = Contract(job["source"]["schema"], job["source"]["id"])
    fill(bench.client, job["source"]["topic"], islice(frames(WORKLOAD.input, records, contract), AGAIN), expected.see)
