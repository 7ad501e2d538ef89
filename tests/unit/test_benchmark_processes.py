"""The benchmarks of processes, stores and memory: what they measure, and that a wrong value has no figure."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import flat_memory
from benchmarks.programs import shapes, store_work
from benchmarks.suite.processes import footprint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

JOB = {"store": "lmdb", "keys": 2_000, "commits": 3, "value_bytes": 100, "batch": 100, "restore_batch": 500}


def test_the_footprint_of_a_process() -> None:
    found = footprint(os.getpid())
    assert found.uss_mb <= found.pss_mb <= found.rss_mb
    assert found.rss_mb > 20
    assert found.threads >= 1
    with Path(os.devnull).open():
        assert footprint(os.getpid()).files > 3


def test_state_of_a_store_is_compared_before_it_has_figures(tmp_path: Path) -> None:
    work = store_work.Work({**JOB, "folder": str(tmp_path / "state")})
    figures = work.run()
    assert figures["values_compared"] == work.compared > 2_000
    assert figures["disk_mb"] > 0.2
    assert figures["updates"]["get_and_put_us"] > 0


def test_a_store_that_loses_an_update_has_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(store_work.OwnBackend):
        def write(self, rows: Iterable[tuple[bytes, bytes]], position: int) -> None:
            super().write(list(rows)[1:] if position > JOB["keys"] else rows, position)

    monkeypatch.setitem(store_work.STORES, "lmdb", Forgetful)
    with pytest.raises(SystemExit, match="another value than was written"):
        store_work.Work({**JOB, "folder": str(tmp_path / "state")}).run()


@pytest.mark.parametrize("slope", [0.0, 2.5])
def test_the_slope_is_that_of_the_last_two_thirds(slope: float) -> None:
    samples = [(float(second), 300.0 if second < 200 else 100 + slope * second / 60) for second in range(600)]
    figures: dict[str, Any] = flat_memory._figures(samples, 1, 10.0)
    assert figures["mb_per_minute_over_the_last_two_thirds"] == pytest.approx(slope, abs=0.02)
    assert figures["peak_mb"] == 300
    assert len(figures["each_minute_mb"]) == 10


def test_the_shapes_are_what_they_are_called() -> None:
    assert len(shapes.many.processors) == shapes.PROCESSORS == 30
    assert sum(bool(one.stores) for one in shapes.many.processors.values()) == 10
    assert {one.source.partitions for one in shapes.wide.processors.values()} == {1_000}
    [deep] = shapes.deep.processors.values()
    assert [store.name for store in deep.stores] == ["count-counts"]
