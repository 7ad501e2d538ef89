"""`python -m tests.scenarios.statemachine [--runs N] [--seed N] [--json]`; exit code 1 if anything is wrong."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter
from typing import Any

import structlog

from streams.errors import StreamsError

from .mutants import MUTANTS, Mutant
from .runs import KINDS, play

SEEDS_OF_A_MUTANT = 60
TELLING_SEEDS = (0, 4, 9, 18)  # rare mistakes showed here; tried first, for the time that it saves
TOLD = 400  # characters of what a check says


def main() -> int:
    """Play the runs, then plant each mistake."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, help="play this one run and nothing else")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if chosen.seed is not None:
        print(play(chosen.seed))
        return 0
    figures = measure(range(chosen.runs))
    figures["mutants"] = len(MUTANTS)
    figures["mutants_caught"] = {mutant.__name__: caught(mutant) for mutant in MUTANTS}
    told = {name: why for name, why in figures["mutants_caught"].items() if why is not None}
    print(json.dumps({**figures, "mutants_caught": len(told), "caught_by": told}, indent=None if chosen.json else 2))
    return int(bool(figures["failures"]) or len(told) < len(MUTANTS) or not all(figures["faults"].values()))


def measure(seeds: range) -> dict[str, Any]:
    """Play a run for every seed; what fails is told with the command that plays it again."""
    faults: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    records, compared, failures = 0, 0, 0
    for seed in seeds:
        try:
            run = play(seed)
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is a failure of this seed
            failures += 1
            sys.stderr.write(f"{failure}\n  again: python -m tests.scenarios.statemachine --seed {seed}\n")
        else:
            records, compared = records + run.records, compared + run.compared
            faults.update(run.faults)
    return {"runs": len(seeds), "failures": failures, "records": records, "compared": compared, "faults": dict(faults)}


def caught(mutant: Mutant) -> str | None:
    """Play runs with a planted mistake until a check fails; return what it said."""
    with mutant():
        for seed in dict.fromkeys([*TELLING_SEEDS, *range(SEEDS_OF_A_MUTANT)]):
            try:
                play(seed)
            except (AssertionError, StreamsError) as failure:
                return f"seed {seed}: {str(failure)[:TOLD]}"
    return None


if __name__ == "__main__":
    sys.exit(main())
