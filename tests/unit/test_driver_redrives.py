"""What comes back to a processor, in memory: dead letters that are tried again, by the tool or by hand."""

from __future__ import annotations

from typing import Any

import pytest
from rig import Item
from waiting_app import Flaky, flaky, statuses

from streams import DEAD_LETTER, PARK, Failure, Retry
from streams.errors import IncompatibleError
from streams.failpoints import Failpoint, installed
from streams.failures.redrives import BEHIND_ALL, MOST_BUFFERED
from streams.failures.waiting_record import WaitingStatus
from streams.record import Record
from streams.testing import Abort, Crash, MemoryDriver

GUARANTEES = pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
LARGE = b"x" * 6_000
ELSEWHERE = {Failpoint.POLLED, Failpoint.RESTORING, Failpoint.ABORTING, Failpoint.REVOKING, Failpoint.REVOKED}
STEPS = [step for step in Failpoint if step not in ELSEWHERE]  # that a worker comes by when a record comes back


def some(key: str, *numbers: int) -> list[Item]:
    return [Item(key=key, n=n) for n in numbers]


def reason(letter: Record[Any, Any]) -> dict[str, bytes | None]:
    return {name.removeprefix("__connect.errors."): value for name, value in letter.headers}


@GUARANTEES
def test_a_dead_letter_that_comes_back_is_handled_as_if_it_were_read_first(guarantee: str) -> None:
    one = flaky(DEAD_LETTER, guarantee=guarantee, partitions=2)
    one.failing = {"a"}
    with one.app.test() as driver:
        driver.send(one.source, *some("b", 9), *some("a", 1, 2))
        letters = one.letters(driver)
        one.failing.clear()
        for letter in letters:
            one.redrive(driver, letter)
        driver.settle()
        assert one.came(driver) == {"b": [9], "a": [1, 2]}
        assert driver.lag == {"append": 0}
        assert one.behind(driver) == 0
        assert driver.assert_no_loss() > 0


def test_one_that_fails_again_keeps_its_origin_and_its_count() -> None:
    one = flaky(Failure(Retry(1, "1s"), pauses=False), partitions=2)
    one.poison = {1}
    with one.app.test() as driver:
        driver.send(one.source, *some("a", 7, 1))
        for count in (1, 2):
            one.redrive(driver, one.letters(driver)[-1], count)
            driver.settle()
        first, *others = [reason(letter) for letter in one.letters(driver)]
        assert [letter["streams.redrives"] for letter in others] == [b"1", b"2"]
        for letter in others:
            assert {name: letter[name] for name in ("topic", "partition", "offset")} == {
                name: first[name] for name in ("topic", "partition", "offset")
            }
            assert letter["streams.error.attempts"] == b"2"
        assert one.attempts()[1] == 6
        one.poison.clear()
        one.redrive(driver, one.letters(driver)[-1], 3)
        driver.settle()
        assert one.came(driver) == {"a": [7, 1]}


def test_one_whose_key_waits_is_tried_when_its_turn_comes() -> None:
    """It was read before what waits now, so it goes before it."""
    one = flaky(PARK)
    with one.app.test() as driver:
        one.failing = {"a"}
        driver.send(one.source, *some("a", 1, 2))
        one.command(driver, "drop", b"a", offset=0)
        driver.settle()
        assert statuses(driver.waiting) == {1: WaitingStatus.PARKED}  # it was its turn
        (letter,) = one.letters(driver)
        one.redrive(driver, letter)
        driver.settle()
        assert list(statuses(driver.waiting)) == [0, 1]
        assert one.came(driver) == {}
        one.failing.clear()
        one.command(driver, "release", b"a")
        driver.settle()
        assert one.came(driver) == {"a": [1, 2]}


def test_a_copy_of_what_waits_does_not_overtake_what_it_stands_behind() -> None:
    """Two re-drives of one dead letter are one record that waits."""
    one = flaky(PARK)
    with one.app.test() as driver:
        one.poison = {1, 2}
        driver.send(one.source, *some("a", 1, 2))
        value = driver.waiting[1].value
        one.come_back(driver, b"a", value, (("streams.origin", b"in/0/1"),))
        driver.settle()
        assert one.attempts() == {1: 1}
        assert statuses(driver.waiting) == {0: WaitingStatus.PARKED, 1: WaitingStatus.QUEUED}


