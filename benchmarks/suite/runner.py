"""All contenders of a workload in turn, the order reversed each time; and what their runs come to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.suite.bench import Bench, Run
from benchmarks.suite.contenders import HANDWRITTEN, KAFKA_STREAMS, Contender
from benchmarks.suite.errors import FAILURES, WrongOutputError
from benchmarks.suite.workloads import Workload

Row = Mapping[str, Any]
Say = Callable[[str], None]
Keep = Callable[[Mapping[str, Row]], None]


@dataclass
class _Runs:
    """The counted runs of a contender by their number, and why it has no more."""

    records: int
    runs: dict[int, Run] = field(default_factory=dict)
    failed: str = ""


def compare(
    bench: Bench,
    workload: Workload,
    contenders: Sequence[Contender],
    records: int,
    repetitions: int,
    say: Say,
    keep: Keep,
) -> dict[str, Row]:
    """Return a row for each contender; those without the work are told with the reason.

    The first round warms broker and page cache up and does not count. Who fails once is out, and keeps the figures of
    the rounds before unless an output was wrong. `keep` is called with the rows after each round.
    """
    able = [contender for contender in contenders if not contender.not_available(workload)]
    found = {contender.name: _Runs(int(records * contender.share)) for contender in able}
    for number in range(repetitions + 1):
        for contender in able if number % 2 else able[::-1]:
            of = found[contender.name]
            if not of.failed:
                _run(bench, workload, contender, of, number, say)
        if number:
            keep(_rows(workload, contenders, found))
    return _rows(workload, contenders, found)


def _run(bench: Bench, workload: Workload, contender: Contender, of: _Runs, number: int, say: Say) -> None:
    told = f"{workload.name} {contender.name} {number or 'warm-up'}"
    began = time.perf_counter()
    try:
        run = bench.run(contender, workload, of.records, number)
    except FAILURES as error:
        of.failed = str(error) or repr(error)
        if isinstance(error, WrongOutputError):
            of.runs.clear()
        say(f"{told}: no figure: {error}")
        return
    took = f"{run.seconds:.1f} s of {time.perf_counter() - began:.1f} s"
    say(f"{told}: {run.records_per_second:,.0f} records/s, {run.cpu_us_per_record:.2f} us CPU, {took}")
    if number:
        of.runs[number] = run


def _rows(workload: Workload, contenders: Sequence[Contender], found: Mapping[str, _Runs]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for contender in contenders:
        if of := found.get(contender.name):
            works_on = {"works_on": "columns" if contender.columns else "records"} if workload.kind == "group" else {}
            rows[contender.name] = _row(of, found) | works_on
        else:
            rows[contender.name] = {"not_available": contender.not_available(workload)}
    return rows


def _row(of: _Runs, found: Mapping[str, _Runs]) -> dict[str, Any]:
    if not of.runs:
        return {"outputs_equal": False, "failed": of.failed}
    runs = list(of.runs.values())
    rates = [run.records_per_second for run in runs]
    row: dict[str, Any] = {
        "records_per_second": round(median(rates)),
        "min": round(min(rates)),
        "max": round(max(rates)),
        "cpu_us_per_record": round(median(run.cpu_us_per_record for run in runs), 2),
        "broker_cpu_us_per_record": round(median(run.broker_cpu_us_per_record for run in runs), 2),
        "peak_rss_mb": round(max(run.peak_rss_mb for run in runs), 1),
        "other_cores": round(median(run.other_cores for run in runs), 2),
        "outputs_equal": True,  # else there is no figure
        "compared": sum(run.compared for run in runs),
        "records": of.records,
        "repetitions": len(runs),
        "seconds": [round(run.seconds, 2) for run in runs],
    }
    ratios = {"ratio": HANDWRITTEN, "ratio_to_kafka_streams": KAFKA_STREAMS}
    row |= {key: ratio for key, name in ratios.items() if (ratio := _ratio(of, found.get(name))) is not None}
    return row | ({"stopped": of.failed} if of.failed else {})


def _ratio(of: _Runs, reference: _Runs | None) -> float | None:
    """Return the median of the ratios within a round, None if there is no round with both."""
    if reference is None or not (both := of.runs.keys() & reference.runs.keys()):
        return None
    pairs = ((of.runs[number], reference.runs[number]) for number in both)
    return round(median(a.records_per_second / b.records_per_second for a, b in pairs), 3)
