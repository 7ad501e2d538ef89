"""What all keys need is down, in memory: nothing is given up, little is tried, and all goes on when it works again."""

from __future__ import annotations

import time

import pytest
from rig import Item
from waiting_app import Flaky, flaky

from streams import DEAD_LETTER, PARK, Failure, Retry
from streams.failures.waiting_record import WaitingStatus
from streams.record import TopicPartition
from streams.testing import MemoryDriver, Rebalance

GUARANTEES = pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
KEYS, RECORDS = 2_000, 6_000


def numbered(records: int, keys: int) -> list[Item]:
    return [Item(key=f"k{n % keys}", n=n) for n in range(records)]


def in_order(came: dict[str, list[int]]) -> bool:
    return all(numbers == sorted(numbers) for numbers in came.values())


def held(driver: MemoryDriver) -> set[str]:
    return {
        owned.hold.reason.partition(":")[0]
        for process in driver._simulation.runtimes["append"].processes.values()
        for owned in process.worker.owned.values()
        if owned.hold is not None
    }


@GUARANTEES
def test_ten_minutes_without_it_cost_no_record_and_no_order(guarantee: str) -> None:
    one = flaky(None, partitions=3, guarantee=guarantee)
    one.down = True
    began = time.monotonic()
    with one.app.test(workers=2, auto_advance=False) as driver:
        driver.send(one.source, *numbered(RECORDS, KEYS))
        driver.advance("10m")
        assert held(driver) == {"dependency"}
        assert driver.dead_letters == []
        assert len(one.calls) < 4_000  # a probe a second in each worker; retries would be tens of thousands
        waited = len(driver.waiting)
        one.down = False
        driver.advance("2m")
        assert driver.lag == {"append": 0}
        assert (driver.waiting, driver.dead_letters) == ([], [])
        came = one.came(driver)
        assert sum(map(len, came.values())) == RECORDS
        assert in_order(came)
        compared = driver.assert_no_loss() + driver.assert_order_per_key() + driver.assert_no_duplicates()
    print(f"\n{waited} waited, {len(one.calls)} calls, {compared} compared, {time.monotonic() - began:.1f} s")
    assert waited < 2_000
    assert compared > 3 * RECORDS


def test_it_takes_most_of_the_keys_and_five_at_least() -> None:
    one = flaky(Failure(Retry(2, "1s")))
    with one.app.test() as driver:
        one.failing = {f"k{n}" for n in range(4)}
        driver.send(one.source, *numbered(4, 4))
        assert held(driver) == set()
        assert len(driver.dead_letters) == 4  # four may be records' fault
        one.failing = {f"k{n}" for n in range(49)}
        driver.send(one.source, *numbered(100, 100))
        assert held(driver) == set()
        assert len(driver.dead_letters) == 4 + 49


def test_one_hot_key_that_fails_is_no_dependency() -> None:
    one = flaky(Failure(Retry(2, "1s")))
    one.failing = {"k0"}
    with one.app.test() as driver:
        driver.send(one.source, *numbered(50, 1), *[Item(key="k1", n=100)])
        assert held(driver) == set()
        assert len(driver.dead_letters) == 50
        assert one.came(driver) == {"k1": [100]}


def test_keys_of_records_that_do_not_decode_are_no_failing_dependency() -> None:
    one = flaky(None)
    with one.app.test() as driver:
        for n in range(20):
            driver.send_raw(one.source, b"junk", key=b"%d" % n)
        assert len(driver.dead_letters) == 20
        assert held(driver) == set()


def test_a_worker_whose_waiting_keys_move_away_does_not_pause_for_ever() -> None:
    """Nothing is left in it whose success could tell that the outage is over."""
    one = flaky(None, partitions=2)
    one.down = True
    keys = [f"k{n}" for n in range(60)]
    with one.app.test(auto_advance=False) as driver:
        frames = [(key.encode(), one.frame(driver, Item(key=key, n=n))) for n, key in enumerate(keys)]
        for key, frame in frames:
            driver.send_raw(one.source, frame, key=key, partition=0)
        assert held(driver) == {"dependency"}
        driver.inject(Rebalance(2))
        driver.settle()
        stays = driver._simulation.runtimes["append"].processes[0].worker
        if next(iter(stays.owned)).partition == 0:  # the other one is new and never paused
            driver.inject(Rebalance(1))
        one.down = False
        for key, frame in frames:
            driver.send_raw(one.source, frame, key=key, partition=1)
        driver.advance("2m")
        assert driver.lag == {"append": 0}
        assert driver.waiting == []


def test_a_pause_ends_when_all_that_waits_is_given_up_by_hand() -> None:
    one = flaky(None)
    one.down = True
    with one.app.test(auto_advance=False) as driver:
        driver.send(one.source, *numbered(5, 5))
        assert held(driver) == {"dependency"}
        for n in range(5):
            one.command(driver, "drop", b"k%d" % n)
        driver.settle()
        assert held(driver) == set()
        assert driver.waiting == []
        one.down = False
        driver.send(one.source, Item(key="k9", n=9))
        assert one.came(driver) == {"k9": [9]}


def test_a_command_finds_its_key_while_most_keys_fail() -> None:
    one = flaky(None)
    one.down = True
    with one.app.test(auto_advance=False) as driver:
        driver.send(one.source, *numbered(20, 20))
        one.command(driver, "drop", b"k3")
        driver.settle()
        assert [letter.record.key for letter in driver.dead_letters] == [b"k3"]


