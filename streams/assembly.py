"""Putting a worker together from an app, a processor and settings, and running it until it is told to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import structlog

from streams.avro.codec import Codec
from streams.avro.registry import Registry
from streams.codec_plans import topic_plans
from streams.columnar.task import open_task
from streams.context import Context
from streams.errors import FencedError, StreamsError
from streams.failures.journal import Journal
from streams.failures.judgement import Judgement
from streams.failures.waiting import Waiting
from streams.health.observe import Observer, Reporter
from streams.health.progress import WorkerProgress
from streams.kafka import config
from streams.kafka.admin import Admin, partition_of
from streams.kafka.consumer import GroupConsumer, Reader, share_anew
from streams.kafka.producer import AtLeastOnceProducer, TransactionalProducer
from streams.lanes.feed import LaneFeed
from streams.lanes.runners import LoopRunner, Runner, ThreadRunner
from streams.lanes.suspects import Suspects
from streams.ports import Input, Output
from streams.preflight import check_access, check_topics, commit_interval, load_codecs, smallest_limit
from streams.record import TopicPartition
from streams.requests.gate import gated
from streams.schema_lookup import SchemaLookup
from streams.settings import Settings, require
from streams.slot import Slot
from streams.state.backend import Backend
from streams.state.lazy import LazyStore
from streams.state.overlay import CACHE_BYTES
from streams.state.protocol import StateStore
from streams.state.restore import Bounds, Restorer
from streams.state.task_state import TaskState
from streams.task import Task
from streams.topology import Handler, Processor, Runs
from streams.watch.ends import EndWatch
from streams.watch.orphans import OrphanWatch
from streams.watch.topics import TopicWatch
from streams.worker import Worker

_log = structlog.get_logger(__name__)

CACHED_BYTES = 4 * CACHE_BYTES  # of one store in all partitions; a worker may own them all
PATIENCE = 10.0  # seconds for handlers in lanes to end when the worker does
LOOK = 3.0  # seconds for a look at the topics
MOST_LINGER = 0.005  # seconds that a poll waits for more records than the first (ADR 16)
ABORT_SCAN = 12.0  # seconds; brokers look for transactions that are out of time every 10


Send = Callable[[WorkerProgress], None]
Run = Callable[[Processor, Settings, Callable[[], bool], Send | None], None]
"""What an engine is to the supervisor: it runs one processor until it is told to stop."""


def run_worker(
    processor: Processor, settings: Settings, stopping: Callable[[], bool], send: Send | None = None
) -> None:
    """Run one processor in this process until `stopping` says so; then commit, close, and return.

    `send` gets a snapshot of its progress every second, from another thread.

    Raises:
        StreamsError: it could not start or cannot go on; whatever was not committed will not be seen.
    """
    with ExitStack() as resources:
        watch = topic_watch(processor, settings)
        resources.callback(watch.close)
        worker, consumer = _assemble(processor, settings, resources, send, watch)
        watch.start()
        for plan in topic_plans(processor):
            _log.info("codec plan", **plan._asdict())
        _log.info("started", group=processor.group, topic=processor.source.name, guarantee=settings.guarantee)
        try:
            consumer.subscribe(processor.source.name, worker)
            while not stopping():
                worker.run_once()
                watch.tell()
            worker.drain(PATIENCE)
        except BaseException as error:
            worker.fail()
            if type(error) in {StreamsError, FencedError}:
                watch.examine()  # a fresh process would only meet it again
            raise
        finally:
            _log.info("stopped", **worker.counts)


def _assemble(
    processor: Processor, settings: Settings, resources: ExitStack, send: Send | None, topics: TopicWatch
) -> tuple[Worker, GroupConsumer]:
    commit_every = commit_interval(processor, settings)  # a wrong one is told before anything is connected
    admin = Admin(settings, settings.start_timeout.total_seconds())
    check_topics(admin, processor)
    registry = Registry(require(settings.schema_registry_url, "schema_registry_url"))
    codecs = load_codecs(registry, processor)
    slot = Slot(settings.state_dir, processor.owner, processor.name)
    resources.callback(slot.release)
    member = config.group_consumer(settings, processor.group, slot.identity)
    consumer = GroupConsumer(member, min(MOST_LINGER, commit_every.total_seconds() / 20))
    producer = _producer(settings, slot.identity, smallest_limit(admin, processor), consumer)
    resources.callback(producer.close)
    lookup = SchemaLookup(registry, codecs.values())
    resources.callback(lookup.close)
    reader = Reader(config.reader(settings, slot.identity))
    resources.callback(reader.close)

    def bounds(sources: Iterable[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        return {source: Bounds(*held) for source, held in admin.ranges(sources).items()}

    journal = suspects = None
    if processor.runs is Runs.IN_STEP:
        journal = Journal(slot.path / "attempt")
        resources.callback(journal.close)
    else:
        suspects = Suspects(slot.path / "running", processor.concurrency)
        resources.callback(suspects.close)
    worker = build_worker(
        processor,
        settings,
        codecs,
        slot.partition,
        consumer,
        gated(processor, producer, admin.existing),
        Restorer(reader, bounds),
        lookup,
        journal=journal,
        suspects=suspects,
        examine=topics.examine,
    )
    resources.callback(worker.close)
    resources.callback(consumer.close)
    watch = _watch(processor, settings, slot.identity, admin, member)
    resources.callback(watch.close)
    watch.start()
    if send is not None:
        ends = EndWatch(lambda: list(worker.owned), admin.ends)
        resources.callback(ends.close)
        ends.start()
        every = commit_every.total_seconds()
        observer = Observer(worker, processor, slot.number, ends, every, thread=threading.get_ident())
        reporter = Reporter(observer.look, send)
        resources.callback(reporter.close)
        reporter.start()
    return worker, consumer


def topic_watch(processor: Processor, settings: Settings) -> TopicWatch:
    """Return who looks from time to time whether a processor's topics are there."""
    admin = Admin(settings, LOOK)
    return TopicWatch(lambda: check_access(admin, processor), lambda: check_topics(admin, processor))


