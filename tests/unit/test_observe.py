"""Looking at a worker from another thread: what it says of itself while it works, waits, hangs or rests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rig import Item

from streams import DEAD_LETTER, PARK, App, Context, Failure, Retry
from streams.checkpoint import Checkpoint
from streams.errors import UnreachableError
from streams.health.observe import Observer, Reporter
from streams.health.progress import PartitionProgress, WorkerProgress, readable_key
from streams.health.stack import DOING, HANDLING, Doing, doing
from streams.kafka.consumer import GroupConsumer
from streams.owned import Hold
from streams.partitions import Partitions
from streams.record import TopicPartition
from streams.task import Task
from streams.testing import MemoryDriver
from streams.watch import ends
from streams.watch.ends import EndWatch
from streams.worker import Worker

INPUT = TopicPartition("watched.in", 0)
seen: list[WorkerProgress] = []
look: list[Callable[[], WorkerProgress]] = []


def build(*, lanes: bool = False, **policy: Any) -> App:
    app = App("watched")
    source = app.topic("watched.in", Item, key="key", partitions=1)

    async def handle_in_lane(item: Item, _ctx: Context) -> None:
        if item.n == 99:
            seen.append(look[0]())

    if lanes:
        handle_in_lane.__name__ = "handle"
        app.processor(source, **policy)(handle_in_lane)
        return app

    @app.processor(source, **policy)
    def handle(item: Item, _ctx: Context) -> None:
        if item.n == 13:
            raise ValueError("thirteen")
        if item.n == 99:
            other = threading.Thread(target=lambda: seen.append(look[0]()))
            other.start()
            other.join()

    return app


class Watched:
    """A driver with an observer of its only worker."""

    def __init__(self, driver: MemoryDriver) -> None:
        self.driver = driver
        self.now = 100.0
        self.ends: dict[TopicPartition, int] = {}
        self.watch = EndWatch(lambda: [INPUT], lambda _: self.ends, lambda: self.now)
        self.observer = self.observe()

    @property
    def worker(self) -> Worker:
        return self.driver._simulation.runtimes["handle"].processes[0].worker

    def observe(self) -> Observer:
        (processor,) = self.driver._simulation.runtimes.values()
        here = threading.get_ident()
        return Observer(self.worker, processor.processor, 3, self.watch, 0.1, thread=here, clock=lambda: self.now)

    def send(self, *numbers: int, key: str = "a") -> None:
        (processor,) = self.driver._simulation.runtimes.values()
        self.driver.send(processor.processor.source, *(Item(key=key, n=n) for n in numbers))
        self.driver.settle()

    def partition(self) -> PartitionProgress:
        (one,) = self.observer.look().partitions
        return one


@pytest.fixture
def watched() -> Iterator[Watched]:
    with build(on_failure=DEAD_LETTER).test() as driver:
        driver.settle()
        yield Watched(driver)


def test_at_rest_nothing_is_left(watched: Watched) -> None:
    watched.send(1, 2, 3)
    told = watched.observer.look()
    one = watched.partition()
    assert (told.processor, told.group, told.topic, told.slot) == ("handle", "watched.handle", "watched.in", 3)
    assert told.joined
    assert told.ready
    assert told.totals.counts["processed"] == 3
    assert told.totals.commits >= 1
    assert sum(told.totals.process_seconds.counts) == 3
    assert one.position == one.committed == one.end == 3
    assert (one.state, one.lag, one.unfinished, one.oldest_ms, one.waits_on) == ("idle", 0, False, None, "")


def test_a_handler_is_told_with_its_line_and_its_record_while_it_runs(watched: Watched) -> None:
    look[:] = [watched.observer.look]
    seen.clear()
    watched.send(1, 99, key="seven")
    (told,) = seen
    (one,) = told.partitions
    assert one.waits_on.startswith("handler handle at unit/test_observe.py:")
    assert ", in " in one.waits_on  # where the thread is that it waits for
    assert one.record == "offset 1, key 'seven'"
    assert (one.state, one.lag, one.unfinished) == ("running", 1, True)
    assert one.oldest_ms is not None


def test_a_handler_in_a_lane_is_told_with_its_record_while_it_runs() -> None:
    """Which line it is at nobody can tell: several run, none in the worker's thread."""
    with build(lanes=True, on_failure=DEAD_LETTER).test() as driver:
        driver.settle()
        watched = Watched(driver)
        look[:] = [watched.observer.look]
        seen.clear()
        watched.send(1)
        watched.send(99, key="seven")
        (told,) = seen
        (one,) = told.partitions
        assert (one.waits_on, one.record) == ("handler handle", "offset 1, key 'seven'")
        assert (one.state, one.lag, one.unfinished) == ("running", 1, True)
        watched.send(2)
        assert watched.partition().state == "idle"


