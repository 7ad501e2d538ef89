"""`streams demo` as its user runs it: on made-up files with kills, and on the real ones."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STREAMS = Path(sys.executable).parent / "streams"
REAL_DATA = Path(os.environ.get("STREAMS_REALDATA", ROOT / ".." / "shared" / "data"))

# Counted from the files with plain Python; the demo compares every record besides.
REAL_SOCIAL = {
    "posts": 14_012,
    "notifications": 4_039_766,
    "feed_items": 4_039_766,
    "feeds": 4_038,
    "feed_entries": 372_997,
    "author_days": 12_171,
    "words": 120_090,
}
REAL_SHIPMENTS = {"shipments": 10_324, "late": 1_186}

pytestmark = [pytest.mark.integration, pytest.mark.embedded]


def demo(cwd: Path, *arguments: object) -> dict[str, Any]:
    command = [str(part) for part in (STREAMS, "demo", *arguments, "--json")]
    ran = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=850, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    printed: dict[str, Any] = json.loads(ran.stdout)
    for name, figures in printed.items():
        print(f"{name}: {figures['compared']} records compared in {figures['seconds']} s")
        assert figures["compared"] > 0
        assert (figures["duplicates"], figures["lost"]) == (0, 0)
    return printed


def test_the_sample_survives_kills(tmp_path: Path) -> None:
    printed = demo(tmp_path, "--kill", 2)

    assert [figures["kills"] for figures in printed.values()] == [2, 2]
    assert printed["social"]["refused_lines"] > 0
    assert printed["shipments"]["refused_lines"] > 0


@pytest.mark.realdata
@pytest.mark.timeout(900)
def test_the_real_files_come_to_their_figures(tmp_path: Path) -> None:
    if not REAL_DATA.is_dir():
        pytest.skip(f"NO REAL DATA in {REAL_DATA}: set STREAMS_REALDATA to the folder that holds it")

    printed = demo(tmp_path, "--data", REAL_DATA.resolve(), "--kill", 1)

    assert REAL_SOCIAL.items() <= printed["social"].items()
    assert REAL_SHIPMENTS.items() <= printed["shipments"].items()
