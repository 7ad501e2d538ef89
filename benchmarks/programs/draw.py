"""Draws the rows of workloads, which come as JSON from stdin, into the PNG file that is named as the argument."""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMNS = 3
COLOURS = {
    "ours": "#1b6ca8",
    "handwritten": "#555555",
    "kafka_streams": "#d98e04",
    "quix": "#7a4fa3",
    "bytewax": "#3a8f5c",
    "faust": "#b03a48",
    "faststream": "#4aa3a2",
}


def main() -> None:
    mpl.use("Agg")
    workloads: dict[str, Any] = json.load(sys.stdin)
    lines = -(-len(workloads) // COLUMNS)
    figure = Figure(figsize=(5.2 * COLUMNS, 2.6 * lines), layout="constrained")
    panels = list(figure.subplots(lines, COLUMNS, squeeze=False).flat)
    for panel in panels:
        panel.set_axis_off()
    for panel, (name, rows) in zip(panels, workloads.items(), strict=False):
        _draw(panel, name, rows)
    figure.savefig(sys.argv[1], dpi=110)


def _draw(panel: Axes, name: str, rows: dict[str, Any]) -> None:
    panel.set_axis_on()
    panel.set_title(f"{name}, {_unit(name)}", fontsize=9, loc="left")
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    most = max([max(_figure(row)) for row in rows.values()] + [1e-9])
    panel.set_xlim(0, most * 1.2)
    for place, (contender, row) in enumerate(rows.items()):
        middle, least, largest = _figure(row)
        error = [[middle - least], [largest - middle]] if largest else None
        panel.barh(place, middle, xerr=error, color=COLOURS.get(contender, "#999999"), error_kw={"lw": 0.8})
        panel.text(max(middle, largest) + most * 0.02, place, _told(row, middle), va="center", fontsize=7)
    panel.set_yticks(range(len(rows)), list(rows))
    panel.invert_yaxis()


def _unit(name: str) -> str:
    if name.startswith("latency"):
        return "p99 in ms at half of the capacity"
    return "seconds" if name.startswith("restore") else "thousand records a second"


def _figure(row: dict[str, Any]) -> tuple[float, float, float]:
    """Return the middle, the least and the largest figure."""
    if "records_per_second" in row:
        return row["records_per_second"] / 1e3, row["min"] / 1e3, row["max"] / 1e3
    if "restore_seconds" in row:
        return row["restore_seconds"], row["min"], row["max"]
    if "p99_ms" in row.get("at_50_percent", {}):
        return row["at_50_percent"]["p99_ms"], 0, 0
    return 0, 0, 0


def _told(row: dict[str, Any], middle: float) -> str:
    if "not_available" in row:
        return "n/a"
    if not middle:
        return "no figure"
    return f"{middle:,.0f}" if middle >= 10 else f"{middle:,.1f}"


if __name__ == "__main__":
    main()
