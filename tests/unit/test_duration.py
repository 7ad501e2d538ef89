from __future__ import annotations

from datetime import timedelta

import pytest

from streams.duration import duration
from streams.errors import UsageError


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("100ms", timedelta(milliseconds=100)),
        ("2s", timedelta(seconds=2)),
        ("1.5m", timedelta(seconds=90)),
        ("4h", timedelta(hours=4)),
        (" 30d ", timedelta(days=30)),
        (timedelta(seconds=3), timedelta(seconds=3)),
    ],
)
def test_durations_as_people_write_them(written: str | timedelta, read: timedelta) -> None:
    assert duration(written) == read


@pytest.mark.parametrize(
    "written", ["", "5", "s", "1 s", "-1s", "1e3s", "1w", "1s1s", "0s", "0.0001ms", timedelta(0), timedelta(-1)]
)
def test_what_has_no_unit_or_is_not_positive_is_refused(written: str | timedelta) -> None:
    with pytest.raises(UsageError) as raised:
        duration(written)
    assert raised.value.fix


def test_a_duration_beyond_all_bounds_is_refused() -> None:
    with pytest.raises(UsageError, match="duration"):
        duration("9" * 30 + "d")
