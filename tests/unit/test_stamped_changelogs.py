"""Without transactions: nothing is lost, outputs may repeat, and the state stays exact all the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from rig import Appended, Item, Items

from streams import App, Context
from streams.avro.codec import Codec
from streams.checkpoint import Checkpoint
from streams.record import RawRecord, Record, TopicPartition
from streams.state.backend import Backend
from streams.state.stamps import RESET, SOURCE
from streams.state.task_state import TaskState
from streams.testing import Abort, Crash, DuplicateDelivery, Eviction, Fault, Rebalance, UnknownOutcome

app = App("plain")
inputs = app.topic("plain.in", Item, key="key", partitions=2)
out = app.topic("plain.out", Appended, key="key", partitions=2)
lists = app.store("lists", str, Items)

ZERO, CHANGELOG = TopicPartition("plain.in", 0), TopicPartition("changelog", 0)
FRAMES = Codec(Items, 1)


@app.processor(inputs, to=out)
def append(item: Item, ctx: Context) -> Appended:
    before = ctx.get(lists, item.key)
    items = (*(before.items if before else ()), item.n)
    ctx.put(lists, item.key, Items(items=items))
    return Appended(key=item.key, n=item.n, size=len(items))


class Ran(NamedTuple):
    """What a run came to: how often outputs were repeated, what went wrong, and which faults there were."""

    repeated: int
    wrong: list[str]
    faults: Counter[str]


def run(seed: int) -> Ran:
    """Send records while workers fail, and hold what is there against what has to be."""
    random = Random(seed)
    wanted: dict[str, list[int]] = defaultdict(list)
    settings = {"guarantee": "at_least_once", "commit_records": 7, "poll_records": 5}
    with app.test(seed=seed, workers=2, settings=settings) as driver:
        for portion in range(8):
            for _ in range(random.randint(0, 2)):
                fault = _fault(random)
                at = random.choice(sorted(fault.steps))
                driver.inject(fault, at=at, hit=random.randint(1, 4))
            items = [Item(key=f"key {random.randrange(5)}", n=portion * 100 + n) for n in range(random.randint(1, 12))]
            for item in items:
                wanted[item.key].append(item.n)
            driver.send(inputs, *items)
        driver.disarm()
        driver.settle()
        found = driver.published(out)
        wrong = list(_faults(wanted, found))
        held = {key: list(value.items) for key, value in driver.store(lists).items()}
        wrong += [f"{key} holds {held.get(key)}" for key, numbers in wanted.items() if held.get(key) != numbers]
        return Ran(len(found) - sum(map(len, wanted.values())), wrong, driver.faults)


def _fault(random: Random) -> Fault:
    faults: list[Fault] = [Crash(), Abort(), Eviction(), DuplicateDelivery(), UnknownOutcome(committed=True)]
    return random.choice([*faults, Rebalance(random.randint(1, 3))])


def _faults(wanted: Mapping[str, list[int]], found: Iterable[Appended]) -> Iterator[str]:
    outputs: dict[str, list[Appended]] = defaultdict(list)
    for one in found:
        outputs[one.key].append(one)
    for key, numbers in wanted.items():
        if list(dict.fromkeys(one.n for one in outputs[key])) != numbers:
            yield f"{key}: lost or out of order"
        sizes = {n: size for size, n in enumerate(numbers, 1)}
        yield from (f"{key}: {one} met another state" for one in outputs[key] if sizes[one.n] != one.size)


SEEDS = range(1, 41)


@pytest.fixture(scope="module")
def ran() -> list[Ran]:
    return [run(seed) for seed in SEEDS]


def test_nothing_is_lost_and_the_state_is_exact_whatever_fails(ran: list[Ran]) -> None:
    assert [one.wrong for one in ran if one.wrong] == []


def test_outputs_repeat_where_a_commit_did_not_come(ran: list[Ran]) -> None:
    faults = sum((one.faults for one in ran), Counter[str]())
    print(f"{sum(one.repeated for one in ran)} repeated outputs, faults {dict(faults)}")

    assert sum(one.repeated for one in ran) > 0
    assert len(faults) == 6


def test_changelog_rows_that_were_never_committed_would_spoil_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.state.stamps._number", lambda *_: None)

    assert any(run(seed).wrong for seed in SEEDS)


# ---- the state ----


@pytest.fixture
def state(tmp_path: Path) -> Iterator[TaskState]:
    opened = opened_state(tmp_path)
    yield opened
    opened.close()


def opened_state(path: Path) -> TaskState:
    return TaskState(Backend(path / "state", ["changelog"], boot_id="one"), {lists: CHANGELOG}, {lists: FRAMES})


def row(offset: int, key: str, *items: int, source: bytes | None) -> RawRecord:
    [frame] = FRAMES.encode([Items(items=items)])
    headers = () if source is None else ((SOURCE, source),)
    return Record("changelog", key.encode(), frame, 0, 0, offset, headers)


def restore(state: TaskState, committed: int | None, rows: Sequence[RawRecord]) -> None:
    state.restore_until(committed)
    state.follow(CHANGELOG, rows, rows[-1].offset + 1)


def items_of(state: TaskState, key: str) -> tuple[int, ...] | None:
    value = state.get(lists, key)
    return None if value is None else value.items


def test_rows_beyond_the_committed_offset_are_not_restored(state: TaskState) -> None:
    restore(state, 7, [row(0, "a", 1, source=b"5"), row(1, "b", 1, source=b"7"), row(2, "a", 1, 2, source=b"8")])

    assert items_of(state, "a") == (1,)
    assert items_of(state, "b") == (1,)
    assert state.sources() == {CHANGELOG: None}  # the next process has to come across the last one too


def test_without_a_committed_offset_no_stamped_row_counts(state: TaskState) -> None:
    restore(state, None, [row(0, "a", 1, source=b"1")])

    assert items_of(state, "a") is None


def test_after_a_reset_of_the_group_rows_with_lower_stamps_count_again(state: TaskState) -> None:
    mark = Record("changelog", b"a", None, 0, 0, 1, ((RESET, b"3"),))
    late = row(2, "a", 9, source=b"2")

    restore(state, 20, [row(0, "a", 1, 2, source=b"9"), mark, late, row(3, "b", 1, source=b"4")])

    assert items_of(state, "a") is None
    assert items_of(state, "b") == (1,)


def test_rows_of_a_replaced_owner_are_not_restored(state: TaskState) -> None:
    restore(state, 20, [row(0, "a", 1, 2, source=b"9"), row(1, "a", 1, source=b"4"), row(2, "b", 1, source=b"9")])

    assert items_of(state, "a") == (1, 2)
    assert items_of(state, "b") == (1,)


def test_that_is_known_after_a_restart_too(tmp_path: Path) -> None:
    state = opened_state(tmp_path)
    state.put(lists, "a", Items(items=(1, 2)))
    state.committed(state.changes(), {"changelog": 3}, 9)
    state.close()
    later = opened_state(tmp_path)

    restore(later, 20, [row(3, "a", 1, source=b"8"), row(4, "b", 1, source=b"9")])

    assert items_of(later, "a") == (1, 2)
    assert items_of(later, "b") == (1,)
    later.close()


@pytest.mark.parametrize("source", [None, b"", b"x1"])
def test_rows_without_a_stamp_were_committed(source: bytes | None, state: TaskState) -> None:
    restore(state, None, [row(0, "a", 1, source=source)])

    assert items_of(state, "a") == (1,)


# ---- the checkpoint ----


class Taker:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[RawRecord] = []
        self.flushed: list[int] = []

    def send(self, records: list[RawRecord]) -> None:
        self.sent += records

    def send_tracked(self, record: RawRecord, delivered: Callable[[int], None]) -> None:
        self.sent.append(record)
        delivered(len(self.sent))

    def flush(self) -> None:
        self.flushed.append(len(self.sent))

    def commit(self, offsets: Mapping[TopicPartition, int], group: Any) -> None:
        """Everything is committed already."""


@pytest.mark.parametrize("stamped", [True, False])
def test_changelog_rows_name_the_offset_that_goes_with_them_unless_a_transaction_does(
    stamped: bool, state: TaskState
) -> None:
    producer = Taker()
    checkpoint = Checkpoint(
        producer, {ZERO: state}, str, interval=1, most_records=9, clock=float, now_ms=int, stamped=stamped
    )
    for key in ("a", "b"):
        state.put(lists, key, Items(items=(1,)))
    checkpoint.mark(ZERO, 12)
    checkpoint.commit()

    assert [record.headers for record in producer.sent] == [((SOURCE, b"12"),) if stamped else ()] * 2
    assert producer.flushed == ([0, 2] if stamped else [2])  # outputs first: no row stands for one that is refused
