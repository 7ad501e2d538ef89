"""Records that fail and wait, in memory: what goes on, what stays in order, what is left when it is over."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig import Item, Items
from waiting_app import BrokenError, OtherError, flaky, statuses

from streams import DEAD_LETTER, PARK, SKIP, STOP, App, Context, Failure, Retry
from streams.errors import StoppedError
from streams.failures.waiting_record import WaitingStatus
from streams.record import Headers

GUARANTEES = pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
RETRY = Failure(Retry(5, "1s..8s"), pauses=False)


def some(key: str, *numbers: int) -> list[Item]:
    return [Item(key=key, n=n) for n in numbers]


@GUARANTEES
def test_a_key_waits_in_order_while_the_others_and_the_offset_go_on(guarantee: str) -> None:
    one = flaky(RETRY, guarantee=guarantee)
    one.failing = {"a"}
    with one.app.test(auto_advance=False) as driver:
        driver.send(one.source, *some("a", 1), *some("b", 2), *some("a", 3), *some("b", 4), *some("a", 5))
        assert one.came(driver) == {"b": [2, 4]}
        assert driver.lag == {"append": 0}
        assert statuses(driver.waiting) == {
            0: WaitingStatus.RETRYING,
            2: WaitingStatus.QUEUED,
            4: WaitingStatus.QUEUED,
        }
        assert one.attempts() == {1: 1, 2: 1, 4: 1}
        one.failing.clear()
        driver.advance("10s")
        assert one.came(driver) == {"a": [1, 3, 5], "b": [2, 4]}
        assert driver.waiting == []
        assert driver.dead_letters == []
        assert driver.lag == {"append": 0}
        assert driver.store(one.lists) == {"a": Items(items=(1, 3, 5)), "b": Items(items=(2, 4))}
        assert driver.assert_no_loss() + driver.assert_order_per_key() + driver.assert_no_duplicates() > 0


def test_the_budget_ends_by_attempts_and_what_was_behind_goes_on() -> None:
    one = flaky(Failure(Retry(3, "1s..8s"), pauses=False))
    one.poison = {1}
    with one.app.test() as driver:
        driver.send(one.source, *some("a", 1, 2))
        assert one.attempts() == {1: 4, 2: 1}
        (letter,) = driver.dead_letters
        assert (letter.offset, dict(one.letters(driver)[0].headers)["streams.error.attempts"]) == (0, b"4")
        assert driver.store(one.lists) == {"a": Items(items=(2,))}  # INV-4: what failed left no state
        assert driver.assert_no_loss() + driver.assert_order_per_key() > 0


def test_the_budget_ends_by_time() -> None:
    one = flaky(Failure(Retry(1_000, "1s..1s", within="10s"), pauses=False))
    one.poison = {1}
    with one.app.test() as driver:
        began = driver.clock.seconds()
        driver.send(one.source, *some("a", 1))
        assert len(driver.dead_letters) == 1
        assert 8 <= driver.clock.seconds() - began <= 12
        assert 10 <= one.attempts()[1] <= 21  # delays of half a second to a second


def test_a_type_has_an_answer_of_its_own() -> None:
    one = flaky(Failure(Retry(2, "1s"), then=PARK, by_type={OtherError: SKIP}, pauses=False))
    one.other, one.poison = {1}, {2}
    with one.app.test() as driver:
        driver.send(one.source, *some("a", 1), *some("b", 2), *some("c", 3))
        assert one.attempts() == {1: 1, 2: 3, 3: 1}
        assert statuses(driver.waiting) == {1: WaitingStatus.PARKED}
        assert driver.dead_letters == []


def test_a_type_that_only_the_cause_of_a_bad_frame_has_is_not_meant() -> None:
    """What codecs stumble over inside is no error of the handler."""
    one = flaky(Failure(Retry(2), by_type={ValueError: STOP}))
    with one.app.test() as driver:
        good = one.frame(driver, Item(key="ab", n=1))
        driver.send_raw(one.source, good.replace(b"ab", b"\xff\xff"), key=b"a")
        (letter,) = driver.dead_letters
        assert (letter.stage, letter.kind) == ("decode", "utf-8")


def test_whatever_an_exception_says_its_record_waits() -> None:
    """A text that cannot be encoded must not cost the record its retries."""
    one = flaky(RETRY)
    one.raising = ValueError("\ud800" * 3)
    with one.app.test(auto_advance=False) as driver:
        driver.send(one.source, *some("a", 1))
        (row,) = driver.waiting
        assert (row.message, row.attempts) == ("ValueError: ???", 1)
        one.raising = None
        driver.advance("10s")
        assert one.came(driver) == {"a": [1]}
        assert driver.dead_letters == []


@GUARANTEES
def test_a_parked_key_is_blocked_until_it_is_released(guarantee: str) -> None:
    one = flaky(PARK, guarantee=guarantee)
    one.failing = {"a"}
    with one.app.test() as driver:
        driver.send(one.source, *some("a", 1), *some("b", 2), *some("a", 3))
        driver.advance("1d")
        assert statuses(driver.waiting) == {0: WaitingStatus.PARKED, 2: WaitingStatus.QUEUED}
        assert (one.came(driver), one.attempts()[1]) == ({"b": [2]}, 1)
        one.command(driver, "release", b"a")
        driver.settle()
        assert statuses(driver.waiting)[0] is WaitingStatus.PARKED  # it failed again
        assert one.attempts()[1] == 2
        one.failing.clear()
        one.command(driver, "release", b"a")
        driver.settle()
        assert one.came(driver) == {"a": [1, 3], "b": [2]}
        assert driver.waiting == []
        assert driver.assert_no_loss() + driver.assert_order_per_key() + driver.assert_no_duplicates() > 0


def test_a_parked_key_is_given_up_row_by_row_or_as_a_whole() -> None:
    one = flaky(PARK)
    one.failing = {"a"}
    with one.app.test() as driver:
        driver.send(one.source, *some("a", 1, 2, 3))
        one.command(driver, "drop", b"a", offset=1)
        driver.settle()
        assert [(letter.offset, letter.kind) for letter in driver.dead_letters] == [(1, "dropped")]
        assert statuses(driver.waiting) == {0: WaitingStatus.PARKED, 2: WaitingStatus.QUEUED}
        one.command(driver, "drop", b"a")
        driver.settle()
        assert [letter.offset for letter in driver.dead_letters] == [1, 0, 2]
        assert driver.waiting == []
        one.failing.clear()
        driver.send(one.source, *some("a", 4))
        assert one.came(driver) == {"a": [4]}


@pytest.mark.parametrize("offset", [b"x", b"", b"-1", "²".encode(), b"9" * 5_000])
def test_a_command_for_an_offset_that_is_none_does_nothing(offset: bytes) -> None:
    one = flaky(PARK)
    one.failing = {"a"}
    with one.app.test() as driver:
        driver.send(one.source, *some("a", 1))
        one.come_back(driver, b"a", None, (("streams.command", b"drop"), ("streams.offset", offset)))
        driver.settle()
        assert statuses(driver.waiting) == {0: WaitingStatus.PARKED}


def test_null_keys_block_nobody() -> None:
    one = flaky(RETRY)
    one.poison = {1}
    with one.app.test(auto_advance=False) as driver:
        for n in (1, 2, 3):
            driver.send_raw(one.source, one.frame(driver, Item(key="a", n=n)), key=None)
        assert one.came(driver) == {"a": [2, 3]}
        assert statuses(driver.waiting) == {0: WaitingStatus.RETRYING}
        one.poison.clear()
        driver.advance("10s")
        assert one.came(driver) == {"a": [2, 3, 1]}


def test_a_parked_record_without_a_key_is_released_by_its_offset() -> None:
    one = flaky(PARK)
    one.down = True
    with one.app.test() as driver:
        for n in (1, 2):
            driver.send_raw(one.source, one.frame(driver, Item(key="a", n=n)), key=None)
        one.down = False
        one.command(driver, "release", None, offset=1)
        driver.settle()
        assert one.came(driver) == {"a": [2]}
        assert statuses(driver.waiting) == {0: WaitingStatus.PARKED}
        one.command(driver, "release", None)
        driver.settle()
        assert one.came(driver) == {"a": [2, 1]}


def test_tombstones_of_a_blocked_key_keep_their_place() -> None:
    app, seen, failing = App("tombs"), [], [True]
    source = app.topic("in", Item, key="key")

    @app.processor(source, on_failure=RETRY)
    def note(item: Item | None, ctx: Context) -> None:
        if failing[0]:
            raise BrokenError
        seen.append((ctx.record.key, None if item is None else item.n))

    with app.test(auto_advance=False) as driver:
        driver.send(source, Item(key="a", n=1))
        driver.delete(source, "a")
        driver.send(source, Item(key="a", n=2))
        assert [row.value is None for row in driver.waiting] == [False, True, False]
        failing[0] = False
        driver.advance("10s")
        assert seen == [(b"a", 1), (b"a", None), (b"a", 2)]
        assert driver.waiting == []


def test_a_waiting_record_keeps_its_many_and_huge_headers() -> None:
    app, seen, failing = App("headers"), [], [True]
    source = app.topic("in", Item, key="key")
    headers: Headers = (*((f"h{n % 7}", bytes([n % 256])) for n in range(2_000)), ("big", b"x" * 900_000), ("no", None))

    @app.processor(source, on_failure=RETRY)
    def note(_item: Item, ctx: Context) -> None:
        if failing[0]:
            raise BrokenError
        seen.append(ctx.record)

    with app.test(auto_advance=False) as driver:
        driver.send(source, Item(key="b", n=1))
        frame = driver.waiting[0].value
        driver.send_raw(source, frame, key=b"a", headers=headers, timestamp_ms=1_234)
        assert len(driver.waiting) == 2
        failing[0] = False
        driver.advance("10s")
        (came,) = [record for record in seen if record.key == b"a"]
        assert (came.offset, came.headers, came.timestamp_ms) == (1, headers, 1_234)


def test_stop_inside_a_retry_ends_the_worker_and_the_record_is_kept() -> None:
    one = flaky(Failure(Retry(2, "1s"), then=STOP, pauses=False))
    one.poison = {1}
    with one.app.test(auto_advance=False) as driver:
        driver.send(one.source, *some("a", 1, 2))
        with pytest.raises(StoppedError, match="the policy is STOP"):
            driver.advance("10s")
        assert one.attempts() == {1: 3}
        assert statuses(driver.waiting) == {0: WaitingStatus.RETRYING, 1: WaitingStatus.QUEUED}
        assert driver.waiting[0].attempts == 2  # the last one was not committed


def test_an_output_that_does_not_encode_takes_no_queued_record_with_it() -> None:
    """The rollback to it takes back what the index learned after it; those records come again."""
    one = flaky(RETRY)
    one.failing, one.odd = {"a"}, {2}
    with one.app.test(auto_advance=False) as driver:
        for item in [*some("a", 1), *some("b", 2), *some("a", 3), *some("b", 4)]:
            driver.cluster.log.append(one.record(driver, item))
        driver.settle()
        assert statuses(driver.waiting) == {0: WaitingStatus.RETRYING, 2: WaitingStatus.QUEUED}
        assert [(letter.offset, letter.stage) for letter in driver.dead_letters] == [(1, "encode")]
        assert one.came(driver) == {"b": [4]}
        one.failing.clear()
        driver.advance("10s")
        assert one.came(driver) == {"a": [1, 3], "b": [4]}


def test_an_unknown_schema_inside_a_waiting_record_holds_it_until_it_is_known() -> None:
    """As after a restart: the worker that let it wait knew the schema."""
    one = flaky(RETRY)
    one.failing = {"a"}
    with one.app.test(auto_advance=False) as driver:
        driver.learn_schema(777, Item.__avro_versions__[0])
        frame = one.frame(driver, Item(key="a", n=1))
        driver.send_raw(one.source, frame[:1] + (777).to_bytes(4, "big") + frame[5:], key=b"a")
        assert statuses(driver.waiting) == {0: WaitingStatus.RETRYING}
        one.crash(driver)
        one.failing.clear()
        driver.advance("10s")
        assert one.came(driver) == {"a": [1]}


def test_lag_is_zero_after_commits_that_only_a_timer_made() -> None:
    """INV-10: the offset is sent again, and nothing moves."""
    one = flaky(RETRY)
    one.failing = {"a"}
    with one.app.test(auto_advance=False) as driver:
        driver.send(one.source, *some("a", 1))
        before = dict(driver.cluster.log.offsets["flaky.append"])
        driver.advance("4s")
        assert one.attempts()[1] > 1
        assert driver.waiting[0].attempts == one.attempts()[1]  # committed each time
        assert driver.cluster.log.offsets["flaky.append"] == before
        assert driver.lag == {"append": 0}


def test_no_state_lies_on_the_disk_until_a_record_waits() -> None:
    app, failing = App("stateless"), [False]
    source = app.topic("in", Item, key="key")

    @app.processor(source)
    def check(_item: Item, _ctx: Context) -> None:
        if failing[0]:
            raise BrokenError

    with app.test(auto_advance=False) as driver:
        folder: Path = driver.cluster.folder / "check"
        driver.send(source, Item(key="a", n=1))
        driver.advance("1s")
        assert list(folder.rglob("*.mdb")) == []
        failing[0] = True
        driver.send(source, Item(key="a", n=2))
        assert len(list(folder.rglob("data.mdb"))) == 1


def test_two_namespaces_do_not_meet() -> None:
    one = flaky(PARK)
    one.failing = {"a"}
    inside = one.app.in_namespace("test")
    with inside.test() as driver:
        driver.send(one.source, *some("a", 1))
        assert statuses(driver.waiting) == {0: WaitingStatus.PARKED}
        assert "test.flaky.append.waiting" in driver.cluster.log.topics
        assert driver.waiting[0].topic == "test.in"
        one.failing.clear()
        one.command(driver, "release", b"a", namespace="test")
        driver.settle()
        assert one.came(driver) == {"a": [1]}
        assert driver.waiting == []


def test_a_policy_that_gives_up_at_once_never_waits() -> None:
    one = flaky(DEAD_LETTER)
    one.poison = set(range(20))
    with one.app.test() as driver:
        driver.send(one.source, *[Item(key=f"k{n}", n=n) for n in range(20)])
        assert len(driver.dead_letters) == 20
        assert one.processor.waiting is None
        assert driver.lag == {"append": 0}


def test_failures_that_are_skipped_are_no_failing_dependency() -> None:
    one = flaky(Failure(Retry(3), by_type={OtherError: SKIP}))
    one.other = set(range(20))
    with one.app.test() as driver:
        driver.send(one.source, *[Item(key=f"k{n}", n=n) for n in range(20)])
        assert driver.lag == {"append": 0}
        assert driver.dead_letters == []
