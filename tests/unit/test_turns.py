"""Tests that cannot run side by side are found by their ids; a test of another name would no longer be."""

from __future__ import annotations

from pathlib import Path

import pytest
from live.turns import TOGETHER, Turns

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("part", TOGETHER)
def test_what_runs_together_exists(part: str) -> None:
    file, _, function = part.partition("::")
    (found,) = TESTS.rglob(file)
    assert found.is_dir() or f"def {function.partition('[')[0]}" in found.read_text()


def test_all_others_run_alone() -> None:
    turns = Turns.__new__(Turns)
    kill = "tests/scenarios/test_kills.py::test_killed_workers_lose_and_repeat_nothing"
    assert turns._split_scope(f"{kill}[social-1]") == turns._split_scope(f"{kill}[social-3]") == "story social"
    assert turns._split_scope(f"{kill}[shipments-2]") == "story shipments"
    alone = "tests/integration/test_registry.py::test_silence"
    assert turns._split_scope(alone) == alone
