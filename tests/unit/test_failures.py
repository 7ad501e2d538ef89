"""The answer to a failure: it waits, is given up or ends the worker, as the policy says; and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rig import Item
from test_waiting_index import commit, failure, make, record

from streams import DEAD_LETTER, PARK, SKIP, STOP, App, Failure, Retry
from streams.errors import DecodeError, StoppedError, WaitingFullError
from streams.failures.failures import Failures
from streams.failures.judgement import LEAST, Judgement
from streams.failures.waiting import Waiting
from streams.failures.waiting_record import WaitingStatus
from streams.record import RawRecord

NOW = 1_000_000
RETRY = Failure(Retry(2, "100ms..100ms"), then=DEAD_LETTER)


class Bench:
    """Failures of one task, with a store for what waits."""

    def __init__(self, policy: Any, *, most_records: int = 8) -> None:
        app = App("bench")
        source = app.topic("in", Item, key="key")
        app.processor(source, on_failure=policy)(handle)
        self.waiting: Waiting
        self.waiting, self.state = make(most_records)
        self.judgement = Judgement()
        keeps = app.processors["handle"].waiting is not None
        self.failures = Failures(app.processors["handle"], self.waiting if keeps else None, self.judgement)

    def fail(self, one: RawRecord, error: Any = None, now_ms: int = NOW) -> tuple[list[RawRecord], str]:
        self.failures.begin([one], again=False)
        return self.failures.answer(one, error or failure(), now_ms)

    def statuses(self) -> dict[int, tuple[WaitingStatus, int]]:
        return {offset: (entry.status, entry.attempts) for offset, entry in self.waiting.entries.items()}


def handle(item: object, ctx: object) -> None:
    del item, ctx


def reason(letter: RawRecord, name: str) -> str:
    return (dict(letter.headers)[name] or b"").decode()


def test_a_retry_waits_until_its_attempts_are_spent_and_then_becomes_a_dead_letter() -> None:
    bench = Bench(RETRY)

    assert bench.fail(record(5)) == ([], "waiting")
    assert bench.statuses() == {5: (WaitingStatus.RETRYING, 1)}
    assert bench.fail(record(5), now_ms=NOW + 200) == ([], "waiting")
    [letter], outcome = bench.fail(record(5), now_ms=NOW + 400)

    assert outcome == "process"
    assert bench.statuses() == {}
    assert (letter.topic, letter.key, letter.value) == ("bench.handle.dlq", b"a", b"v" * 10)
    assert reason(letter, "streams.error.attempts") == "3"
    assert reason(letter, "__connect.errors.offset") == "5"


def test_bytes_that_do_not_decode_are_not_tried_again() -> None:
    bench = Bench(RETRY)
    [letter], outcome = bench.fail(record(5), DecodeError("truncated", "short"))

    assert (outcome, bench.statuses()) == ("decode", {})
    assert reason(letter, "streams.error.kind") == "truncated"


def test_a_parked_record_has_no_time_and_keeps_its_key() -> None:
    bench = Bench(PARK)

    assert bench.fail(record(5)) == ([], "parked")
    assert bench.waiting.next_due() is None
    assert bench.failures.queue(record(6), NOW)
    assert bench.statuses() == {5: (WaitingStatus.PARKED, 1), 6: (WaitingStatus.QUEUED, 0)}


def test_what_is_skipped_leaves_nothing_but_a_word() -> None:
    bench = Bench(SKIP)

    assert bench.fail(record(5)) == ([], "skipped")
    assert [(one.offset, outcome) for one, _, outcome in bench.failures.take_told()] == [(5, "skip")]
    assert bench.failures.take_told() == []


def test_stop_says_where_and_what() -> None:
    with pytest.raises(StoppedError, match=r"in process and the policy is STOP: ValueError: x") as raised:
        Bench(STOP).fail(record(5))
    assert raised.value.where == "in[0] offset 5"


def test_a_full_store_takes_nothing_more() -> None:
    bench = Bench(PARK, most_records=1)
    bench.fail(record(5))

    with pytest.raises(WaitingFullError):
        bench.failures.queue(record(6), NOW)
    with pytest.raises(WaitingFullError):
        bench.fail(record(7, b"b"))


def test_only_the_first_of_a_key_is_handled_and_whoever_was_dealt_with_lets_the_next_one_be_it() -> None:
    bench = Bench(PARK)
    bench.fail(record(5))
    bench.failures.queue(record(6), NOW)

    assert not bench.failures.queue(record(5), NOW)
    assert bench.failures.queue(record(6), NOW)
    assert not bench.failures.queue(record(7, b"b"), NOW)
    assert not bench.failures.queue(record(8, None), NOW)
    bench.failures.dealt_with(record(5))
    assert not bench.failures.queue(record(6), NOW)
    assert bench.waiting.next_due() == 0


RELEASED: list[tuple[Callable[[Failures], object], dict[int, int]]] = [
    (lambda failures: failures.release(b"a", None, NOW), {5: 0, 6: 0, 7: 1}),
    (lambda failures: failures.release(b"a", 6, NOW), {5: 1, 6: 0, 7: 1}),
    (lambda failures: failures.release(b"a", 7, NOW), {5: 1, 6: 0, 7: 1}),
    (lambda failures: failures.release(None, None, NOW), {5: 1, 6: 0, 7: 0}),
    (lambda failures: failures.release(b"b", None, NOW), {5: 1, 6: 0, 7: 1}),
]


@pytest.mark.parametrize(("command", "attempts"), RELEASED)
def test_a_release_gives_a_fresh_budget_to_the_key_or_the_record(
    command: Callable[[Failures], object], attempts: dict[int, int]
) -> None:
    bench = Bench(PARK)
    bench.fail(record(5))
    bench.failures.queue(record(6), NOW)
    bench.fail(record(7, None))
    commit(bench.state)
    command(bench.failures)

    assert {offset: entry.attempts for offset, entry in bench.waiting.entries.items()} == attempts


def test_a_drop_leaves_dead_letters_of_a_key_in_their_order() -> None:
    bench = Bench(PARK)
    bench.fail(record(5))
    bench.failures.queue(record(6), NOW)
    bench.fail(record(7, b"b"))
    letters = bench.failures.drop(b"a", None, NOW)

    assert [reason(letter, "__connect.errors.offset") for letter in letters] == ["5", "6"]
    assert {reason(letter, "streams.error.kind") for letter in letters} == {"dropped"}
    assert list(bench.waiting.entries) == [7]
    assert bench.failures.drop(b"b", 8, NOW) == []


def test_while_most_keys_fail_nothing_is_given_up() -> None:
    bench = Bench(Failure(Retry(1, "100ms..100ms"), then=DEAD_LETTER))
    for offset in range(LEAST):
        assert bench.fail(record(offset, b"%d" % offset))[1] == "waiting"
    assert bench.judgement.suspended
    assert bench.fail(record(0, b"0"), now_ms=NOW + 200)[1] == "waiting"
    bench.judgement.forget()
    assert bench.fail(record(0, b"0"), now_ms=NOW + 400)[1] == "process"


def test_records_that_were_queued_say_nothing_of_their_key() -> None:
    bench = Bench(RETRY)
    bench.fail(record(5))
    batch = [record(6), record(7, b"b")]
    bench.failures.begin(batch, again=False)
    bench.failures.queue(batch[0], NOW)
    bench.failures.end(2)

    assert (bench.judgement.failed, bench.judgement.seen) == (1, 2)
