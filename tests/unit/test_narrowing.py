"""Finding the one record to blame, however many go into a transaction at first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.failures.narrowing import Narrowing
from streams.record import TopicPartition

IN = TopicPartition("in", 0)


def test_it_begins_with_one_and_doubles() -> None:
    narrowing = Narrowing(16)
    sizes = []
    for _ in range(7):
        sizes.append(narrowing.room())
        narrowing.attempted(narrowing.room(), IN, 0)
        assert narrowing.room() <= 0 or len(sizes) > 5
        narrowing.committed()
    assert sizes == [1, 2, 4, 8, 16, 16, 16]


@given(bad=st.integers(0, 999), size=st.integers(1, 500), trusted=st.booleans())
def test_a_record_that_is_refused_is_found(bad: int, size: int, trusted: bool) -> None:
    narrowing, done, aborts = Narrowing(size), 0, 0
    if trusted:
        narrowing._most = None  # as after the first few transactions
    while done < 1_000:
        last = min(1_000, done + max(1, narrowing.room()))
        narrowing.attempted(last - done, IN, last - 1)
        if done <= bad < last:
            aborts += 1
            assert aborts < 8
            found = narrowing.refused()
            if found is not None:
                assert found == (IN, bad)
                return
        else:
            narrowing.committed()
            done = last
    raise AssertionError("never found")


def test_suspects_go_one_by_one_until_all_have_passed() -> None:
    narrowing = Narrowing(500)
    narrowing.suspect(3)
    rooms = []
    for _ in range(5):
        rooms.append(narrowing.room())
        narrowing.attempted(rooms[-1], IN, 0)
        narrowing.committed()
    assert rooms[:3] == [1, 1, 1]
    assert rooms[4] > 1


@pytest.mark.parametrize("attempts", [0, 5])
def test_an_abort_through_nobodys_fault_accuses_nobody(attempts: int) -> None:
    narrowing = Narrowing(500)
    narrowing._most = None  # as after the first few transactions
    if attempts:
        narrowing.attempted(attempts, IN, 4)
    narrowing.aborted()
    assert narrowing.attempts == 0
    assert narrowing.room() == 500


def test_a_command_is_found_as_such() -> None:
    """Its dead letters may be refused; the offset is one of its own topic."""
    narrowing = Narrowing(500)
    back = TopicPartition("g.redrive", 0)
    narrowing.attempted(1, back, 0)
    assert narrowing.refused() == (back, 0)
