"""`python -m tests.scenarios.conservation --records 1000000 --json`: is every record conserved, whatever befalls?"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from streams.embedded import Cluster
from streams.logs import configure_logs
from streams.settings import Settings, load_settings

from .run import Run

PAIRS = 3
MOST_TIMED = 200_000  # records of one timed run
RATE = 6_500.0  # records a second while workers come and go, or fewer, so that they come to the end of it


def main() -> int:
    """Run it, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--crashes", type=int, default=20)
    parser.add_argument("--rebalances", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="timed pairs with and without failures")
    parser.add_argument("--guarantee", default="exactly_once", choices=["exactly_once", "at_least_once"])
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    configure_logs("console", "error")
    with tempfile.TemporaryDirectory() as scratch, Cluster.ephemeral() as cluster:
        settings = load_settings(
            command_line={
                **asdict(cluster.addresses),
                "session_timeout": timedelta(seconds=6),
                "transaction_timeout": timedelta(seconds=4),
                "guarantee": chosen.guarantee,
                "log_level": "error",
            }
        )
        told = measure(settings, Path(scratch), chosen)
    print(json.dumps(told) if chosen.json else "\n".join(f"{name:24} {value}" for name, value in told.items()))
    return 0 if told["conserved"] else 1


def measure(settings: Settings, folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Do the run with trouble and the timed ones without."""
    ratios = [_pair(settings, folder, min(chosen.records, MOST_TIMED)) for _ in range(chosen.pairs)]
    run = Run(settings, _name(), folder)
    began = time.monotonic()
    churn = run.churned(
        chosen.records,
        crashes=chosen.crashes,
        rebalances=chosen.rebalances,
        seconds=max(chosen.records / RATE, 2.0 * chosen.crashes + 8.0 * chosen.rebalances),
        tell=lambda said: _tell(f"{time.monotonic() - began:5.0f} s  {said}"),
    )
    seconds = time.monotonic() - began
    verdict = run.judge()
    run.close()
    for line in verdict.told:
        _tell(line)
    return {
        **{name: value for name, value in verdict._asdict().items() if name != "told"},
        **churn._asdict(),
        "seconds": round(seconds, 1),
        "ratio_to_no_failures": round(statistics.median(ratios), 2) if ratios else None,
        "ratios": [round(ratio, 2) for ratio in ratios],
        "conserved": verdict.holds_at_least_once if settings.guarantee == "at_least_once" else verdict.holds,
    }


def _pair(settings: Settings, folder: Path, records: int) -> float:
    """Return the throughput with failures as a part of that without."""
    seconds = {}
    for failures in (False, True):
        run = Run(settings, _name(), folder)
        seconds[failures] = run.timed(records, failures=failures)
        run.close()
    _tell(f"{records:,} records: {seconds[False]:.1f} s without failures, {seconds[True]:.1f} s with")
    return seconds[False] / seconds[True]


def _name() -> str:
    return f"conserve{uuid.uuid4().hex[:6]}"


def _tell(said: str) -> None:
    sys.stderr.write(f"{said}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
