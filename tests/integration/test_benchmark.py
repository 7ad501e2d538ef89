"""The benchmark runs and compares what both programs wrote; how fast they were is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.integration, pytest.mark.embedded]


def test_map_half_compares_the_outputs_of_both_programs() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "map_half.py", "--records", "2000", "--repetitions", "1", "--json"]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)

    assert ran.returncode == 0, ran.stderr[-4000:]
    figures = json.loads(ran.stdout)
    print(f"{figures['compared']} outputs compared")
    assert figures["outputs_equal"] is True
    assert figures["compared"] >= 2 * 1000
    assert figures["ours"] > 0
    assert figures["handwritten"] > 0


def test_the_suite_gives_a_row_for_each_contender_whose_output_is_right() -> None:
    command = [sys.executable, "-m", "benchmarks.run", "--json", "--records", "20000", "--repetitions", "1"]
    command += ["--workload", "count_1k_uniform", "--workload", "map_half_at_least_once"]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    assert ran.returncode == 0, ran.stderr[-4000:]
    result = json.loads(ran.stdout)
    assert list(result["workloads"]) == ["count_1k_uniform", "map_half_at_least_once"]
    for rows in result["workloads"].values():
        for contender in ("ours", "handwritten"):
            row = rows[contender]
            assert row["outputs_equal"] is True
            assert row["compared"] >= 1_000
            assert min(row["records_per_second"], row["cpu_us_per_record"], row["peak_rss_mb"]) > 0
            assert result["manifest"]["contenders"][contender]["settings"]["exactly_once"]["consumer"]
