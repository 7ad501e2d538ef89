"""The result as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = f"{'':14} {'records/s':>10} {'min':>10} {'max':>10} {'CPU us':>8} {'broker':>8} {'RSS MB':>8} {'ratio':>7}"


def table(result: Mapping[str, Any]) -> str:
    """Return a block for each workload."""
    lines: list[str] = []
    for workload, rows in result["workloads"].items():
        about = result["manifest"]["workloads"][workload]
        lines += ["", f"{workload}: {about['title']}, {about['guarantee'].replace('_', ' ')}", COLUMNS]
        lines += [_line(name, row) for name, row in rows.items()]
    return "\n".join(lines[1:])


def _line(name: str, row: Mapping[str, Any]) -> str:
    if why := row.get("not_available"):
        return f"{name:14} n/a: {why}"
    if why := row.get("failed"):
        return f"{name:14} no figure: {why.splitlines()[0]}"
    return (
        f"{name:14} {row['records_per_second']:>10,} {row['min']:>10,} {row['max']:>10,} "
        f"{row['cpu_us_per_record']:>8.2f} {row['broker_cpu_us_per_record']:>8.2f} {row['peak_rss_mb']:>8.0f} "
        f"{row.get('ratio', ''):>7}"
    )