@pytest.mark.parametrize(
    "origin",
    [
        None,
        b"",
        b"elsewhere/0/0",
        b"in/1/0",
        b"in/7/0",
        b"in/0/x",
        b"in/0/-1",
        b"in/0/" + b"9" * 5_000,
        "in/0/²".encode(),
    ],
)
def test_one_that_was_not_read_here_is_taken_for_no_other_record(origin: bytes | None) -> None:
    """Offset 0 of this partition waits; nobody may write over it or let it go."""
    one = flaky(PARK, partitions=2)
    one.failing = {"a"}
    with one.app.test() as driver:
        one.log(driver, Item(key="a", n=1), 0)
        driver.settle()
        assert statuses(driver.waiting) == {0: WaitingStatus.PARKED}
        headers = () if origin is None else (("streams.origin", origin),)
        one.come_back(driver, b"b", one.frame(driver, Item(key="b", n=2)), headers)
        driver.settle()
        assert one.came(driver) == {"b": [2]}
        one.failing = {"a", "c"}
        one.come_back(driver, b"c", one.frame(driver, Item(key="c", n=3)), headers)
        driver.settle()
        assert statuses(driver.waiting) == {0: WaitingStatus.PARKED, BEHIND_ALL + 1: WaitingStatus.PARKED}
        one.command(driver, "drop", b"c")
        driver.settle()
        (letter,) = one.letters(driver)
        known = origin in {b"elsewhere/0/0", b"in/1/0", b"in/7/0"}
        told = b"%b/%b/%b" % tuple(reason(letter)[name] for name in ("topic", "partition", "offset"))
        assert told == (origin if known else b"flaky.append.redrive/0/1")


def test_what_comes_back_to_an_input_that_never_held_anything_is_committed() -> None:
    """INV-10: there is no offset of the input to send again, so its own is."""
    one = flaky(Failure(Retry(3, "1s"), pauses=False))
    one.failing = {"a"}
    with one.app.test(auto_advance=False) as driver:
        one.come_back(driver, b"a", one.frame(driver, Item(key="a", n=1)), (("streams.origin", b"in/0/5"),))
        driver.settle()
        assert statuses(driver.waiting) == {5: WaitingStatus.RETRYING}
        one.failing.clear()
        driver.advance("5s")
        assert driver.waiting == []
        assert one.came(driver) == {"a": [1]}


@GUARANTEES
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_anywhere_lets_it_come_back_once(step: Failpoint, guarantee: str) -> None:
    one = flaky(DEAD_LETTER, guarantee=guarantee)
    one.failing = {"a"}
    with one.app.test() as driver:
        driver.send(one.source, *some("a", 1, 2, 3))
        one.failing.clear()
        driver.inject(Crash(), at=step)
        if step in {Failpoint.OFFSETS_KNOWN, Failpoint.PRODUCER_STARTING}:
            driver.inject(Crash())
        for letter in one.letters(driver):
            one.redrive(driver, letter)
        driver.settle()
        assert driver.disarm() == []
        assert set(one.came(driver)["a"]) == {1, 2, 3}
        assert driver.assert_no_loss() > 0
        if guarantee == "exactly_once":
            assert one.came(driver) == {"a": [1, 2, 3]}
            assert driver.assert_no_duplicates() > 0


def test_many_come_back_through_a_buffer_that_is_bounded() -> None:
    one = flaky(DEAD_LETTER)
    one.down = True
    count = 3 * MOST_BUFFERED
    with one.app.test(restore_records=700) as driver:
        driver.send(one.source, *[Item(key=f"k{n % 7}", n=n) for n in range(count)])
        one.down = False
        for letter in one.letters(driver):
            one.redrive(driver, letter)
        most = 0

        def look(_step: Failpoint) -> None:
            nonlocal most
            (process,) = driver._simulation.runtimes["append"].processes.values()
            (back,) = process.worker._partitions.redrives.values()
            most = max(most, len(back.buffer))

        with installed(look):
            driver.settle()
        assert sorted(n for numbers in one.came(driver).values() for n in numbers) == list(range(count))
        assert MOST_BUFFERED <= most < MOST_BUFFERED + 700


