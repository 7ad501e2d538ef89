"""The README's shell walkthrough, run as written in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streams.embedded.ports import free_ports

ROOT = Path(__file__).parents[2]
SETUP = ("Run it", "Test it")  # .ci/run runs these two, as they stand

pytestmark = [pytest.mark.integration, pytest.mark.embedded]


def walkthrough() -> str:
    text = (ROOT / "README.md").read_text()
    for heading in SETUP:
        text = re.sub(rf"^## {heading}\n.*?^```bash\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    (block,) = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return block


def test_the_walkthrough_runs(tmp_path: Path) -> None:
    port = free_ports()
    script = walkthrough().replace("streams up ", f"streams up --port {port} ", 1)
    script = script.replace(":9092", f":{port}").replace(":9094", f":{port + 2}")
    assert "streams worker" in script
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "every record as expected" in ran.stdout
    assert ran.stdout.count('"topic": "social.notifications"') == 3
    assert "Traceback" not in ran.stderr
