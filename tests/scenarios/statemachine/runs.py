"""One random run: records, faults at named steps, time, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any, NamedTuple

from streams.failpoints import Failpoint
from streams.testing import (
    Abort,
    Crash,
    DuplicateDelivery,
    Eviction,
    Fault,
    FencedProducer,
    MemoryDriver,
    PoisonRecord,
    Rebalance,
    RegistryUnavailable,
    SlowCommit,
    UnknownOutcome,
)

from .fates import conserved
from .workload import app, send, tend, tried

RECORDS = 500  # at least, in each run
FAULTS = 5  # at least, that took effect in each run
MOST_PORTIONS = 400
HEALING = "10m"

STEPS = sorted(Failpoint)
DRAWN: dict[str, Callable[[Random], Fault]] = {
    "crash": lambda _: Crash(),
    "rebalance": lambda random: Rebalance(random.randint(1, 4)),
    "duplicate-delivery": lambda random: DuplicateDelivery(random.randint(1, 20)),
    "slow-commit": lambda random: SlowCommit(timedelta(seconds=random.choice([0.05, 3, 15]))),
    "fenced": lambda _: FencedProducer(),
    "evicted": lambda _: Eviction(),
    "abort": lambda _: Abort(),
    "unknown-outcome": lambda random: UnknownOutcome(committed=random.random() < 0.5),
    "registry-unavailable": lambda random: RegistryUnavailable(timedelta(seconds=random.choice([0.2, 2, 20]))),
    "poison": lambda random: PoisonRecord(random.randbytes(random.randint(1, 30))),
}
KINDS = tuple(DRAWN)


class Run(NamedTuple):
    """What a run came to."""

    records: int
    compared: int
    faults: Counter[str]


def play(seed: int) -> Run:
    """Play one run; the same seed plays the same run.

    Raises:
        AssertionError: something was lost, came twice or out of order, or is never finished.
    """
    random = Random(seed)
    guarantee = "at_least_once" if seed % 4 == 3 else "exactly_once"
    driver = app.test(
        seed=seed,
        workers=random.randint(1, 3),
        settings={"guarantee": guarantee},
        late_markers=random.choice([0, 6]),
        restore_records=random.choice([2, 5_000]),
    )
    try:
        records = _trouble(driver, random, seed)
        return Run(records, _verdict(driver, exactly_once=guarantee == "exactly_once"), driver.faults)
    finally:
        driver.close()


def _trouble(driver: MemoryDriver, random: Random, seed: int) -> int:
    """Send records and let faults happen until there were enough of both."""
    sent = 0
    sent_back: set[tuple[Any, ...]] = set()
    tried.clear()
    for portion in range(MOST_PORTIONS):
        if sent >= RECORDS and driver.faults.total() >= FAULTS:
            break
        for _ in range(random.randint(1, 30)):
            sent += 1
            send(driver, random, sent)
        tend(driver, random, sent_back)
        if random.random() < 0.7:
            _inject(driver, random, KINDS[(seed + portion) % len(KINDS)])
        if random.random() < 0.2:
            driver.advance(timedelta(seconds=random.choice([0.1, 1, 30])))
        driver.settle()
    return sent


def _inject(driver: MemoryDriver, random: Random, kind: str) -> None:
    fault = DRAWN[kind](random)
    step = random.choice([step for step in STEPS if step in fault.steps])
    driver.inject(fault, at=step, processor=random.choice(["append", "add"]), hit=random.randint(1, 3))


def _verdict(driver: MemoryDriver, *, exactly_once: bool) -> int:
    driver.disarm()
    driver.advance(HEALING)
    if any(driver.lag.values()):
        raise AssertionError(f"INV-10: never finished: {driver.lag} (seed {driver.seed}, faults {dict(driver.faults)})")
    compared = conserved(driver) + driver.assert_no_loss("add") + driver.assert_order_per_key("add")
    if exactly_once:
        compared += driver.assert_no_loss("append") + driver.assert_order_per_key("append")
        compared += driver.assert_no_duplicates()
    return compared
