"""The result as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.suite.latency import PERCENT
from benchmarks.suite.runner import Row

RATES, COSTS = f"{'records/s':>10} {'min':>10} {'max':>10}", f"{'CPU us':>8} {'broker':>8} {'RSS MB':>8}"
COLUMNS = f"{'':14} {RATES} {COSTS} {'other':>7} {'ratio':>7} {'/ Kafka S.':>10}"
RESTORE = f"{'':14} {'seconds':>10} {'min':>10} {'max':>10} {'with its state':>15} {'RSS MB':>8}"
LATENCY = f"{'ms':14} {'records/s':>10} {'p50':>8} {'p99':>8} {'p99.9':>8} {'max':>8} {'load late':>10}"


def table(result: Mapping[str, Any]) -> str:
    """Return a block for each workload."""
    lines: list[str] = []
    for workload, rows in result["workloads"].items():
        about = result["manifest"]["workloads"][workload]
        columns = LATENCY if workload.startswith("latency") else RESTORE if workload.startswith("restore") else COLUMNS
        lines += ["", f"{workload}: {about['title']}, {about['guarantee'].replace('_', ' ')}", columns]
        for name, row in rows.items():
            lines += _lines(name, row)
            if why := row.get("stopped"):
                lines.append(f"{'':14} after {row['repetitions']} it stopped: {why.splitlines()[0]}")
    return "\n".join(lines[1:])


def _lines(name: str, row: Mapping[str, Any]) -> list[str]:
    if why := row.get("not_available"):
        return [f"{name:14} n/a: {why}"]
    if why := row.get("failed"):
        return [f"{name:14} no figure: {why.splitlines()[0]}"]
    if "capacity" in row:
        return [_latency(name, at, row[f"at_{at}_percent"]) for at in PERCENT]
    if "restore_seconds" in row:
        spread = f"{row['restore_seconds']:>10} {row['min']:>10} {row['max']:>10}"
        return [f"{name:14} {spread} {row['warm_start_seconds']:>15} {row['peak_rss_mb']:>8.0f}"]
    rates = f"{row['records_per_second']:>10,} {row['min']:>10,} {row['max']:>10,}"
    costs = f"{row['cpu_us_per_record']:>8.2f} {row['broker_cpu_us_per_record']:>8.2f} {row['peak_rss_mb']:>8.0f}"
    ratios = f"{row.get('ratio', ''):>7} {row.get('ratio_to_kafka_streams', ''):>10}"
    return [f"{name:14} {rates} {costs} {row['other_cores']:>7} {ratios}"]


def _latency(name: str, percent: int, at: Mapping[str, Any]) -> str:
    told = f"{name} {percent}%"
    if why := at.get("failed"):
        return f"{told:18} no figure: {why.splitlines()[0]}"
    return (
        f"{told:18} {at['rate']:>6,} {at['p50_ms']:>8} {at['p99_ms']:>8} {at['p99_9_ms']:>8} "
        f"{at['max_ms']:>8} {at['load_late_ms']:>10}"
    )


def merged(results: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Row]]:
    """Return the rows of several results by workload; of the same row the later one counts."""
    workloads: dict[str, dict[str, Row]] = {}
    for result in results:
        for name, rows in result["workloads"].items():
            workloads.setdefault(name, {}).update(rows)
    return workloads