def test_what_is_held_up_by_another_partition_says_so(watched: Watched) -> None:
    watched.send(1)
    owned, activity = watched.worker.owned[INPUT], watched.worker.activity
    activity.begin_step(TopicPartition("watched.in", 7))
    owned.done = 9
    assert watched.partition().waits_on == "its worker, whose handler is at watched.in[7]"
    assert watched.partition().offset is None
    activity.end_step(0)
    assert watched.partition().waits_on == "its commit"


def test_what_lasts_is_timed_from_when_it_was_seen_first(watched: Watched) -> None:
    watched.send(1)
    owned = watched.worker.owned[INPUT]
    owned.hold = Hold("dependency: the handler failed for 5 of the last 9 keys", lambda: False)
    assert watched.partition().waited == 0
    watched.now += 5
    owned.hold = Hold("dependency: the handler failed for 6 of the last 9 keys", lambda: False)
    one = watched.partition()
    assert (one.state, one.waited, one.unfinished) == ("held", 5, True)
    assert one.waits_on == "dependency: the handler failed for 6 of the last 9 keys"
    owned.hold = Hold("breaker stripe", lambda: False)
    assert watched.partition().waited == 0


def test_ends_that_are_asked_count_where_nothing_is_fetched(watched: Watched) -> None:
    watched.send(1)
    watched.ends = {INPUT: 50}
    watched.watch.look()
    one = watched.partition()
    assert (one.lag, one.unfinished) == (49, True)
    assert one.waits_on.startswith("records that Kafka does not hand out")


def test_waiting_and_parked_records_are_told_apart() -> None:
    policy = Failure(Retry(2, "1m..1m"), then=PARK)
    with build(on_failure=policy).test(auto_advance=False) as driver:
        driver.settle()
        watched = Watched(driver)
        watched.send(13, key="bad")
        watched.send(2, key="bad")
        watched.send(1, key="good")
        one = watched.partition()
        assert (one.waiting, one.parked, one.lag, one.unfinished) == (2, 0, 0, False)
        assert one.oldest_ms is not None
        driver.advance("10m")
        one = watched.partition()
        assert (one.waiting, one.parked, one.oldest_ms) == (1, 1, None)  # what waits for people has no age


def test_a_restore_is_told_with_what_is_left() -> None:
    app = App("watched")
    source = app.topic("watched.in", Item, key="key", partitions=1)
    store = app.store("kept", str, Item)

    @app.processor(source)
    def handle(item: Item, ctx: Context) -> None:
        ctx.put(store, item.key, item)

    with app.test() as driver:
        driver.send(source, *(Item(key=f"{n}", n=n) for n in range(50)))
        driver.settle()
        watched = Watched(driver)
        owned = watched.worker.owned[INPUT]
        owned.ready = False
        restorer = watched.worker._restorer
        changelog = next(iter(owned.task.state.sources()))
        restorer._targets[changelog], restorer._at[changelog] = 60, 15
        one = watched.partition()
        assert (one.state, one.remaining, one.waits_on) == ("restoring", 45, "restore, 45 records to go")
        assert not watched.observer.look().ready
        restorer._reached(changelog, 40)
        assert watched.partition().remaining == 20
        owned.ready = True
        restorer._reached(changelog, 60)
        assert restorer.left(owned.task.state) == 0


def test_one_that_feeds_itself_has_no_lag_at_rest() -> None:
    """It never commits the end behind its own markers, or each commit would be followed by another one."""
    app = App("watched")
    source = app.topic("watched.in", Item, key="key", partitions=1)

    @app.processor(source, to=source)
    def handle(item: Item, _ctx: Context) -> Item | None:
        return Item(key=item.key, n=item.n - 1) if item.n else None

    with app.test() as driver:
        driver.send(source, Item(key="a", n=3))
        driver.settle()
        watched = Watched(driver)
        one = watched.partition()
        assert watched.worker.owned[INPUT].committed != one.committed  # there is a marker behind it
        assert (one.lag, one.unfinished, one.state) == (0, False, "idle")


