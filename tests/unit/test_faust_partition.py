"""One partition of the Faust engine: in order, acknowledged before it is safe, held without holding others up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rig import CODECS, Appended, Item

from streams import DEAD_LETTER, SKIP, STOP, App, Context, Failure, Retry
from streams.errors import IncompatibleError, SendError, StoppedError
from streams.failures.journal import Journal
from streams.failures.log import FailureLog
from streams.faust_engine.host import Host
from streams.faust_engine.partition import FULL, Partition, Surroundings
from streams.health.progress import Activity
from streams.owned import Hold, Owned
from streams.record import RawRecord, Record, TopicPartition
from streams.schema_lookup import SchemaLookup
from streams.state.task_state import TaskState
from streams.task import Task

FIRST, SECOND = TopicPartition("in", 0), TopicPartition("in", 1)
TOO_LARGE = 66
LONG = 2.0  # seconds; nothing here takes as long


class Rig:
    """A host over a broker that is a list, with a clock that the test moves."""

    def __init__(self, handler: Callable[[Item, Context], Any], policy: Any = DEAD_LETTER, **given: Any) -> None:
        app = App("t")
        source = app.topic("in", Item, key="key", partitions=2)
        app.processor(source, to=app.topic("out", Appended, key="key"), on_failure=policy)(handler)
        self.processor = app.processors[handler.__name__]
        self.sent: list[RawRecord] = []
        self.committed: list[dict[TopicPartition, int]] = []
        self.pressed: list[tuple[TopicPartition, bool]] = []
        self.acknowledged = asyncio.Event()
        self.acknowledged.set()
        self.refused: set[str] = {"out"}
        self.now_ms = 1_000_000
        self.lookup = SchemaLookup(self, ())
        self.journal: Journal | None = given.get("journal")
        self.activity, self.counts = Activity(lambda: 0.0), Counter[str]()
        self.host = Host(self.open, self.commit, self.activity, self.counts, 0.2)

    def schema(self, schema_id: int) -> str:
        raise NotImplementedError

    def open(self, source: TopicPartition) -> Partition:
        task = Task(self.processor, CODECS, TaskState(), retries_in_place=True)
        around = Surroundings(
            self.send,
            lambda at, full: self.pressed.append((at, full)),
            self.lookup,
            self.journal,
            FailureLog(lambda: 0.0),
            self.activity,
            self.counts,
            100,
            now_ms=lambda: self.now_ms,
        )
        return Partition(source, task, around)

    async def send(self, records: Sequence[RawRecord]) -> None:
        for record in records:
            self.sent.append(record)
            if record.topic in self.refused and self.value(record) == TOO_LARGE:
                raise SendError("too large", topic=record.topic)
        await self.acknowledged.wait()

    async def commit(self, offsets: Any) -> bool:
        self.committed.append(dict(offsets))
        return True

    def value(self, record: RawRecord) -> int:
        kind = "out" if record.topic == "out" else "in"
        n = CODECS[kind].decode([record.value])[0].n
        assert isinstance(n, int)
        return n

    def give(self, *numbers: int, at: TopicPartition = FIRST) -> None:
        """Hand over items, each at the offset of its number."""
        for n in numbers:
            (frame,) = CODECS["in"].encode([Item(key="k", n=n)])
            self.host.receive(Record(at.topic, b"k", frame, n, at.partition, n))

    def outputs(self) -> list[int]:
        return [self.value(record) for record in self.sent if record.topic == "out"]

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONG):
            while not what():
                self.host.check()
                await asyncio.sleep(0.001)


def echo(item: Item, _ctx: Context) -> Appended:
    if item.n == 13:
        raise ValueError("thirteen")
    return Appended(key=item.key, n=item.n, size=0)


def gone(owned: Owned, hold: Hold) -> bool:
    return owned.hold is not hold


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_an_offset_is_safe_once_its_outputs_are_acknowledged() -> None:
    """INV-2."""

    async def test() -> None:
        rig = Rig(echo)
        rig.acknowledged.clear()
        rig.give(5, 6, 7)
        await rig.until(lambda: rig.outputs() == [5, 6, 7])
        await rig.host.commit()
        assert rig.committed == []
        rig.acknowledged.set()
        await rig.until(lambda: rig.host.owned[FIRST].done == 8)
        await rig.host.commit()
        await rig.host.commit()
        assert rig.committed == [{FIRST: 8}], "once"
        assert rig.counts["processed"] == 3

    run(test)


def test_records_that_come_again_are_left_out() -> None:
    async def test() -> None:
        rig = Rig(echo)
        rig.give(5, 6)
        await rig.until(lambda: rig.host.owned[FIRST].done == 7)
        rig.give(5, 6, 7)
        await rig.until(lambda: rig.host.owned[FIRST].done == 8)
        assert rig.outputs() == [5, 6, 7]

    run(test)


def test_a_retry_holds_its_own_partition_and_no_other() -> None:
    async def test() -> None:
        rig = Rig(echo, Failure(Retry(2, "10s"), then=DEAD_LETTER))
        rig.give(12, 13, 14)
        rig.give(1, 2, at=SECOND)
        await rig.until(lambda: rig.host.owned[SECOND].done == 3)
        owned = rig.host.owned[FIRST]
        for _ in range(2):
            await rig.until(lambda: owned.hold is not None)
            assert owned.hold is not None
            assert (owned.hold.reason, owned.done) == ("retry", 13)
            assert 14 not in rig.outputs()
            rig.now_ms += 10_000
            await rig.until(partial(gone, owned, owned.hold))
        await rig.until(lambda: owned.done == 15)
        (letter,) = [record for record in rig.sent if record.topic.endswith(".dlq")]
        assert dict(letter.headers)["streams.error.attempts"] == b"3"
        assert rig.outputs() in ([12, 1, 2, 14], [1, 2, 12, 14])

    run(test)


def test_a_record_whose_output_is_refused_is_found_among_others() -> None:
    async def test() -> None:
        rig = Rig(echo)
        rig.give(64, 65, TOO_LARGE, 67)
        await rig.until(lambda: rig.host.owned[FIRST].done == 68)
        (letter,) = [record for record in rig.sent if record.topic.endswith(".dlq")]
        assert letter.timestamp_ms == TOO_LARGE
        assert [n for n in dict.fromkeys(rig.outputs()) if n != TOO_LARGE] == [64, 65, 67], "their order"
        assert rig.counts["failed_in_send"] == 1

    run(test)


def test_a_dead_letter_that_is_refused_too_ends_the_worker() -> None:
    async def test() -> None:
        rig = Rig(echo)
        rig.refused.add(rig.processor.dead_letter_topic)
        rig.give(TOO_LARGE)
        with pytest.raises(IncompatibleError, match="cannot be kept"):
            await rig.until(lambda: False)
        await rig.host.drain(1)
        assert rig.committed == []

    run(test)


def test_stop_ends_the_worker_before_the_record() -> None:
    async def test() -> None:
        rig = Rig(echo, STOP)
        rig.give(12)
        await rig.until(lambda: rig.host.owned[FIRST].done == 13)
        await rig.host.commit()
        rig.give(13, 14)
        with pytest.raises(StoppedError):
            await rig.until(lambda: False)
        await rig.host.drain(1)
        assert rig.committed == [{FIRST: 13}]

    run(test)


def test_what_is_revoked_is_acknowledged_and_committed_first() -> None:
    """INV-6."""

    async def test() -> None:
        rig = Rig(echo, SKIP)
        rig.acknowledged.clear()
        rig.give(5)
        await rig.until(lambda: rig.outputs() == [5])
        asyncio.get_running_loop().call_later(0.05, rig.acknowledged.set)
        await rig.host.revoked()
        assert rig.committed == [{FIRST: 6}]
        assert rig.host.owned == {}
        assert rig.activity.joined is False
        rig.host.assigned([FIRST])
        assert list(rig.host.owned) == [FIRST]

    run(test)


def test_what_is_not_acknowledged_in_time_is_left_to_the_next_owner() -> None:
    async def test() -> None:
        rig = Rig(echo)
        rig.acknowledged.clear()
        rig.give(5)
        await rig.until(lambda: rig.outputs() == [5])
        await rig.host.revoked()
        assert rig.committed == []

    run(test)


def test_nothing_more_is_fetched_of_a_partition_that_is_full() -> None:
    async def test() -> None:
        rig = Rig(echo, SKIP)
        rig.acknowledged.clear()
        rig.give(*range(100, 100 + FULL))
        assert rig.pressed == [(FIRST, True)]
        rig.acknowledged.set()
        await rig.until(lambda: rig.host.owned[FIRST].done == 100 + FULL)
        assert rig.pressed == [(FIRST, True), (FIRST, False)]

    run(test)


def died_over(path: Path, *numbers: int) -> None:
    """Leave a journal as processes do that die over records."""
    for _ in range(3):
        journal = Journal(path)
        with suppress(RuntimeError), journal.attempt(0, [Record("in", b"k", b"", n, 0, n) for n in numbers]):
            raise RuntimeError
        journal.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    died_over(tmp_path / "attempt", 6)
    journal = Journal(tmp_path / "attempt")
    yield journal
    journal.close()


def test_a_record_that_kills_its_process_is_refused(journal: Journal) -> None:
    async def test() -> None:
        rig = Rig(echo, journal=journal)
        rig.give(5, 6, 7)
        await rig.until(lambda: rig.host.owned[FIRST].done == 8)
        assert rig.outputs() == [5, 7]
        (letter,) = [record for record in rig.sent if record.topic.endswith(".dlq")]
        assert dict(letter.headers)["streams.error.kind"] == b"killed"

    run(test)
