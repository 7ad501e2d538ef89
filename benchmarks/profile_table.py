"""A profile of the row path as a table: the functions and the lines that its thread is in.

    py-spy record --rate 500 --format raw --output FILE -- \\
        python benchmarks/stages.py --stage "whole step" --rounds 10000
    python benchmarks/profile_table.py FILE

FILE has one stack a line, its frames by semicolons and how often it was seen. Only what is below a step counts.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

STEP = "Task.step (streams/task.py"
FUNCTIONS, LINES = 40, 25
_FOLDER = re.compile(r"\((?:[^();]*?/)?(?:site-packages/|(?=streams/|benchmarks/))")


def stacks(text: str) -> Counter[tuple[str, ...]]:
    """Return the stacks below a step, the step first, and how often each was seen."""
    found: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        stack, _, times = line.rpartition(" ")
        frames = [_FOLDER.sub("(", frame) for frame in stack.split(";")]
        step = next((at for at, frame in enumerate(frames) if frame.startswith(STEP)), None)
        if step is not None:
            found[tuple(frames[step:])] += int(times)
    return found


def table(found: Counter[tuple[str, ...]]) -> list[str]:
    """Return the lines of the table."""
    own, below, lines = Counter[str](), Counter[str](), Counter[str]()
    for frames, times in found.items():
        functions = [frame.rpartition(":")[0] + ")" for frame in frames]
        own[functions[-1]] += times
        lines[frames[-1]] += times
        below.update(dict.fromkeys(functions, times))
    total = found.total()
    told = [f"{total:,} samples", "", f"{'own %':>6} {'with callees %':>15}  function"]
    for name, times in below.most_common(FUNCTIONS):
        told.append(f"{100 * own[name] / total:6.1f} {100 * times / total:15.1f}  {name}")
    told += ["", f"{'own %':>6}  line"]
    return told + [f"{100 * n / total:6.1f}  {name}" for name, n in lines.most_common(LINES)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    found = stacks(parser.parse_args().file.read_text())
    if not found:
        raise SystemExit("no sample of a step is in it")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
