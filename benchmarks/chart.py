"""Draw results, of parts together, as one picture: `python -m benchmarks.chart RESULT.json … --out FILE.png`.

It is drawn in an environment of its own, so that the suite does not need matplotlib.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.suite.environments import PythonEnvironment
from benchmarks.suite.report import merged

ENVIRONMENT = PythonEnvironment("chart", ("matplotlib==3.11.2",))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    rows = merged(json.loads(path.read_text()) for path in chosen.results)
    ENVIRONMENT.prepare()
    command = [*ENVIRONMENT.command("draw"), str(chosen.out.absolute())]
    return subprocess.run(command, input=json.dumps(rows), text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
