"""All contenders side by side: one cluster, one job, interleaved runs, every output compared before a figure counts.

    python -m benchmarks.run [--tier small|full] [--json] [--workload NAME …] [--contender NAME …]

It ends with 1 when the toolkit's output is not what it has to be, or when its ratio to the loop by hand is under the
bound of `suite/tiers.py`. README.md has the method.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.suite import latency, restore
from benchmarks.suite.bench import Bench
from benchmarks.suite.contenders import CONTENDERS, Contender
from benchmarks.suite.errors import FAILURES, BenchmarkError
from benchmarks.suite.latency import LATENCIES
from benchmarks.suite.manifest import as_text, manifest
from benchmarks.suite.report import table
from benchmarks.suite.runner import Keep, Row, compare
from benchmarks.suite.tiers import BOUNDS, TIERS, Tier, broken_bounds, chosen
from benchmarks.suite.watch import LONGEST
from benchmarks.suite.workloads import WORKLOADS
from streams.embedded import Cluster
from streams.errors import StreamsError


def run(
    tier: Tier, workloads: Sequence[str], contenders: Sequence[Contender], out: Path | None, longest: float = LONGEST
) -> dict[str, Any]:
    """Make the environments, start a cluster, and compare the contenders on each workload."""
    bounds = BOUNDS if tier == TIERS[tier.name] else {}  # they are for runs of a tier's own size
    for contender in contenders:
        _say(f"environment of {contender.name}")
        contender.environment.prepare()
    with Cluster.ephemeral(say=_say) as cluster, tempfile.TemporaryDirectory() as scratch:
        bench = Bench(cluster, Path(scratch), longest)
        result: dict[str, Any] = {
            "benchmark": "suite",
            "tier": tier.name,
            "unit": "input records per second, median of the repetitions; CPU in microseconds a record",
            "ratio_is": "contender / handwritten, median over the repetitions",
            "longest_run_seconds": longest,
            "workloads": {},
            "broken_bounds": [],
            "manifest": manifest(contenders, workloads, cluster.addresses),
        }

        def keep(name: str, rows: Mapping[str, Row]) -> None:
            result["workloads"][name] = rows
            result["broken_bounds"] = broken_bounds(result["workloads"], bounds)
            if out:
                out.write_text(as_text(result) + "\n")  # a long job that is cut off leaves what it has

        for name in workloads:
            try:
                keep(name, _rows(bench, tier, name, contenders, partial(keep, name)))
            except FAILURES as error:  # its input, say; the others are still worth their time
                _say(f"{name}: no figures: {error}")
                failed = {"outputs_equal": False, "failed": str(error)}
                rows = result["workloads"].get(name, {})
                keep(name, {one.name: rows.get(one.name, failed) for one in contenders})
        return result


def _rows(bench: Bench, tier: Tier, name: str, contenders: Sequence[Contender], keep: Keep) -> Mapping[str, Row]:
    if name in LATENCIES:
        return latency.compare(bench, name, contenders, tier.records, _say, keep)
    if name == restore.NAME:
        return restore.compare(bench, contenders, tier.records, tier.repetitions, _say, keep)
    workload = WORKLOADS[name]
    return compare(bench, workload, contenders, tier.records_of(workload), tier.repetitions, _say, keep)


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # contenders and cluster end with it
    tier = TIERS[options.tier].with_changes(options.records, options.repetitions)
    workloads = [name for given in options.workload for name in given] or list(tier.workloads)
    contenders = [CONTENDERS[name] for name in options.contender or tier.contenders]
    try:
        result = run(tier, workloads, contenders, options.out, options.limit)
    except (BenchmarkError, StreamsError) as error:
        _say(f"no result: {error}")
        return 1
    print(as_text(result) if options.json else table(result))
    for broken in result["broken_bounds"]:
        _say(broken)
    return 1 if result["broken_bounds"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tier", choices=TIERS, default="small")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="a file for the JSON object, written after each workload")
    parser.add_argument(
        "--workload", action="append", default=[], type=_workloads, help="a name, pattern or group; repeatable"
    )
    parser.add_argument("--contender", action="append", choices=CONTENDERS, help="only this one; repeatable")
    parser.add_argument("--records", type=_positive, help="instead of the tier's")
    parser.add_argument("--repetitions", type=_positive, help="counted runs of each contender")
    parser.add_argument("--limit", type=_positive, default=LONGEST, help="seconds that a run may take")
    return parser.parse_args()


def _workloads(given: str) -> tuple[str, ...]:
    try:
        return chosen([given])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive(given: str) -> int:
    number = int(given)
    if number < 1:
        raise argparse.ArgumentTypeError("give 1 or more")
    return number


def _say(told: str) -> None:
    print(told, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
