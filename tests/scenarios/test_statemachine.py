"""Random faults in memory: a few runs of those that the command plays, each planted mistake, and hypothesis' own."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from scenarios.statemachine.__main__ import caught, measure
from scenarios.statemachine.mutants import MUTANTS, Mutant
from scenarios.statemachine.runs import DRAWN, FAULTS, KINDS, RECORDS, STEPS
from scenarios.statemachine.workload import PARTITIONS, app, items, send

from streams.testing import MemoryDriver

RUNS = range(1_000, 1_012)


def test_runs_with_faults_are_clean() -> None:
    figures = measure(RUNS)

    print(f"\n{figures}")
    assert figures["failures"] == 0
    assert figures["records"] >= RECORDS * len(RUNS)
    assert figures["compared"] > figures["records"]
    assert sum(figures["faults"].values()) >= FAULTS * len(RUNS)
    assert all(figures["faults"][kind] for kind in KINDS)
    assert items.partitions == PARTITIONS == 3


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_planted_mistake_makes_them_fail(mutant: Mutant) -> None:
    """INV-1, INV-2, INV-3, INV-6, INV-9, INV-10, each broken on purpose."""
    told = caught(mutant)

    print(f"\n{mutant.__name__}: {told}")
    assert told is not None


class Ledger(RuleBasedStateMachine):
    """What befalls an app in any order that hypothesis thinks of; a failing example is printed, and replays."""

    driver: MemoryDriver

    @initialize(seed=st.integers(0, 1 << 16), workers=st.integers(1, 3), at_least_once=st.booleans())
    def start(self, seed: int, workers: int, at_least_once: bool) -> None:
        self.exactly_once = not at_least_once
        chosen = {"guarantee": "at_least_once"} if at_least_once else {}
        self.driver = app.test(seed=seed, workers=workers, late_markers=3, restore_records=3, settings=chosen)
        self.random = Random(seed)
        self.sent = 0

    @rule(count=st.integers(1, 12))
    def send(self, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            send(self.driver, self.random, self.sent)
        self.driver.settle()

    @rule(
        kind=st.sampled_from(KINDS),
        step=st.sampled_from(STEPS),
        processor=st.sampled_from(sorted(app.processors)),
        hit=st.integers(1, 3),
    )
    def go_wrong(self, kind: str, step: str, processor: str, hit: int) -> None:
        fault = DRAWN[kind](self.random)
        with suppress(StopIteration):
            at = next(one for one in STEPS if one == step and one in fault.steps)
            self.driver.inject(fault, at=at, processor=processor, hit=hit)

    @rule(length=st.sampled_from(["100ms", "1s", "30s", "10m"]))
    def let_time_pass(self, length: str) -> None:
        self.driver.advance(length)

    def teardown(self) -> None:
        if not hasattr(self, "driver"):
            return
        try:
            self.driver.disarm()
            self.driver.advance("10m")
            assert Counter(self.driver.lag).total() == 0
            if self.sent:
                self.driver.assert_no_loss()
                self.driver.assert_order_per_key()
                if self.exactly_once:
                    self.driver.assert_no_duplicates()
        finally:
            self.driver.close()


Ledger.TestCase.settings = settings(
    max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLedger = Ledger.TestCase
