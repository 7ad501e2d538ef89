"""Every record is conserved while some fail, some for ever, and workers are killed, join and leave: a small run.

`python -m tests.scenarios.conservation` is the large one.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.scenarios.conservation.app import PREFIX
from tests.scenarios.conservation.run import Run

pytestmark = pytest.mark.integration

RECORDS = 20_000


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_every_record_is_conserved(guarantee: str, settings: Settings, tmp_path: Path) -> None:
    chosen = settings.model_copy(update={"guarantee": guarantee, "log_level": "error"})
    run = Run(chosen, f"{PREFIX}{uuid.uuid4().hex[:6]}", tmp_path)
    try:
        churn = run.churned(RECORDS, crashes=2, rebalances=2, seconds=12.0, tell=print)
        verdict = run.judge()
    finally:
        run.close()
    print(churn, verdict)
    assert churn.crashes >= 2
    assert churn.rebalances >= 2
    assert verdict.records_in == RECORDS
    assert verdict.compared > 2 * RECORDS
    assert min(verdict.dead_lettered, verdict.parked, verdict.skipped) > 5
    assert (verdict.lost, verdict.changed_bytes, verdict.told[:5] if verdict.lost else []) == (0, 0, [])
    assert verdict.holds if guarantee == "exactly_once" else verdict.holds_at_least_once, verdict.told
