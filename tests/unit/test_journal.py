"""Which record killed its process: what one process leaves for the next, and whom it does not accuse."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from streams.errors import FencedError, StoppedError
from streams.failures.journal import MOST_DEATHS, Attempt, Journal
from streams.record import RawRecord, Record


class Killed(BaseException):
    """The process ends here; nothing of it runs any more."""


def records(*offsets: int) -> list[RawRecord]:
    return [Record("in", b"k", b"v", 0, 1, offset) for offset in offsets]


def die(path: Path, offsets: Sequence[int], partition: int = 1) -> None:
    journal = Journal(path)
    with pytest.raises(Killed), journal.attempt(partition, records(*offsets)):
        raise Killed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "attempt"


def test_a_record_that_was_alone_each_time_is_the_one(path: Path) -> None:
    for _ in range(MOST_DEATHS - 1):
        die(path, [7])
        assert Journal(path).killer(1) is None
    die(path, [7])
    journal = Journal(path)
    assert journal.before == Attempt(1, 7, 7, MOST_DEATHS)
    assert journal.killer(1) == 7
    assert journal.killer(0) is None


def test_deaths_over_a_range_go_on_while_it_gets_smaller(path: Path) -> None:
    for offsets in ([0, 5, 9], [5, 6], [5]):
        die(path, offsets)
    assert Journal(path).killer(1) == 5


def test_what_waits_is_tried_in_any_order(path: Path) -> None:
    """By the time when it is due: the first one is not the lowest."""
    die(path, [90, 3, 40])
    assert Journal(path).before == Attempt(1, 3, 90, 1)
    die(path, [40])
    die(path, [40])
    assert Journal(path).killer(1) == 40


@pytest.mark.parametrize("other", [([8], 1), ([7], 2)])
def test_deaths_of_others_do_not_count(path: Path, other: tuple[list[int], int]) -> None:
    die(path, [7])
    die(path, [7])
    die(path, *other)
    before = Journal(path).before
    assert before is not None
    assert before.deaths == 1
    assert Journal(path).killer(other[1]) is None


def test_what_is_survived_is_forgotten(path: Path) -> None:
    die(path, [7])
    journal = Journal(path)
    with journal.attempt(1, records(7)):
        pass
    journal.close()
    assert Journal(path).before is None


@pytest.mark.parametrize("error", [StoppedError("the policy is STOP"), FencedError("fenced")])
def test_an_error_that_ends_the_worker_in_good_order_accuses_nobody(path: Path, error: Exception) -> None:
    """Or a record would be given up because somebody restarts the worker three times after a STOP."""
    for _ in range(MOST_DEATHS + 1):
        journal = Journal(path)
        assert journal.before is None
        with pytest.raises(type(error)), journal.attempt(1, records(7)):
            raise error
        journal.close()


def test_a_death_after_the_handler_accuses_nobody(path: Path) -> None:
    """A process that hangs in a commit while the broker is down gets killed too."""
    for _ in range(MOST_DEATHS):
        journal = Journal(path)
        with journal.attempt(1, records(7)):
            pass
    assert Journal(path).before is None


def test_an_exception_that_nobody_catches_is_a_death(path: Path) -> None:
    """Too little memory, say: the next process meets the same record."""
    for _ in range(MOST_DEATHS):
        journal = Journal(path)
        with pytest.raises(MemoryError), journal.attempt(1, records(7)):
            raise MemoryError
    assert Journal(path).killer(1) == 7


def test_a_file_cut_short_is_begun_anew(path: Path) -> None:
    path.write_bytes(b"\x01\x02")
    assert Journal(path).before is None or Journal(path).killer(1) is None
    die(path, [7])
    assert Journal(path).before is not None


def test_it_costs_microseconds(path: Path) -> None:
    journal, batch = Journal(path), records(*range(500))
    began = time.perf_counter()
    for _ in range(200):
        with journal.attempt(1, batch):
            pass
    each = (time.perf_counter() - began) / 200 / 500 * 1e6
    print(f"\n{each:.3f} µs a record")
    assert each < 2
