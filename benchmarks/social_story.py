"""The social story on real data: wall time, and the memory and CPU of every worker process.

    python benchmarks/social_story.py --data DIR [--json]

Time is from the start of the workers to the last commit; reading everything back is apart. The figures are those of one
run on one machine with the broker beside it; repeat it before you believe them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import psutil

from stories.catalog import STORIES
from stories.run import Progress, StoryRun
from streams.embedded import Cluster
from streams.logs import configure_logs
from streams.settings import load_settings


class Watch:
    """Peak memory and CPU time of the processes below this one, sampled whenever the run reports progress."""

    def __init__(self) -> None:
        self.peaks: dict[int, tuple[str, float, float]] = {}

    def show(self, phase: str, stands: list[Progress]) -> None:
        """Take a sample."""
        sys.stderr.write(
            f"{phase}  " + "  ".join(f"{one.processor} {one.done:,} lag {one.lag:,}" for one in stands) + "\n"
        )
        for process in psutil.Process().children(recursive=True):
            try:
                kind = "server" if "java" in process.name() else "python"
                used = process.memory_info().rss / 1e6
                times = process.cpu_times()
            except psutil.Error:
                continue
            _, before, _ = self.peaks.get(process.pid, ("", 0.0, 0.0))
            self.peaks[process.pid] = (kind, max(before, used), times.user + times.system)


def main() -> None:
    """Run the story once and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    configure_logs("console", "warning")
    watch = Watch()
    with tempfile.TemporaryDirectory() as scratch, Cluster.ephemeral() as cluster:
        settings = load_settings(command_line=asdict(cluster.addresses) | {"state_dir": Path(scratch)})
        run = StoryRun(STORIES["social"], settings, chosen.data)
        run.prepare(reset=False)
        outcome = run.run(watch.show)
    processes = [
        {"kind": kind, "peak_rss_mb": round(peak), "cpu_seconds": round(cpu, 1)}
        for kind, peak, cpu in watch.peaks.values()
    ]
    if chosen.json:
        print(json.dumps(outcome.figures() | {"processes": processes}))
    else:
        for name, value in outcome.figures().items():
            print(f"{name:20} {value:>14,}")
        for process in processes:
            print(process)
    sys.exit(0 if outcome.verdict.holds else 1)


if __name__ == "__main__":
    main()
