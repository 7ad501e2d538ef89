"""Who takes part, in which environment, with what work and which settings.

`missing` names the work that a contender cannot do, with the reason: a row of n/a, never a zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.suite.environments import Environment, Own
from benchmarks.suite.workloads import Guarantee, Kind, Workload

OURS, HANDWRITTEN = "ours", "handwritten"
FASTAVRO = "fastavro==1.13.1"  # the same codec for every contender in Python that brings none


@dataclass(frozen=True)
class Contender:
    """`reads` names the settings of the job that it takes (settings.py).

    `share` is the part of a tier's records that it gets: who is slow would take hours, and a rate needs no more.
    """

    name: str
    title: str
    environment: Environment
    program: str
    reads: tuple[str, ...]
    guarantees: Mapping[Guarantee, str] = field(default_factory=dict)
    missing: Mapping[Kind, str] = field(default_factory=dict)
    share: float = 1.0

    def not_available(self, workload: Workload) -> str | None:
        """Return why it has no row for a workload, None if it has one."""
        return self.guarantees.get(workload.guarantee) or self.missing.get(workload.kind)


_OWN = Own(("confluent-kafka", "fastavro", "pydantic"))
_CONTENDERS = (
    Contender(
        OURS,
        "the toolkit: an app with typed models, run by its worker",
        _OWN,
        "ours",
        ("toolkit", "consumer", "producer"),
    ),
    Contender(
        HANDWRITTEN, "a loop by hand: confluent-kafka, fastavro, dicts", _OWN, "handwritten", ("consumer", "producer")
    ),
)
CONTENDERS: Mapping[str, Contender] = {contender.name: contender for contender in _CONTENDERS}
