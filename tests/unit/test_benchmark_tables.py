"""The tables that README.md holds, of results that came in parts."""

from typing import Any

import pytest

from benchmarks.suite import report
from benchmarks.tables import between_marks, tables


def result_of(**workloads: dict[str, Any]) -> dict[str, Any]:
    machine = {"cores": 2, "cpu": "a processor", "memory_mb": 8192}
    about = {name: {"title": "some work", "guarantee": "exactly_once"} for name in workloads}
    return {
        "workloads": workloads,
        "manifest": {"at": "2026-01-01", "commit": "abcdef012345", "machine": machine, "workloads": about},
    }


def rates(median: int, **more: Any) -> dict[str, Any]:
    figures = {"cpu_us_per_record": 2.5, "broker_cpu_us_per_record": 1.5, "peak_rss_mb": 99.6, "other_cores": 0.1}
    least_and_most = {"min": median - 1, "max": median + 1}
    return {"records_per_second": median, "records": 4000, "repetitions": 5, **least_and_most, **figures, **more}


def test_parts_come_together_and_the_later_row_counts() -> None:
    first = result_of(map_half={"ours": rates(10), "quix": rates(5)})
    second = result_of(map_half={"ours": rates(20)}, restore_1m={})

    together = report.merged([first, second])

    assert {name: row["records_per_second"] for name, row in together["map_half"].items()} == {"ours": 20, "quix": 5}
    assert list(together) == ["map_half", "restore_1m"]


def test_a_table_has_a_line_for_everybody() -> None:
    stopped = rates(1000, ratio=0.5, stopped="it is not done after 300 s\nlast words")
    told = tables(
        [
            result_of(map_half={"ours": stopped, "bytewax": {"not_available": "no transactions"}}),
            result_of(map_half={"quix": {"failed": "it ended with 1\nTraceback"}}),
        ]
    )

    assert told.splitlines()[0] == ("- 2026-01-01, commit `abcdef0123`, 2 cores of a processor, 8 GB: map_half")
    assert "`map_half`: some work, exactly once (ours: 4,000 records, 5 runs)" in told
    assert "| ours | 1,000 | 999 to 1,001 | 0.5 |  | 2.5 | 1.5 | 100 | 0.1 |" in told
    assert "| bytewax | n/a |" in told
    assert "| quix | no figure |" in told
    notes = told.splitlines()[-1]
    assert notes == (
        "ours stopped after 5: it is not done after 300 s; bytewax: no transactions; quix: it ended with 1."
    )


def test_latencies_and_restores_have_columns_of_their_own() -> None:
    at = {"rate": 1000, "p50_ms": 1, "p99_ms": 2, "p99_9_ms": 3, "max_ms": 4, "load_late_ms": 5}
    latencies = {"at_25_percent": at, "at_50_percent": at, "at_75_percent": {"failed": "it ended"}}
    restored = {"restore_seconds": 4.5, "min": 4.0, "max": 5.0, "warm_start_seconds": 1.5, "peak_rss_mb": 200.2}

    told = tables([result_of(latency_map_half={"ours": latencies}, restore_1m={"ours": restored})])

    assert "| ours | 25 % | 1,000 | 1 | 2 | 3 | 4 | 5 |" in told
    assert "| ours | 75 % | no figure | it ended |" in told
    assert "| ours | 4.5 | 4.0 to 5.0 | 1.5 | 200 |" in told


def test_only_what_is_between_the_marks_changes() -> None:
    text = "before\n<!-- results -->\nold\n<!-- end -->\nafter\n"

    assert between_marks(text, "new") == "before\n<!-- results -->\nnew\n<!-- end -->\nafter\n"
    with pytest.raises(ValueError, match="no <!-- results -->"):
        between_marks("nothing", "new")