def test_nobodys_records_keep_those_of_another_partition_from_being_tried() -> None:
    """Those of one partition fail for ever, and some are always due; the other one's say that it works again."""
    one = flaky(None, partitions=2)
    with one.app.test(auto_advance=False) as driver:
        driver.send(one.source, *[Item(key=f"warm{n % 100}", n=1_000) for n in range(2_000)])  # batches get large
        one.down = True
        for n in range(90):
            one.log(driver, Item(key=f"k{n}", n=n), 0 if n < 40 else 1)
        driver.settle()
        assert len(driver.waiting) == 90
        assert held(driver) == {"dependency"}
        one.down, one.poison = False, set(range(40))
        driver.advance("2m")
        assert held(driver) == set()
        assert sum(map(len, one.came(driver).values())) == 2_050


def test_a_pause_does_not_outlive_the_partition_whose_keys_failed() -> None:
    """A record of another partition goes on failing: nobody else's success would ever end it."""
    one = flaky(None, partitions=2)
    with one.app.test(auto_advance=False) as driver:
        one.poison = {999}
        one.log(driver, Item(key="poison", n=999), 1)
        driver.settle()
        one.down = True
        for n in range(60):
            one.log(driver, Item(key=f"k{n}", n=n), 0)
        driver.settle()
        assert held(driver) == {"dependency"}
        (worker,) = [process.worker for process in driver._simulation.runtimes["append"].processes.values()]
        worker.on_revoked([TopicPartition("in", 0)])
        one.down = False
        for n in range(60):
            one.log(driver, Item(key=f"k{n}", n=n), 1)
        driver.advance("1m")
        assert worker.owned.keys() == {TopicPartition("in", 1)}
        assert sum(map(len, one.came(driver).values())) == 60


def test_what_was_tried_in_vain_while_it_was_down_is_tried_on() -> None:
    """The budget is spent, but it says nothing while most keys fail."""
    one = flaky(Failure(Retry(1, "1s..2s", within="5s"), then=PARK))
    one.down = True
    with one.app.test(auto_advance=False) as driver:
        driver.send(one.source, *numbered(10, 10))
        driver.advance("10m")
        assert {row.status for row in driver.waiting} == {WaitingStatus.RETRYING}
        assert max(row.attempts for row in driver.waiting) > 5
        one.down = False
        driver.advance("1m")
        assert driver.waiting == []


def test_without_pauses_everything_is_given_up() -> None:
    one = flaky(Failure(Retry(2, "1s"), then=DEAD_LETTER, pauses=False))
    one.down = True
    with one.app.test() as driver:
        driver.send(one.source, *numbered(50, 50))
        assert len(driver.dead_letters) == 50


class TestFullStore:
    """The waiting store takes no more: the partition is held, and goes on when there is room."""

    @staticmethod
    def fill(policy: Failure, guarantee: str = "exactly_once") -> Flaky:
        one = flaky(policy, waiting_records=10, guarantee=guarantee)
        one.down = True
        return one

    @GUARANTEES
    def test_nothing_is_lost_and_it_goes_on_when_there_is_room(self, guarantee: str) -> None:
        one = self.fill(Failure(Retry(50, "1s..2s"), pauses=False), guarantee)
        with one.app.test(auto_advance=False) as driver:
            driver.send(one.source, *numbered(40, 40), *numbered(40, 40))
            driver.advance("10s")
            assert len(driver.waiting) == 10
            assert held(driver) == {"waiting store full"}
            assert driver.lag == {"append": 70}
            one.down = False
            driver.advance("1m")
            assert driver.lag == {"append": 0}
            assert (driver.waiting, driver.dead_letters) == ([], [])
            assert sum(map(len, one.came(driver).values())) == 80
            assert driver.assert_no_loss() + driver.assert_order_per_key() + driver.assert_no_duplicates() > 0

    def test_what_is_released_makes_room(self) -> None:
        """A full store holds the partition; what would empty it must still be heard."""
        one = self.fill(Failure(None, PARK, pauses=False))
        with one.app.test(auto_advance=False) as driver:
            driver.send(one.source, *numbered(11, 11))
            assert held(driver) == {"waiting store full"}
            one.down = False
            for n in range(10):
                one.command(driver, "release", b"k%d" % n)
            driver.settle()
            assert driver.waiting == []
            assert driver.lag == {"append": 0}
            assert sum(map(len, one.came(driver).values())) == 11

    def test_what_queues_behind_a_key_counts_too(self) -> None:
        one = self.fill(Failure(Retry(50, "1s..2s"), pauses=False))
        with one.app.test(auto_advance=False) as driver:
            driver.send(one.source, *numbered(15, 1))
            assert len(driver.waiting) == 10
            assert driver.lag == {"append": 5}
            one.down = False
            driver.advance("20s")
            assert one.came(driver) == {"k0": list(range(15))}

    def test_a_record_larger_than_what_is_left_does_not_turn_the_worker_in_circles(self) -> None:
        """There is room by count and by the mark below the limit, but not for this one."""
        one = flaky(Failure(None, PARK, pauses=False), waiting_bytes=1 << 20)
        one.down = True
        with one.app.test(auto_advance=False) as driver:
            large = (("pad", b"x" * 800_000),)
            for n in range(2):
                driver.send_raw(one.source, one.frame(driver, Item(key="a", n=n)), key=b"k%d" % n, headers=large)
            assert len(driver.waiting) == 1
            assert held(driver) == {"waiting store full"}
            driver.advance("1m")
            assert one.attempts()[1] == 1
            one.command(driver, "drop", b"k0")
            driver.settle()
            assert [row.key for row in driver.waiting] == [b"k1"]
