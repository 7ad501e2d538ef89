"""Times on the command line, and the part of a topic that they choose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from streams.cli.moments import milliseconds
from streams.cli.spans import Selection, select, spans
from streams.errors import UsageError
from streams.kafka.admin import Range
from streams.record import TopicPartition

NOW = 1_770_091_506_000  # 2026-02-03T04:05:06Z
DAY = 24 * 3600 * 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-03T04:05:06", NOW),
        ("2026-02-03T04:05:06Z", NOW),
        ("2026-02-03T05:05:06+01:00", NOW),
        ("2026-02-03 04:05:05.001", NOW - 999),
        ("2026-02-03", NOW - (4 * 3600 + 5 * 60 + 6) * 1000),
        (" -1h", NOW - 3_600_000),
        ("-90s", NOW - 90_000),
        ("-1.5d", NOW - 36 * 3600 * 1000),
        ("1770091506000", NOW),
        ("0", 0),
        ("1500", 1_500),
    ],
)
def test_a_time_may_be_written_in_four_ways(text: str, expected: int) -> None:
    assert milliseconds(text, "--from", NOW) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("yesterday", "--from yesterday: not a point in time"),
        ("2026-13-01", "not a point in time"),
        ("1h", "not a point in time"),
        ("-1", "is not a duration"),
        ("-0s", "is not a positive duration"),
        ("1770091506", "looks like seconds"),
        ("2026-02-03T04:05:07", "lies in the future: it is 2026-02-03T04:05:06.000+00:00 now"),
        ("-999999999d", "before 1970"),
        ("0001-01-01", "before 1970"),
        ("99999999999999999999", "in the future"),
    ],
)
def test_what_is_no_time_or_lies_ahead_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        milliseconds(text, "--from", NOW)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"since": "-1h", "offset": "5"}, "--from -1h and --offset 5 both say where to begin"),
        ({"until": "-1h", "follow": True}, "--to -1h ends what --follow goes on with"),
        ({"since": "2026-02-03", "until": "2026-02-02"}, "is not before --to 2026-02-02T00:00:00.000+00:00"),
        ({"since": "2026-02-03", "until": "2026-02-03"}, "is not before"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], told: str) -> None:
    every: dict[str, Any] = {"partition": None, "offset": None, "since": None, "until": None, "follow": False}
    with pytest.raises(UsageError) as refused:
        select(**{**every, **options})
    assert told in str(refused.value)


class Asked:
    """A topic of two partitions: ten records a partition from offset 100 on, one a second; the second one is empty."""

    def topics(self) -> dict[str, int]:
        return {"items": 2}

    def ranges(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Range]:
        return {tp: Range(100, 110 if tp.partition == 0 else 100) for tp in partitions}

    def offsets_at(self, partitions: Iterable[TopicPartition], timestamp_ms: int) -> dict[TopicPartition, int | None]:
        later = [100 + n for n in range(10) if n * 1_000 >= timestamp_ms]
        return {tp: later[0] if later and tp.partition == 0 else None for tp in partitions}


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(None, None, None, None), [(100, 110), (100, 100)]),
        (Selection(0, "-3", None, None), [(107, 110)]),
        (Selection(0, "105", None, 8_000), [(105, 108)]),
        (Selection(0, "109", None, 8_000), [(109, 109)]),
        (Selection(None, None, 2_000, 5_000), [(102, 105), (100, 100)]),
        (Selection(None, None, 2_001, None), [(103, 110), (100, 100)]),
        (Selection(None, None, 99_000, None), [(110, 110), (100, 100)]),
        (Selection(None, None, None, 99_000), [(100, 110), (100, 100)]),
        (Selection(0, "end", None, None), [(110, 110)]),
    ],
)
def test_offsets_and_times_choose_a_part_of_each_partition(selection: Selection, expected: list[Any]) -> None:
    found = spans(Asked(), "items", selection)  # type: ignore[arg-type] # a double
    assert list(found.values()) == expected


@pytest.mark.parametrize(
    ("topic", "selection", "told"),
    [
        ("itmes", Selection(None, None, None, None), "there is no topic itmes"),
        ("items", Selection(2, None, None, None), "use 0 to 1"),
        ("items", Selection(0, "111", None, None), "beyond the end, which is 110"),
        ("items", Selection(0, "five", None, None), "not an offset"),
    ],
)
def test_a_part_that_does_not_exist_is_refused(topic: str, selection: Selection, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        spans(Asked(), topic, selection)  # type: ignore[arg-type] # a double
    assert told in str(refused.value)
