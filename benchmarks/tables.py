"""Write the tables of results between the marks of README.md: `python -m benchmarks.tables RESULT.json …`.

Results of parts come together in one place; what stands above each table is from its manifest.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.latency import PERCENT
from benchmarks.suite.report import merged
from benchmarks.suite.runner import Row

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- results -->\n", "<!-- end -->"
RATES = ("contender", "records/s", "least to most", "ratio", "/ Kafka Streams", "CPU µs", "broker", "MB", "other cores")
LATENCY = ("contender", "at", "records/s", "p50 ms", "p99", "p99.9", "most", "load late")
RESTORE = ("contender", "seconds", "least to most", "with its state", "MB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--readme", type=Path, default=README)
    chosen = parser.parse_args()
    results = [json.loads(path.read_text()) for path in chosen.results]
    chosen.readme.write_text(between_marks(chosen.readme.read_text(), tables(results)))
    return 0


def between_marks(text: str, tables: str) -> str:
    """Return the text with these tables between its marks.

    Raises:
        ValueError: it has no marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no {BEGIN.strip()} with {END} behind it")
    return f"{before}{begin}{tables}\n{end}{after}"


def tables(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each run of the suite, and a table for each workload."""
    runs = [_run(result) for result in results]
    titles = {name: of for result in results for name, of in result["manifest"]["workloads"].items()}
    blocks = [_block(name, titles[name], rows) for name, rows in merged(results).items()]
    return "\n\n".join(["\n".join(runs), *blocks])


def _run(result: Mapping[str, Any]) -> str:
    manifest = result["manifest"]
    machine = manifest["machine"]
    where = f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_mb'] / 1024:.0f} GB"
    return f"- {manifest['at']}, commit `{manifest['commit'][:10]}`, {where}: {', '.join(result['workloads'])}"


def _block(name: str, about: Mapping[str, Any], rows: Mapping[str, Row]) -> str:
    kinds = {"latency": (LATENCY, _latencies), "restore": (RESTORE, _restores)}
    heads, lines_of = kinds.get(name.partition("_")[0], (RATES, _rates))
    lines = [_line(heads), "|" + "---|" * len(heads)]
    notes = []
    for contender, row in rows.items():
        if why := row.get("not_available") or row.get("failed"):
            said = "n/a" if "not_available" in row else "no figure"
            lines.append(_line((contender, said, *("",) * (len(heads) - 2))))
            notes.append(f"{contender}: {why.splitlines()[0]}")
            continue
        lines += [_line((contender, *cells)) for cells in lines_of(row)]
        if why := row.get("stopped"):
            notes.append(f"{contender} stopped after {row['repetitions']}: {why.splitlines()[0]}")
    title = f"`{name}`: {about['title']}, {about['guarantee'].replace('_', ' ')}{_size(rows)}"
    return "\n".join([title, "", *lines, *(["", "; ".join(notes) + "."] if notes else [])])


def _size(rows: Mapping[str, Row]) -> str:
    """Return how many records and repetitions there were, of those who had the same."""
    sizes: dict[tuple[int, int], list[str]] = {}
    for name, row in rows.items():
        if "records" in row:
            sizes.setdefault((row["records"], row["repetitions"]), []).append(name)
    told = (f"{', '.join(names)}: {size:,} records, {times} runs" for (size, times), names in sizes.items())
    return f" ({'; '.join(told)})" if sizes else ""


def _rates(row: Row) -> Iterator[tuple[str, ...]]:
    yield (
        f"{row['records_per_second']:,}",
        f"{row['min']:,} to {row['max']:,}",
        f"{row.get('ratio', '')}",
        f"{row.get('ratio_to_kafka_streams', '')}",
        f"{row['cpu_us_per_record']}",
        f"{row['broker_cpu_us_per_record']}",
        f"{row['peak_rss_mb']:.0f}",
        f"{row['other_cores']}",
    )


def _latencies(row: Row) -> Iterator[tuple[str, ...]]:
    for percent in PERCENT:
        at = row[f"at_{percent}_percent"]
        if "failed" in at:
            yield (f"{percent} %", "no figure", at["failed"].splitlines()[0], *("",) * 4)
        else:
            figures = (at[name] for name in ("p50_ms", "p99_ms", "p99_9_ms", "max_ms", "load_late_ms"))
            yield (f"{percent} %", f"{at['rate']:,}", *map(str, figures))


def _restores(row: Row) -> Iterator[tuple[str, ...]]:
    yield (
        f"{row['restore_seconds']}",
        f"{row['min']} to {row['max']}",
        f"{row['warm_start_seconds']}",
        f"{row['peak_rss_mb']:.0f}",
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