class TestRefusedByTheBroker:
    """Records whose outputs, dead letters or rows are too large, beside those that wait or come back."""

    @staticmethod
    def send(one: Flaky, driver: MemoryDriver, key: str, n: int) -> None:
        driver.send(one.source, Item(key=key, n=n))

    @GUARANTEES
    def test_a_record_that_waits_and_whose_output_is_refused_goes_by_the_policy(self, guarantee: str) -> None:
        one = flaky(Failure(Retry(3, "1s"), pauses=False), guarantee=guarantee, config={"max.message.bytes": "4000"})
        one.failing, one.large = {"a"}, {1}
        with one.app.test(auto_advance=False) as driver:
            driver.send(one.source, *some("a", 1, 2), *some("b", 3))
            one.failing.clear()
            driver.advance("10s")
            assert [(letter.offset, letter.stage) for letter in driver.dead_letters] == [(0, "send")]
            assert {key: set(numbers) for key, numbers in one.came(driver).items()} == {"a": {2}, "b": {3}}
            assert driver.waiting == []
            assert driver.assert_no_loss() > 0

    def test_one_that_comes_back_is_refused_even_if_the_input_goes_on_meanwhile(self) -> None:
        """Its place is before the committed offset; that must not make the worker forget whom to refuse."""
        one = flaky(DEAD_LETTER, config={"max.message.bytes": "4000"}, poll_records=1)
        one.failing = {"a"}
        with one.app.test() as driver:
            driver.send(one.source, *some("a", 1))
            one.failing.clear()
            one.large = {1}
            one.redrive(driver, one.letters(driver)[0])
            for n in range(2, 40):
                driver.cluster.log.append(one.record(driver, Item(key="b", n=n)))
            driver.settle()
            assert [reason(letter)["stage"] for letter in one.letters(driver)] == [b"process", b"send"]
            assert one.came(driver) == {"b": list(range(2, 40))}

    def test_one_that_is_refused_while_its_key_waits_queues(self) -> None:
        """The order of a key: what is refused was handled, and that was too early once the one before fails."""
        one = flaky(Failure(Retry(3, "1s"), pauses=False), config={"max.message.bytes": "4000"})
        one.large = {2}
        with one.app.test(auto_advance=False) as driver:
            driver.inject(Abort(), at=Failpoint.FLUSHED)
            handle, tries = one.handle, []

            def first_well(item: Item, ctx: Any) -> Any:
                tries.append(item.n)
                one.failing = {"a"} if tries.count(1) == 2 else set()
                return handle(item, ctx)

            one.handle = first_well  # type: ignore[method-assign] # replaced for this test
            for n in (1, 2):
                driver.cluster.log.append(one.record(driver, Item(key="a", n=n)))
            driver.settle()
            driver.disarm()
            driver.advance("10s")
            assert one.came(driver) == {"a": [1]}
            assert [letter.offset for letter in driver.dead_letters] == [1]

    def test_a_parked_one_is_tried_again_once_it_is_released(self) -> None:
        """Whoever raised the limit does not have to restart the worker."""
        one = flaky(Failure(None, PARK, pauses=False), config={"max.message.bytes": "4000"})
        one.large = {1}
        with one.app.test() as driver:
            driver.send(one.source, *some("a", 1, 2))
            assert statuses(driver.waiting) == {0: WaitingStatus.PARKED, 1: WaitingStatus.QUEUED}
            one.large.clear()
            one.command(driver, "release", b"a")
            driver.settle()
            assert one.came(driver) == {"a": [1, 2]}

    @GUARANTEES
    @pytest.mark.parametrize("policy", [DEAD_LETTER, PARK, Failure(Retry(3))])
    def test_a_record_of_which_nothing_can_be_kept_ends_the_worker_and_nothing_is_committed(
        self, policy: Any, guarantee: str
    ) -> None:
        one = flaky(policy, guarantee=guarantee)
        one.failing = {"a"}
        with one.app.test(auto_advance=False) as driver:
            for topic in ("flaky.append.dlq", "flaky.append.waiting"):
                if topic in driver.cluster.log.topics:
                    shrink(driver, topic)
            driver.send(one.source, *some("b", 0))
            with pytest.raises(IncompatibleError, match="cannot be kept"):
                driver.send_raw(one.source, one.frame(driver, Item(key="a", n=1)), key=b"a", headers=(("pad", LARGE),))
            assert driver.lag == {"append": 1}
            assert driver.cluster.log.committed("flaky.append.dlq") == []

    def test_a_row_that_is_dropped_and_whose_dead_letter_is_refused_blames_no_other_record(self) -> None:
        """The command has offset 0 in its own topic; so has an innocent record of the input."""
        one = flaky(PARK)
        one.failing = {"a"}
        with one.app.test(auto_advance=False) as driver:
            driver.send_raw(one.source, one.frame(driver, Item(key="b", n=0)), key=None)
            driver.send_raw(one.source, one.frame(driver, Item(key="a", n=1)), key=b"a", headers=(("pad", LARGE),))
            shrink(driver, "flaky.append.dlq")
            one.command(driver, "drop", b"a")
            with pytest.raises(IncompatibleError, match="cannot be kept"):
                driver.settle()
            assert one.letters(driver) == []
            assert one.behind(driver) == 1


def shrink(driver: MemoryDriver, topic: str) -> None:
    log = driver.cluster.log
    log.topics[topic] = log.topics[topic]._replace(config={"max.message.bytes": "3000"})
