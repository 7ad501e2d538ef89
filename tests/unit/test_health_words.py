"""What `streams why` says of a group, from what supervisors and Kafka know of it."""

from __future__ import annotations

from typing import Any

from streams.health.standing import PartitionStanding, Standing
from streams.health.words import Words, explain

NOW_MS = 1_000_000_000
GROUP = "shop.count"


def part(
    number: int = 0,
    *,
    committed: int = 5,
    end: int = 9,
    owner: str | None = "worker-a",
    age: float | None = 10.0,
    moved: bool = False,
) -> PartitionStanding:
    next_ms = None if age is None else NOW_MS - int(age * 1000)
    return PartitionStanding("shop.items", number, committed, end, owner, next_ms, moved)


def words(*parts: PartitionStanding, state: str = "STABLE", members: int = 1, **told: Any) -> Words:
    stand = Standing(GROUP, state, members, parts)
    return explain(stand, told.get("workers", []), told.get("problems", []), NOW_MS, 60.0)


def worker(**part: Any) -> dict[str, Any]:
    given = {"topic": "shop.items", "partition": 0, "lag": 0, "lag_seconds": 0, "state": "idle", "waits_on": "", **part}
    return {"group": GROUP, "records_per_second": 0.0, "partitions": [given]}


def test_a_group_with_nothing_to_do() -> None:
    said = words(part(committed=9))
    assert said.healthy
    assert said.lines() == [
        "shop.count: healthy, nothing left to do; group stable, 1 members; no supervisor answers on this machine"
    ]


def test_records_that_nobody_reads() -> None:
    said = words(part(0, owner=None, age=600), part(1, owner=None, age=30), state="EMPTY", members=0)
    assert not said.healthy
    assert "8 records wait, the oldest for 10 min, and nobody reads them" in said.lines()[1]
    assert "start a worker" in said.lines()[2]


def test_a_group_without_members_and_without_work_is_healthy() -> None:
    assert words(part(committed=9, owner=None), state="EMPTY", members=0).healthy


def test_a_partition_that_nobody_owns() -> None:
    at_rest = words(part(owner=None), members=2)
    moving = words(part(owner=None), members=2, state="PREPARING_REBALANCE")
    assert "no member owns it: the group is at rest" in at_rest.wrong[0].what
    assert "the group is preparing rebalance" in moving.wrong[0].what


def test_from_kafka_alone_only_old_records_without_a_commit_are_wrong() -> None:
    assert words(part(age=61, moved=True)).healthy
    assert words(part(age=59)).healthy
    assert words(part(age=None)).healthy
    said = words(part(age=61))
    assert "worker-a committed nothing" in said.wrong[0].what
    assert "4 records behind at offset 5, the next of 61 s ago" in said.wrong[0].what


def test_what_a_supervisor_tells_counts_before_what_kafka_shows() -> None:
    busy = worker(lag=4, lag_seconds=300, state="running", waits_on="handler count since 3 s at offset 5, key 'a'")
    said = words(part(age=300), workers=[busy])
    assert said.healthy
    assert said.notes[0].what == (
        "shop.items[0] running: 4 records behind, the oldest of 5 min ago, "
        "waits on handler count since 3 s at offset 5, key 'a'"
    )


def test_problems_of_supervisors_are_told_with_what_to_do() -> None:
    problem = {"what": "shop.items[0] hangs", "fix": "wake it", "topic": "shop.items", "partition": 0}
    said = words(workers=[worker(lag=4)], problems=[problem])
    assert said.lines()[1:] == ["  ! shop.items[0] hangs", "      do: wake it"]


def test_partitions_of_other_machines_are_judged_beside_those_held_here() -> None:
    said = words(part(0), part(1, age=100, owner="elsewhere"), workers=[worker()], members=2)
    assert ["elsewhere" in one.what for one in said.wrong] == [True]
