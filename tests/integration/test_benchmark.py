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