def test_aborts_and_lost_partitions_are_noted() -> None:
    with build().test() as driver:
        driver.settle()
        worker = driver._simulation.runtimes["handle"].processes[0].worker
        worker.on_lost([INPUT])
        assert not worker.activity.joined
        worker.run_once()
        assert worker.activity.aborts == 1
        worker.on_assigned([])
        assert worker.activity.joined


def test_the_stack_is_read_by_names_that_exist() -> None:
    """A rename would have it say nothing."""
    known = {one.__name__: one for one in (Checkpoint, GroupConsumer, Partitions, Task, Worker)}
    names = [*DOING, HANDLING]
    assert len(names) > 3
    for name in names:
        owner, _, method = name.partition(".")
        assert getattr(known[owner], method).__qualname__ == name
    assert doing(threading.get_ident()) == Doing()
    assert doing(0) == Doing()


def test_a_call_that_takes_long_is_named() -> None:
    def commit() -> None:
        time.sleep(1)

    commit.__code__ = commit.__code__.replace(co_qualname="Checkpoint.commit")
    thread = threading.Thread(target=commit)
    thread.start()
    time.sleep(0.1)
    assert thread.ident is not None
    assert doing(thread.ident).call.startswith("commit")
    thread.join()


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (None, None),
        (b"7", "'7'"),
        ("größe".encode(), "'größe'"),
        (b"\x00\x01", "b'\\x00\\x01'"),
        (b"\xff", "'\\\\xff'"),
        (b"x" * 1000, "'" + "x" * 59 + "…"),
    ],
)
def test_keys_are_shown_for_people(key: bytes | None, shown: str | None) -> None:
    assert readable_key(key) == shown


def test_kafka_that_does_not_answer_is_timed() -> None:
    now, answers = [10.0], [True]

    def ask(_: object) -> dict[TopicPartition, int]:
        if not answers[0]:
            raise UnreachableError("nobody there")
        return {INPUT: 5}

    watch = EndWatch(lambda: [INPUT], ask, lambda: now[0])
    watch.look()
    assert (watch.ends, watch.unanswered) == ({INPUT: 5}, 0)
    answers[0] = False
    for _ in range(3):
        watch.look()
        now[0] += 2
    assert (watch.ends, watch.unanswered) == ({INPUT: 5}, 6)
    answers[0] = True
    watch.look()
    assert watch.unanswered == 0


def test_the_reporter_sends_a_last_snapshot_and_ends_where_nobody_listens() -> None:
    told = WorkerProgress("p", "g", "t", 1, 0, 0.0, joined=True)
    sent: list[WorkerProgress] = []
    reporter = Reporter(lambda: told, sent.append)
    reporter.start()
    reporter.close()
    assert sent == [told, told]

    def broken(_: object) -> None:
        raise BrokenPipeError

    reporter = Reporter(lambda: told, broken)
    reporter.start()
    reporter.join(5)
    assert not reporter.is_alive()


def test_a_look_at_something_that_changes_is_passed_over() -> None:
    looks = 0

    def changing() -> WorkerProgress:
        nonlocal looks
        looks += 1
        raise RuntimeError("dictionary changed size during iteration")

    reporter = Reporter(changing, lambda _: None)
    reporter.start()
    reporter.close()
    assert looks == 2


def test_a_look_at_ends_that_costs_much_is_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand partitions it is tens of milliseconds of CPU: an idle worker would do little else."""
    monkeypatch.setattr(ends, "EVERY", 0.001)
    looks: dict[str, int] = {}

    def watched(name: str, cost: float) -> EndWatch:
        def ask(_: object) -> dict[TopicPartition, int]:
            looks[name] = looks.get(name, 0) + 1
            until = time.thread_time() + cost
            while time.thread_time() < until:
                pass
            return {}

        return EndWatch(lambda: [INPUT], ask)

    both = [watched("dear", 0.05), watched("cheap", 0.0)]
    for watch in both:
        watch.start()
    time.sleep(0.9)
    for watch in both:
        watch.close()
        watch.join(5)
    print(looks)
    assert looks["dear"] == 1
    assert looks["cheap"] > 5
