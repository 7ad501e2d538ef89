"""The built wheel, installed into an environment of its own, runs a demo without the repository."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.integration, pytest.mark.embedded]


def run(*command: object, cwd: Path, **more: str) -> str:
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}} | more
    ran = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=400, check=False
    )
    assert ran.returncode == 0, f"{command}: {ran.stderr[-4000:]}"
    return ran.stdout


def test_the_wheel_runs_a_demo(tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    environment = tmp_path / "env"
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", f"{wheel}[embedded]", cwd=tmp_path)

    printed = run(environment / "bin" / "streams", "demo", "shipments", "--kill", "1", "--json", cwd=tmp_path)

    figures = json.loads(printed)["shipments"]
    print(f"{figures['compared']} records compared")
    assert figures["compared"] > 0
    assert (figures["duplicates"], figures["lost"], figures["kills"]) == (0, 0, 1)
    installed = run(python, "-c", "import streams; print(streams.__file__)", cwd=tmp_path)
    assert str(environment) in installed
