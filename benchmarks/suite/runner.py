"""All contenders of a workload in turn, the order reversed each time; and what their runs come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.suite.bench import Bench, Run
from benchmarks.suite.contenders import HANDWRITTEN, Contender
from benchmarks.suite.errors import BenchmarkError
from benchmarks.suite.workloads import Workload

Row = Mapping[str, Any]
Say = Callable[[str], None]


@dataclass
class _Runs:
    """The counted runs of a contender, or why there are none."""

    records: int
    runs: list[Run] = field(default_factory=list)
    failed: str = ""


def compare(
    bench: Bench, workload: Workload, contenders: Sequence[Contender], records: int, repetitions: int, say: Say
) -> dict[str, Row]:
    """Return a row for each contender; those without the work are told with the reason.

    The first round warms broker and page cache up and does not count. Who fails once is out.
    """
    able = [contender for contender in contenders if not contender.not_available(workload)]
    found = {contender.name: _Runs(int(records * contender.share)) for contender in able}
    for number in range(repetitions + 1):
        for contender in able if number % 2 else able[::-1]:
            of = found[contender.name]
            if not of.failed:
                _run(bench, workload, contender, of, number, say)
    reference = found.get(HANDWRITTEN)
    return {
        contender.name: _row(found[contender.name], reference)
        if contender.name in found
        else {"not_available": contender.not_available(workload)}
        for contender in contenders
    }


def _run(bench: Bench, workload: Workload, contender: Contender, of: _Runs, number: int, say: Say) -> None:
    told = f"{workload.name} {contender.name} {number or 'warm-up'}"
    try:
        run = bench.run(contender, workload, of.records, number)
    except BenchmarkError as error:
        of.failed = str(error)
        say(f"{told}: no figure: {error}")
        return
    say(f"{told}: {run.records_per_second:,.0f} records/s, {run.cpu_us_per_record:.2f} us CPU, {run.seconds:.1f} s")
    if number:
        of.runs.append(run)


def _row(of: _Runs, reference: _Runs | None) -> Row:
    if of.failed:
        return {"outputs_equal": False, "failed": of.failed}
    rates = [run.records_per_second for run in of.runs]
    row: dict[str, Any] = {
        "records_per_second": round(median(rates)),
        "min": round(min(rates)),
        "max": round(max(rates)),
        "cpu_us_per_record": round(median(run.cpu_us_per_record for run in of.runs), 2),
        "broker_cpu_us_per_record": round(median(run.broker_cpu_us_per_record for run in of.runs), 2),
        "peak_rss_mb": round(max(run.peak_rss_mb for run in of.runs), 1),
        "other_cores": round(median(run.other_cores for run in of.runs), 2),
        "outputs_equal": True,  # else there is no figure
        "compared": sum(run.compared for run in of.runs),
        "records": of.records,
        "repetitions": len(of.runs),
        "seconds": [round(run.seconds, 2) for run in of.runs],
    }
    if reference and not reference.failed:
        pairs = zip(of.runs, reference.runs, strict=True)
        row["ratio"] = round(median(a.records_per_second / b.records_per_second for a, b in pairs), 3)
    return row