def _keepers(processor: Processor) -> frozenset[str]:
    """Return the topics for what failed."""
    waiting = [] if processor.waiting is None else [processor.changelog(processor.waiting)]
    return frozenset({processor.dead_letter_topic, *waiting})


def _watch(processor: Processor, settings: Settings, me: str, admin: Admin, member: config.Config) -> OrphanWatch:
    """Look after partitions that no worker of the group owns; two looks take as long as a dead member is waited for."""
    topic, session = processor.source, settings.session_timeout.total_seconds()

    def owners() -> dict[str, list[TopicPartition]] | None:
        group = admin.group(processor.group)
        return {one.instance_id: one.partitions for one in group.members} if group.state == "STABLE" else None

    return OrphanWatch(
        me,
        [TopicPartition(topic.name, number) for number in range(topic.partitions)],
        owners,
        lambda: share_anew(member, topic.name, session),
        session / 2,
    )


def _producer(
    settings: Settings, identity: str, batch_bytes: int, consumer: GroupConsumer
) -> TransactionalProducer | AtLeastOnceProducer:
    budget = settings.transaction_timeout.total_seconds()
    if settings.guarantee == "at_least_once":
        return AtLeastOnceProducer(config.producer(settings, identity, batch_bytes), budget, consumer.commit)
    return TransactionalProducer(config.transactional_producer(settings, identity, batch_bytes), budget)


def build_worker(
    processor: Processor,
    settings: Settings,
    codecs: Mapping[str, Codec[Any]],
    folder: Callable[[int], Path],
    consumer: Input,
    producer: Output,
    restorer: Restorer,
    lookup: SchemaLookup,
    *,
    journal: Journal | None = None,
    suspects: Suspects | None = None,
    runner: Runner | None = None,
    examine: Callable[[], None] = lambda: None,
    open_backend: Callable[[Path, Iterable[str]], Backend] = Backend,
    clock: Callable[[], float] = time.monotonic,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> Worker:
    """Make the worker of a processor over whatever clients; `folder` holds the state of a partition.

    `runner` runs the handlers of lanes, if not threads or an event loop of the worker's own. Of those that kill their
    process `journal` finds the ones in `step`, `suspects` the ones in lanes.
    """
    judgement = Judgement()
    lanes = None
    handled = processor
    if processor.runs is not Runs.IN_STEP:
        lanes = LaneFeed(
            processor,
            runner or _runner(processor),
            consumer,
            most_records=settings.lane_records,
            most_bytes=settings.lane_bytes,
            now_ms=now_ms,
            suspects=suspects,
        )
        handled = replace(processor, handler=_recorded(processor.handler, lanes))

    def opened(partition: TopicPartition) -> Task:
        number = partition.partition
        path = folder(number)
        state = open_state(processor, codecs, number, path, lambda names: open_backend(path, names))
        waiting = None
        if processor.waiting is not None:
            waiting = Waiting(state, processor.waiting, settings.waiting_records, settings.waiting_bytes)
        return open_task(handled, codecs, state, waiting, judgement, event_ids=settings.guarantee == "at_least_once")

    return Worker(
        consumer,
        producer,
        restorer,
        lookup,
        opened,
        loops=processor.source in processor.outputs.values(),
        poll_records=processor.batch_records or settings.poll_records,
        commit_interval=commit_interval(processor, settings).total_seconds(),
        commit_records=settings.commit_records,
        stable_timeout=settings.transaction_timeout.total_seconds() + ABORT_SCAN,
        stamped=settings.guarantee == "at_least_once",
        redrive_topic=processor.redrive_topic if processor.writes_dead_letters else None,
        waiting_topic=None if processor.waiting is None else processor.changelog(processor.waiting),
        judgement=judgement,
        journal=journal,
        handling=lanes,
        keeps=_keepers(processor),
        examine=examine,
        clock=clock,
        now_ms=now_ms,
    )


def _runner(processor: Processor) -> Runner:
    return LoopRunner() if processor.runs is Runs.IN_LOOP else ThreadRunner(processor.concurrency)


def _recorded(handler: Handler, lanes: LaneFeed) -> Handler:
    """Give what a handler gave in its lane, under the handler's own name."""

    @wraps(handler)
    def recorded(value: Any, ctx: Context) -> Any:
        return lanes.handler(value, ctx)

    return recorded


def open_state(
    processor: Processor,
    codecs: Mapping[str, Codec[Any]],
    number: int,
    path: Path,
    open_backend: Callable[[Iterable[str]], Backend],
) -> TaskState:
    """Open the state of one partition; without stores and tables it takes no place on disk until a record waits."""
    behind = processor.state()
    if not behind:
        return TaskState()
    lazy = list(behind) == [processor.waiting]
    backend: StateStore = (
        LazyStore(path, lambda: open_backend(behind.values())) if lazy else open_backend(behind.values())
    )
    partitions = processor.source.partitions

    def foreign(key: bytes) -> int | None:
        home = partition_of(key, partitions)
        return None if home == number else home

    return TaskState(
        backend,
        {declared: TopicPartition(topic, number) for declared, topic in behind.items()},
        {declared: codecs[topic] for declared, topic in behind.items()},
        foreign,
        min(CACHE_BYTES, CACHED_BYTES // partitions),
    )
