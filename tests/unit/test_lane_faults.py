"""Handlers in lanes while workers are killed, thrown out, replaced, and their transactions aborted."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from lane_lab import BOTH, KINDS, Lab, order
from rig import Item

from streams import DEAD_LETTER, SKIP, Failure, Retry
from streams.failpoints import Failpoint
from streams.testing import Abort, Crash, Eviction, FencedProducer, Rebalance, SlowCommit, UnknownOutcome

# ---- faults ----


@KINDS
@BOTH
@pytest.mark.parametrize("step", [step for step in Failpoint if step is not Failpoint.ABORTING])
def test_a_crash_at_every_step_loses_nothing(kind: str, guarantee: str, step: Failpoint) -> None:
    lab = Lab(kind, Failure(Retry(5, "1s..1m"), then=DEAD_LETTER))
    lab.failing = {3: 2, 10: 99, 17: 1}
    lab.sleeps = {0: 2.0, 11: 0.4}
    with lab.test(settings={"guarantee": guarantee}, seed=hash(step) % 100) as driver:
        driver.inject(Crash(), at=step, hit=2 if step is Failpoint.POLLED else 1)
        driver.send(lab.inputs, *lab.items(12))
        if step in {Failpoint.REVOKING, Failpoint.REVOKED}:
            driver.inject(Rebalance(2))
        driver.send(lab.inputs, *lab.items(12, "cdef"))
        if driver.faults["crash"] == 0:
            assert driver.disarm()
            pytest.skip("this guarantee does not come by")
        assert driver.lag == {"handle": 0}
        lab.judge(driver, duplicates=guarantee == "at_least_once")


@KINDS
def test_an_abort_runs_no_handler_again(kind: str) -> None:
    lab = Lab(kind)
    lab.sleeps = {0: 3.0, 9: 1.0}
    with lab.test() as driver:
        for hit in range(1, 4):
            driver.inject(Abort(), at=Failpoint.FLUSHED, hit=hit)
        driver.send(lab.inputs, *lab.items(24))
        lab.judge(driver)
        assert driver.faults["abort"] == 3
    assert sorted(n for _, n in lab.began) == list(range(24))


@pytest.mark.parametrize("seed", range(5))
def test_what_runs_when_a_partition_is_revoked_ends_into_nothing(seed: int) -> None:
    lab = Lab("async", partitions=4)
    lab.sleeps = dict.fromkeys(range(40), 3.0)
    with lab.test(seed=seed) as driver:
        driver.inject(Rebalance(3), at=Failpoint.PRODUCED)
        driver.send(lab.inputs, *lab.items(40, "abcdefghij"))
        lab.judge(driver)
        assert driver.faults["rebalance"] == 1
    again = Counter(n for _, n in lab.began)
    assert max(again.values()) <= 2


@BOTH
@pytest.mark.parametrize("seed", range(15))
def test_whatever_happens_nothing_is_lost_and_keys_keep_their_order(seed: int, guarantee: str) -> None:
    random = Random(seed)
    policy = random.choice(
        [DEAD_LETTER, SKIP, Failure(Retry(3, "500ms..5s")), Failure(Retry(2, "1s..2s"), then=DEAD_LETTER)]
    )
    lab = Lab(random.choice(["async", "blocking"]), policy, concurrency=random.choice([1, 3, 32]))
    lab.failing = {n: random.randint(1, 9) for n in range(60) if random.random() < 0.15}
    lab.sleeps = {n: random.choice([0.0, 0.05, 2.0, 20.0]) for n in range(60)}
    settings = {
        "guarantee": guarantee,
        "lane_records": random.choice([2, 10, 1000]),
        "poll_records": random.choice([3, 500]),
    }
    workers, late = random.randint(1, 2), random.randint(0, 2)
    with lab.test(seed=seed, workers=workers, settings=settings, late_markers=late) as driver:
        for start in range(0, 60, 20):
            for _ in range(random.randint(0, 3)):
                fault = random.choice(
                    [Crash(), Rebalance(random.randint(1, 3)), Eviction(), FencedProducer(), SlowCommit()]
                )
                driver.inject(fault, at=random.choice(list(Failpoint)), hit=random.randint(1, 4))
            if random.random() < 0.4:
                driver.inject(Abort(), at=Failpoint.FLUSHED)
            if random.random() < 0.2 and guarantee == "exactly_once":
                driver.inject(UnknownOutcome(committed=random.random() < 0.5), at=Failpoint.COMMIT_SENT)
            driver.send(lab.inputs, *[Item(key=random.choice("abcdefg"), n=n) for n in range(start, start + 20)])
        driver.disarm()
        for _ in range(30):  # a pause because most keys fail ends as they work again
            if driver.lag["handle"] or driver.waiting:
                driver.advance("10s")
        assert driver.lag == {"handle": 0}
        assert driver.waiting == []
        order(driver, lab)
