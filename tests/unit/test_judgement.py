"""Whose fault failures are: most keys' or some records'."""

from __future__ import annotations

from streams.failures.judgement import KEYS, LEAST, Judgement
from streams.record import RawRecord, Record


def record(key: bytes | None, offset: int = 0) -> RawRecord:
    return Record("in", key, b"v", 0, 0, offset)


def note(judgement: Judgement, key: bytes | None, *, fails: bool, offset: int = 0, again: bool = False) -> None:
    judgement.note([record(key, offset)], last_failed=fails, again=again)


def test_it_takes_five_keys_and_most_of_them() -> None:
    judgement = Judgement()
    for n in range(LEAST - 1):
        note(judgement, b"%d" % n, fails=True)
        assert not judgement.suspended
    note(judgement, b"last", fails=True)
    assert (judgement.suspended, judgement.failed, judgement.seen) == (True, LEAST, LEAST)


def test_half_of_the_keys_are_not_most_of_them() -> None:
    judgement = Judgement()
    for n in range(KEYS):
        note(judgement, b"%d" % n, fails=n % 2 == 0)
    assert (judgement.suspended, judgement.failed, judgement.seen) == (False, KEYS // 2, KEYS)
    note(judgement, b"1", fails=True)
    assert judgement.suspended


def test_one_key_counts_once_however_often_it_fails() -> None:
    judgement = Judgement()
    for _ in range(1_000):
        note(judgement, b"hot", fails=True)
    assert (judgement.suspended, judgement.failed, judgement.seen) == (False, 1, 1)


def test_the_newest_outcome_of_a_key_counts() -> None:
    judgement = Judgement()
    for n in range(10):
        note(judgement, b"%d" % n, fails=True)
    for n in range(5):
        note(judgement, b"%d" % n, fails=False, again=True)
    assert (judgement.suspended, judgement.failed) == (False, 5)
    note(judgement, b"0", fails=True, again=True)
    assert judgement.suspended


def test_only_the_last_keys_count() -> None:
    judgement = Judgement()
    for n in range(KEYS):
        note(judgement, b"old %d" % n, fails=True)
    assert judgement.suspended
    for n in range(KEYS):
        note(judgement, b"new %d" % n, fails=False)
    assert (judgement.suspended, judgement.failed, judgement.seen) == (False, 0, KEYS)


def test_further_attempts_bring_no_key_in() -> None:
    """A few keys that are tried again and again would soon be most of all."""
    judgement = Judgement()
    for n in range(20):
        note(judgement, b"well %d" % n, fails=False)
    for n in range(100):
        note(judgement, b"failing %d" % (n % 19), fails=True, again=True)
    assert (judgement.failed, judgement.seen) == (0, 20)


def test_records_without_a_key_count_by_themselves() -> None:
    judgement = Judgement()
    for offset in range(LEAST):
        note(judgement, None, fails=True, offset=offset)
    assert judgement.suspended


def test_of_a_batch_only_the_last_may_have_failed() -> None:
    judgement = Judgement()
    judgement.note([record(b"%d" % n) for n in range(250)], last_failed=True, again=False)
    assert (judgement.failed, judgement.seen) == (1, KEYS)
    judgement.note([], last_failed=False, again=False)
    assert (judgement.failed, judgement.seen) == (1, KEYS)


def test_it_forgets() -> None:
    judgement = Judgement()
    for n in range(10):
        note(judgement, b"%d" % n, fails=True)
    judgement.forget()
    assert (judgement.suspended, judgement.failed, judgement.seen) == (False, 0, 0)
