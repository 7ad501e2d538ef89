"""Where a reset moves a group, and how that is written on the command line."""

from __future__ import annotations

from typing import Any

import pytest

from streams.cli.destinations import destination
from streams.errors import UsageError
from streams.kafka.admin import Range
from streams.record import TopicPartition
from streams.replay.moves import Destination, Kind, Move, moves

NOW = 1_770_091_506_000  # 2026-02-03T04:05:06Z
ONE, TWO = TopicPartition("in", 0), TopicPartition("in", 1)
HELD = {ONE: Range(100, 200), TWO: Range(0, 50)}
COMMITTED = {ONE: 150}


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("earliest", Destination(Kind.EARLIEST)),
        ("latest", Destination(Kind.LATEST)),
        ("committed", Destination(Kind.COMMITTED)),
        (" 17 ", Destination(Kind.OFFSET, 17)),
        ("0", Destination(Kind.OFFSET, 0)),
        ("2026-02-03T04:05:05", Destination(Kind.TIME, NOW - 1000)),
        ("-1h", Destination(Kind.TIME, NOW - 3_600_000)),
        ("1770091505000", Destination(Kind.TIME, NOW - 1000)),
    ],
)
def test_a_place_may_be_written_in_these_ways(to: str, expected: Destination) -> None:
    assert destination(to, None, NOW) == expected


def test_a_shift_is_a_number_of_records() -> None:
    assert destination(None, -20, NOW) == Destination(Kind.SHIFT, -20)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((None, None), "give --to (earliest, latest, committed"),
        (("earliest", 5), "say where the group goes on, once"),
        ((None, 0), "--shift 0 moves nothing"),
        (("-5", None), "write --shift -5 for so many back"),
        (("yesterday", None), "names no place in a topic"),
        (("begin", None), "write earliest, latest, committed, an offset"),
        (("2026-02-30", None), "names no place in a topic"),
        (("2026-02-04", None), "lies in the future: it is 2026-02-03T04:05:06.000+00:00 now"),
        (("1.5", None), "names no place in a topic"),
        (("-5y", None), "is not a duration"),
    ],
)
def test_what_names_no_place_is_refused_with_what_would(options: tuple[Any, Any], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        destination(*options, NOW)
    assert told in str(refused.value)


def planned(kind: Kind, value: int = 0, at_time: dict[TopicPartition, int | None] | None = None) -> list[Move]:
    return moves(Destination(kind, value), HELD, COMMITTED, at_time or {})


def told(found: list[Move]) -> list[tuple[int, int, int, str]]:
    return [(move.to, move.again, move.skipped, "; ".join(move.notes())) for move in found]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Kind.EARLIEST, 0, [(100, 50, 0, ""), (0, 0, 0, "")]),
        (Kind.LATEST, 0, [(200, 0, 50, "skips 50 unread"), (50, 0, 50, "skips 50 unread")]),
        (Kind.COMMITTED, 0, [(150, 0, 0, ""), (0, 0, 0, "")]),
        (Kind.SHIFT, -20, [(130, 20, 0, ""), (0, 0, 0, "-20 is no longer there, the first is 0")]),
        (Kind.SHIFT, 60, [(200, 0, 50, "210 is beyond the end 200; skips 50 unread"),
                          (50, 0, 50, "60 is beyond the end 50; skips 50 unread")]),
        (Kind.OFFSET, 120, [(120, 30, 0, ""), (50, 0, 50, "120 is beyond the end 50; skips 50 unread")]),
        (Kind.OFFSET, 20, [(100, 50, 0, "20 is no longer there, the first is 100"), (20, 0, 20, "skips 20 unread")]),
    ],
)  # fmt: skip
def test_each_partition_goes_to_the_place_or_as_near_as_it_holds(
    kind: Kind, value: int, expected: list[tuple[int, int, int, str]]
) -> None:
    assert told(planned(kind, value)) == expected


def test_a_time_is_the_first_record_of_then_or_the_end() -> None:
    found = planned(Kind.TIME, NOW, {ONE: 170, TWO: None})
    assert told(found) == [
        (170, 0, 20, "skips 20 unread"),
        (50, 0, 50, "no record of that time or later; skips 50 unread"),
    ]


def test_an_offset_that_no_partition_has_is_refused_with_those_they_have() -> None:
    with pytest.raises(UsageError, match="no partition of in has offset 201") as refused:
        planned(Kind.OFFSET, 201)
    assert "0: 100 to 200, 1: 0 to 50" in str(refused.value)


def test_records_that_were_deleted_unread_are_told_and_not_counted_as_skipped() -> None:
    (move,) = moves(Destination(Kind.COMMITTED), {ONE: Range(100, 200)}, {ONE: 40}, {})
    assert told([move]) == [(100, 0, 0, "60 were deleted before they were read")]


def test_an_offset_of_a_topic_that_was_made_anew_is_told() -> None:
    (move,) = moves(Destination(Kind.COMMITTED), {ONE: Range(0, 10)}, {ONE: 40}, {})
    assert told([move]) == [(10, 0, 0, "committed beyond the end 10: the topic was made anew")]
