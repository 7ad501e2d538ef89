"""The driver in memory, as a team uses it: values in, values out, faults where they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from rig import Appended, Item, Items

from streams import SKIP, STOP, App, Context
from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.errors import EncodeError, StoppedError, UsageError
from streams.testing import (
    Abort,
    Crash,
    DuplicateDelivery,
    Eviction,
    Failpoint,
    Fault,
    FencedProducer,
    MemoryDriver,
    PoisonRecord,
    Rebalance,
    RegistryUnavailable,
    SlowCommit,
    UnknownOutcome,
)

app = App("shop")
inputs = app.topic("in", Item, key="key", partitions=3)
out = app.topic("out", Appended, key="key", partitions=3)
bounds = app.table("bounds", Item, key="key", partitions=3)
counted = app.topic("counted", Item, key="key", partitions=3)
lists = app.store("lists", str, Items)
KEYS = "abcdefgh"


@app.processor(inputs, to=out)
def append(item: Item, ctx: Context) -> Iterator[Appended]:
    before = ctx.get(lists, item.key)
    items = (*(before.items if before else ()), item.n)
    ctx.put(lists, item.key, Items(items=items))
    yield Appended(key=item.key, n=item.n, size=len(items))
    bound = ctx.get(bounds, item.key)
    if bound is not None and item.n > bound.n:
        raise ValueError(f"{item.n} is above {bound.n}")


@app.processor(out, to=counted)
def count(one: Appended, _ctx: Context) -> Item:
    return Item(key=one.key, n=one.size)


@pytest.fixture
def driver() -> Iterator[MemoryDriver]:
    with app.test() as opened:
        yield opened


def numbered(count: int, start: int = 0) -> list[Item]:
    return [Item(key=KEYS[n % len(KEYS)], n=n) for n in range(start, start + count)]


def test_values_go_in_and_come_out_through_every_processor(driver: MemoryDriver) -> None:
    driver.send(inputs, Item(key="a", n=1), Item(key="a", n=2))

    assert driver.published(out) == [Appended(key="a", n=1, size=1), Appended(key="a", n=2, size=2)]
    assert driver.published(counted) == [Item(key="a", n=1), Item(key="a", n=2)]
    assert driver.store(lists) == {"a": Items(items=(1, 2))}
    assert driver.dead_letters == []
    assert driver.lag == {"append": 0, "count": 0}


def test_records_carry_key_place_and_the_time_that_was_given(driver: MemoryDriver) -> None:
    at = datetime(2020, 2, 2, tzinfo=UTC)
    driver.send(inputs, Item(key="a", n=1), timestamp=at)
    driver.advance("1h")
    driver.send(inputs, Item(key="a", n=2))
    first, second = driver.records(out)

    assert (first.key, first.timestamp_ms, first.offset) == (b"a", round(at.timestamp() * 1000), 0)
    assert second.timestamp_ms >= round((driver.clock.now() - timedelta(seconds=2)).timestamp() * 1000)
    assert second.partition == first.partition


def test_tables_are_followed_and_rows_can_be_deleted(driver: MemoryDriver) -> None:
    driver.send(bounds, Item(key="a", n=5))
    driver.send(inputs, Item(key="a", n=6))
    driver.delete(bounds, "a")
    driver.send(inputs, Item(key="a", n=7))

    [letter] = driver.dead_letters
    assert (letter.processor, letter.stage, letter.topic, letter.offset) == ("append", "process", "in", 0)
    assert letter.message == "ValueError: 6 is above 5"
    assert letter.record.key == b"a"
    assert driver.published(out) == [Appended(key="a", n=7, size=1)]
    assert driver.store(lists) == {"a": Items(items=(7,))}


def test_bytes_that_are_no_frame_are_dead_letters(driver: MemoryDriver) -> None:
    driver.send_raw(inputs, b"junk", key=b"a", headers=(("trace", b"1"),))

    [letter] = driver.dead_letters
    assert (letter.stage, letter.record.value, letter.record.headers) == ("decode", b"junk", (("trace", b"1"),))
    assert driver.lag["append"] == 0


def test_a_schema_from_elsewhere_can_be_taught_and_an_unknown_one_is_refused_after_a_while(
    driver: MemoryDriver,
) -> None:
    [frame] = Codec(Item, 77).encode([Item(key="a", n=1)])
    driver.send_raw(inputs, frame, key=b"a")
    assert driver.lag["append"] == 1
    driver.advance("10s")
    assert [letter.kind for letter in driver.dead_letters] == ["schema-unknown"]

    [frame] = Codec(Item, 78).encode([Item(key="a", n=2)])
    driver.learn_schema(78, schema_of(Item).text)
    driver.send_raw(inputs, frame, key=b"a")

    assert driver.published(out) == [Appended(key="a", n=2, size=1)]


def test_a_value_that_does_not_fit_is_told_and_nothing_is_sent(driver: MemoryDriver) -> None:
    with pytest.raises(EncodeError):
        driver.send(inputs, Item(key="a", n=1), Item.model_construct(key="a", n="x"))
    assert driver.records(inputs) == []


def test_the_policies_stop_and_skip() -> None:
    other = App("other")
    source = other.topic("in", Item, key="key")

    def skip(item: Item, _ctx: Context) -> None:
        raise ValueError(item.n)

    def stop(item: Item, _ctx: Context) -> None:
        raise ValueError(item.n)

    other.processor(source, on_failure=SKIP)(skip)
    with other.test() as driver:
        driver.send(source, Item(key="a", n=1))
        assert driver.lag == {"skip": 0}
    other.processor(source, on_failure=STOP)(stop)
    with other.test() as driver:
        with pytest.raises(StoppedError, match="policy is STOP"):
            driver.send(source, Item(key="a", n=1))
        assert driver.lag["stop"] == 1


def test_two_runs_of_a_seed_are_the_same_and_differ_from_another_seed() -> None:
    def run(seed: int) -> list[object]:
        with app.test(seed=seed, workers=2) as driver:
            driver.inject(Crash(), at=Failpoint.FLUSHED, hit=2)
            for item in numbered(30):
                driver.send(inputs, item)
            return [(r.partition, r.offset, r.value) for topic in (out, counted) for r in driver.records(topic)]

    assert run(7) == run(7)


@pytest.mark.parametrize("point", Failpoint)
@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_a_crash_at_every_step_loses_and_repeats_nothing(point: Failpoint, guarantee: str) -> None:
    """reliability table: whatever a process was doing when it died, what is committed is exact."""
    hits = 0
    for hit in (1, 2, 7):
        with app.test(seed=hit, workers=2, restore_records=2, settings={"guarantee": guarantee}) as driver:
            driver.inject(Crash(), at=point, processor="append", hit=hit)
            for portion in range(6):
                driver.send(inputs, *numbered(10, portion * 10))
                if portion == 1 and point is Failpoint.ABORTING:
                    for again in range(hit):
                        driver.inject(Abort(), at=Failpoint.FLUSHED, processor="append", hit=again + 1)
                if portion in {1, 3}:
                    driver.inject(Rebalance(1 + portion % 3), processor="append")
                if portion == 2:
                    driver.inject(Crash(), processor="append")
            left = driver.disarm()
            hits += not left
            driver.settle()
            assert driver.lag == {"append": 0, "count": 0}
            compared = driver.assert_no_loss() + driver.assert_order_per_key()
            if guarantee == "exactly_once":
                compared += driver.assert_no_duplicates()
            assert compared > 300
            assert {key: rows.items for key, rows in driver.store(lists).items()} == {
                key: tuple(n for n in range(60) if KEYS[n % len(KEYS)] == key) for key in KEYS
            }
    print(f"{point}: the process died there {hits} times")
    assert hits > 0


@pytest.mark.parametrize(
    ("fault", "at"),
    [
        (Abort(), Failpoint.FLUSHED),
        (DuplicateDelivery(5), Failpoint.POLLED),
        (Eviction(), Failpoint.PRODUCED),
        (FencedProducer(), Failpoint.OFFSETS_SENT),
        (Rebalance(3), Failpoint.PROCESSED),
        (RegistryUnavailable(timedelta(seconds=3)), Failpoint.POLLED),
        (SlowCommit(timedelta(seconds=15)), Failpoint.COMMIT_SENT),
        (UnknownOutcome(committed=True), Failpoint.COMMIT_SENT),
        (UnknownOutcome(committed=False), Failpoint.COMMIT_SENT),
    ],
    ids=lambda given: given.kind if not isinstance(given, str) else given,
)
def test_every_fault_takes_effect_and_is_survived(fault: Fault, at: Failpoint) -> None:
    with app.test(workers=2) as driver:
        driver.send(inputs, *numbered(8))
        driver.inject(fault, at=at, processor="append")
        driver.send(inputs, *numbered(20, 8))
        driver.advance("1m")

        assert driver.faults == {fault.kind: 1}
        assert driver.lag == {"append": 0, "count": 0}
        assert driver.assert_no_loss() + driver.assert_no_duplicates() + driver.assert_order_per_key() > 100


def test_poison_is_refused(driver: MemoryDriver) -> None:
    driver.inject(PoisonRecord(b"poison"), processor="append")
    driver.send(inputs, Item(key="a", n=1))

    assert [letter.record.value for letter in driver.dead_letters] == [b"poison"]


def test_an_outage_of_the_registry_holds_records_up_and_refuses_none() -> None:
    with app.test() as driver:
        driver.inject(RegistryUnavailable(timedelta(minutes=1)))
        driver.send(inputs, Item(key="a", n=1))
        assert driver.lag["append"] == 1
        driver.advance("2m")

        assert driver.lag["append"] == 0
        assert driver.published(out) == [Appended(key="a", n=1, size=1)]


def test_a_fault_that_never_happens_fails_the_block() -> None:
    driver = app.test()
    driver.inject(Crash(), at=Failpoint.ABORTING)
    driver.send(inputs, Item(key="a", n=1))

    with pytest.raises(AssertionError, match="crash at aborting"), driver:
        pass


def test_what_cannot_be_injected_is_told(driver: MemoryDriver) -> None:
    with pytest.raises(UsageError, match="cannot happen at polled"):
        driver.inject(Abort(), at=Failpoint.POLLED)
    with pytest.raises(UsageError, match="cannot happen at any time"):
        driver.inject(UnknownOutcome())
    with pytest.raises(UsageError, match="no processor nobody"):
        driver.inject(Crash(), processor="nobody")


def test_nothing_to_judge_is_no_good_verdict(driver: MemoryDriver) -> None:
    with pytest.raises(AssertionError, match="nothing was compared"):
        driver.assert_no_loss()


def test_an_app_without_processors_and_a_store_of_nobody_are_told(driver: MemoryDriver) -> None:
    with pytest.raises(UsageError, match="has no processor"):
        App("empty").test()
    with pytest.raises(UsageError, match="uses store other"):
        driver.store(App("another").store("other", str, Items))


def test_the_judge_sees_a_handler_that_is_not_the_one_that_ran() -> None:
    """A verdict that could not be bad would be worth nothing: the log is tampered with."""
    with app.test() as driver:
        driver.send(inputs, *numbered(8))
        entry = next(iter(driver.cluster.log.entries(driver.cluster.log.partitions("out")[0])))
        assert entry.record is not None
        driver.cluster.log.append(entry.record, None, entry.writer)
        with pytest.raises(AssertionError, match=r"append wrote the record .* to out 2 times, not once"):
            driver.assert_no_duplicates("append")
