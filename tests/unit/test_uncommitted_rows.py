"""Without transactions: rows that were sent and never committed do not come back, whoever restores and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from rig import Item, Items
from waiting_app import BrokenError, Flaky, flaky

from streams import Failure, Retry
from streams.avro.codec import Codec
from streams.failpoints import Failpoint
from streams.record import RawRecord, Record, TopicPartition
from streams.state.backend import Backend
from streams.state.stamps import RESET, SOURCE, SOURCE_BACK, Committed, committed_by_partition, only_committed
from streams.state.task_state import Changes, TaskState
from streams.testing import Abort, Crash, Fault, MemoryDriver, Rebalance
from streams.testing.faults import BEFORE_THE_COMMIT, Host
from streams.topic import Store

POLICY = Failure(Retry(50, "200ms..1s"), pauses=False)
KEYS = 4
SEEDS = [*range(24), 53, 57]


# ---- whole runs ----


class Mended:
    """Something goes wrong just when what the handler needs is there again."""

    steps = BEFORE_THE_COMMIT

    def __init__(self, fault: Fault, one: Flaky) -> None:
        self.kind = fault.kind
        self._fault = fault
        self._one = one

    def __call__(self, host: Host) -> None:
        self._one.failing.clear()
        self._fault(host)


@pytest.mark.parametrize("rebuilt", [True, False])
@pytest.mark.parametrize("step", [Failpoint.FLUSHED, Failpoint.COMMIT_SENT])
@pytest.mark.parametrize("fault", [Crash(), Abort()], ids=lambda fault: fault.kind)
def test_a_record_whose_row_was_never_committed_is_not_handled_after_its_successors(
    fault: Fault, step: Failpoint, rebuilt: bool
) -> None:
    one = flaky(POLICY, guarantee="at_least_once")
    with one.app.test(auto_advance=False) as driver:
        one.failing = {"a"}
        driver.inject(Mended(fault, one), at=step)
        driver.send(one.source, Item(key="a", n=1))  # fails, its row is sent; then it is handled again, and does not
        assert (driver.waiting, driver.faults) == ([], {fault.kind: 1})
        driver.send(one.source, Item(key="a", n=2), Item(key="a", n=3))
        if rebuilt:
            one.crash(driver)
        driver.advance("1m")
        assert one.came(driver) == {"a": [1, 2, 3]}
        assert driver.store(one.lists) == {"a": Items(items=(1, 2, 3))}


class Ran(NamedTuple):
    """What a run came to."""

    wrong: list[str]
    repeated: int
    faults: Counter[str]


def run(seed: int) -> Ran:
    """Send records to a handler that fails by chance, while workers die with or without their disk."""
    random = Random(seed)
    one = flaky(POLICY, partitions=2, guarantee="at_least_once", commit_records=7, poll_records=5)
    handle = one.handle

    def by_chance(item: Item, ctx: object) -> object:
        given = handle(item, ctx)  # type: ignore[arg-type] # the driver's own context
        if random.random() < 0.3:
            raise BrokenError(item.n)
        return given

    one.handle = by_chance  # type: ignore[method-assign,assignment] # what it gives is the same
    with one.app.test(seed=seed, workers=2, auto_advance=False) as driver:
        for portion in range(8):
            for _ in range(random.randint(0, 2)):
                fault = random.choice([Crash(), Abort(), Rebalance(random.randint(1, 3))])
                driver.inject(fault, at=random.choice(sorted(BEFORE_THE_COMMIT)), hit=random.randint(1, 4))
            if random.random() < 0.3:
                one.crash(driver)
            driver.send(one.source, *[Item(key=f"k{n % KEYS}", n=portion * 12 + n) for n in range(12)])
            driver.advance(f"{random.randint(1, 900)}ms")
        driver.disarm()
        driver.advance("2m")
        one.crash(driver)
        driver.advance("2m")
        return Ran(list(_wrong(one, driver)), sum(map(len, one.came(driver).values())) - 96, driver.faults)


def _wrong(one: Flaky, driver: MemoryDriver) -> Iterator[str]:
    came, held = one.came(driver), driver.store(one.lists)
    for number in range(KEYS):
        key, wanted = f"k{number}", list(range(number, 96, KEYS))
        if list(dict.fromkeys(came.get(key, ()))) != wanted:
            yield f"{key} came as {came.get(key)}"
        if list(dict.fromkeys(held[key].items)) != wanted:
            yield f"{key} holds {held[key]}"
    if driver.waiting:
        yield f"{len(driver.waiting)} wait"
    if driver.lag != {"append": 0}:
        yield f"lag {driver.lag}"


def test_whatever_is_killed_all_come_and_first_in_their_order() -> None:
    ran = [run(seed) for seed in SEEDS]
    faults = sum((one.faults for one in ran), Counter[str]())
    print(f"{96 * len(ran)} records, {sum(one.repeated for one in ran)} repeated, faults {dict(faults)}")

    assert [one.wrong for one in ran if one.wrong] == []
    assert sum(one.repeated for one in ran) > 0
    assert min(faults["crash"], faults["abort"], faults["rebalance"]) > 5


def test_without_writing_again_what_is_committed_they_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = TaskState.changes

    def none_of_them(state: TaskState, _until: int | None = None) -> list[Changes]:
        return changes(state)

    monkeypatch.setattr(TaskState, "changes", none_of_them)

    assert any(run(seed).wrong for seed in SEEDS)


# ---- the state of one task ----

TOPIC = TopicPartition("changelog", 0)
LISTS = Store("lists", str, Items, "changelog")
FRAMES = Codec(Items, 1)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[TaskState]:
    opened = opened_state(tmp_path)
    yield opened
    opened.close()


def opened_state(path: Path) -> TaskState:
    return TaskState(Backend(path / "state", ["changelog"], boot_id="one"), {LISTS: TOPIC}, {LISTS: FRAMES})


def frame(*items: int) -> bytes:
    return FRAMES.encode([Items(items=items)])[0]


def row(offset: int, key: str, value: bytes | None, source: int | None, back: int | None = None) -> RawRecord:
    stamps = [(name, b"%d" % at) for name, at in ((SOURCE, source), (SOURCE_BACK, back)) if at is not None]
    return Record("changelog", key.encode(), value, 0, 0, offset, tuple(stamps))


def restore(state: TaskState, committed: int, rows: Sequence[RawRecord], back: int = 0) -> None:
    state.restore_until(committed, back)
    state.follow(TOPIC, rows, rows[-1].offset + 1)


def rows_until(state: TaskState, until: int | None) -> list[tuple[bytes, bytes | None]]:
    return [one for change in state.changes(until) for one in change.rows]


def test_the_committed_value_of_a_key_is_written_again_behind_a_row_that_never_was(state: TaskState) -> None:
    restore(state, 5, [row(0, "a", frame(1), 5), row(1, "a", frame(1, 2), 7), row(2, "b", frame(3), 7)])

    assert rows_until(state, 6) == []  # its stamp would be the lower one: it would not count once the other does
    assert rows_until(state, None) == []
    assert rows_until(state, 7) == [(b"a", frame(1)), (b"b", None)]


def test_what_is_put_meanwhile_is_written_instead(state: TaskState) -> None:
    restore(state, 5, [row(0, "a", frame(1), 7), row(1, "b", frame(3), 7)])
    state.put(LISTS, "a", Items(items=(9,)))

    assert rows_until(state, 7) == [(b"a", frame(9)), (b"b", None)]


def test_once_it_is_committed_that_is_over(state: TaskState) -> None:
    restore(state, 5, [row(0, "a", frame(1), 7)])
    state.put(LISTS, "b", Items(items=(9,)))
    state.committed(state.changes(7), {"changelog": 4}, 7)

    assert rows_until(state, 8) == []
    assert state.sources() == {TOPIC: 4}
    assert state.get(LISTS, "b") == Items(items=(9,))


def test_rows_behind_it_with_a_lower_stamp_are_written_again_too(state: TaskState) -> None:
    """Once its own counts they would pass for those of an owner that was replaced."""
    restore(state, 6, [row(0, "x", frame(1), 9), row(1, "a", frame(1), 6), row(2, "b", frame(2), None)])
    state.put(LISTS, "c", Items(items=(3,)))
    state.committed(state.changes(7), {"changelog": 4}, 7)

    assert rows_until(state, 8) == []
    assert rows_until(state, 9) == [(b"x", None), (b"a", frame(1)), (b"c", frame(3))]


@pytest.mark.parametrize("rows", [[row(0, "a", frame(1), 7)], [row(0, "b", frame(2), 5), row(1, "a", frame(1), 7)]])
def test_a_process_that_dies_before_that_leaves_it_to_the_next_one(rows: list[RawRecord], tmp_path: Path) -> None:
    first = opened_state(tmp_path)
    restore(first, 5, rows)
    first.put(LISTS, "c", Items(items=(9,)))
    first.committed(first.changes(6), {"changelog": 4}, 6)
    first.close()
    second = opened_state(tmp_path)

    assert second.sources() == {TOPIC: None}
    restore(second, 6, [*rows, row(3, "c", frame(9), 6)])
    assert rows_until(second, 7) == [(b"a", None), (b"c", frame(9))]
    second.close()


def test_an_abort_leaves_its_rows_in_doubt(state: TaskState) -> None:
    state.put(LISTS, "a", Items(items=(1,)))
    state.doubt(state.changes(3), 3)
    state.discard()

    assert rows_until(state, 2) == []
    assert rows_until(state, 3) == [(b"a", None)]
    state.wipe()
    assert rows_until(state, 3) == []


def test_a_row_of_what_came_back_is_in_doubt_by_its_own_offset(state: TaskState) -> None:
    restore(state, 5, [row(0, "a", frame(1), 5, back=3), row(1, "b", frame(1), None, back=3)], back=2)

    assert rows_until(state, 0) == [(b"b", None)]
    assert rows_until(state, 5) == [(b"a", None), (b"b", None)]


def test_a_reset_has_dealt_with_what_lies_before_it(state: TaskState) -> None:
    mark: RawRecord = Record("changelog", b"mark", None, 0, 0, 2, ((RESET, b"1"),))
    restore(state, 2, [row(0, "a", frame(1), 7), row(1, "b", frame(3), 9), mark, row(3, "c", frame(1), 4)])

    assert rows_until(state, 9) == [(b"c", None)]


# ---- whoever reads the topic without a task ----


def test_the_committed_rows_of_all_partitions() -> None:
    offsets = {TopicPartition("in", 0): 5, TopicPartition("in", 1): 8, TopicPartition("g.redrive", 1): 3}
    offsets[TopicPartition("in of old", 1)] = 4
    committed = committed_by_partition(offsets, "g.redrive")
    rows = [
        row(0, "a", None, 6),
        row(0, "b", None, 6)._replace(partition=1),
        row(1, "c", None, 5),
        row(1, "d", None, 6, back=4)._replace(partition=1),
        row(2, "e", None, 4)._replace(partition=1),
        row(2, "f", None, 6, back=3)._replace(partition=1),
        row(3, "g", None, None)._replace(partition=2),
        row(4, "h", None, 1)._replace(partition=2),
    ]

    assert committed == {0: Committed(5, 0), 1: Committed(8, 3)}
    assert [one.key for one in only_committed(rows, committed)] == [b"b", b"c", b"f", b"g"]
