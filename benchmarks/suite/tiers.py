"""How much is run, and what must not get worse."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.suite.contenders import CONTENDERS, HANDWRITTEN, OURS
from benchmarks.suite.latency import LATENCIES
from benchmarks.suite.restore import NAME, WORKLOAD
from benchmarks.suite.workloads import SECOND, WORKLOADS, Workload

# The least ratio of ours to the loop by hand, in the same job; rates by themselves are no one's bound. A machine with
# other work on it spreads by a third, so these tell a regression from noise, not a win from a loss.
BOUNDS: Mapping[str, float] = {"map_half": 0.6, "count_1k_uniform": 0.4}


LARGE = 100  # words, of which a fifth of the records is enough


@dataclass(frozen=True)
class Tier:
    """Which workloads and contenders, how many records of each, and how often."""

    name: str
    workloads: tuple[str, ...]
    contenders: tuple[str, ...]
    records: int
    repetitions: int = 5

    def records_of(self, workload: Workload) -> int:
        """Return the records of a workload's input."""
        return self.records // (5 if workload.kind == "fan_out" or workload.input.words > LARGE else 1)

    def with_changes(self, records: int | None, repetitions: int | None) -> Tier:
        """Return the tier with what the command line says instead."""
        return replace(self, records=records or self.records, repetitions=repetitions or self.repetitions)


EVERYTHING: Mapping[str, Workload] = {**WORKLOADS, **LATENCIES, NAME: WORKLOAD}

# Parts of the full tier, each under one name; their like at least once are `<group>_at_least_once`.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "counts": ("count_*",),
    "columnar": ("group_*",),
    "shapes": ("filter_*", "fan_out_*", "poison_*", "theodolite_*"),
    "partitions": ("map_half_*_partitions",),
    "sizes": ("map_half_*kb",),
    "latency": ("latency_map_half",),
}
GROUPS: Mapping[str, tuple[str, ...]] = {
    **_PARTS,
    **{name + SECOND: tuple(pattern + SECOND for pattern in patterns) for name, patterns in _PARTS.items()},
    "restore": (NAME,),
}
TIERS: Mapping[str, Tier] = {
    tier.name: tier
    for tier in (
        Tier("small", ("map_half", "count_1k_uniform"), (OURS, HANDWRITTEN), 100_000),
        Tier("full", tuple(EVERYTHING), tuple(CONTENDERS), 1_000_000),
    )
}


def broken_bounds(
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]], bounds: Mapping[str, float] = BOUNDS
) -> list[str]:
    """Say what is not as it has to be: figures that are missing, and ratios under their bound."""
    broken = []
    for workload, of in rows.items():
        failed = {name: of[name]["failed"] for name in (OURS, HANDWRITTEN) if "failed" in of.get(name, {})}
        broken += [f"{workload}: no figure for {name}: {why}" for name, why in failed.items()]
        ratio, bound = of.get(OURS, {}).get("ratio"), bounds.get(workload)
        if ratio is not None and bound is not None and ratio < bound:
            broken.append(f"{workload}: ours / handwritten is {ratio}, it has to be {bound} or more")
    return broken


def chosen(given: Iterable[str]) -> tuple[str, ...]:
    """Return the workloads that are meant by names, patterns (`map_half*`) and groups, in the given order.

    Raises:
        ValueError: nothing has such a name.
    """
    found: dict[str, None] = {}
    for one in given:
        names = [name for pattern in GROUPS.get(one, (one,)) for name in _matching(pattern, exact=one in GROUPS)]
        if not names:
            raise ValueError(
                f"no workload is called {one!r}; groups: {', '.join(GROUPS)}; names: {', '.join(EVERYTHING)}"
            )
        found.update(dict.fromkeys(names))
    return tuple(found)


def _matching(pattern: str, *, exact: bool) -> list[str]:
    """Return what fits a pattern; one of a group without the other guarantee does not fit that."""
    other = exact and not pattern.endswith(SECOND)
    names = fnmatch.filter(EVERYTHING, pattern)
    return [name for name in names if not (other and name.endswith(SECOND))]
