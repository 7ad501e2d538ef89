"""A worker of the Faust engine from its parts, run until it is told to stop.

`run_worker` has the shape of the native engine's, so the same supervisor starts it, watches it and restarts it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress

import faust
import structlog

from streams.assembly import PATIENCE, Send, topic_watch
from streams.avro.registry import Registry
from streams.errors import FencedError
from streams.failures.journal import Journal
from streams.failures.judgement import Judgement
from streams.failures.log import FailureLog
from streams.faust_engine import clients
from streams.faust_engine.handover import take_over
from streams.faust_engine.host import Host
from streams.faust_engine.hosting import Outlet, commit, connect, faust_app, position, press, why_ended
from streams.faust_engine.partition import Partition, Surroundings
from streams.faust_engine.refusals import refuse
from streams.health.observe import Observer, Reporter
from streams.health.progress import Activity
from streams.kafka.admin import Admin
from streams.logs import pass_on
from streams.preflight import check_topics, commit_interval, load_codecs
from streams.record import TopicPartition
from streams.schema_lookup import SchemaLookup
from streams.settings import Settings, require
from streams.slot import Slot
from streams.state.task_state import TaskState
from streams.task import Task
from streams.topology import DEFAULT_MAX_MESSAGE_BYTES, Processor
from streams.watch.ends import EndWatch

_log = structlog.get_logger(__name__)

TURN = 0.05  # seconds between two looks at whether to stop
IDLE_LOOK = 1.0  # seconds
STOP = 10.0  # seconds for Faust to stop


def check(processors: Iterable[Processor], settings: Settings) -> None:
    """Refuse what this engine does not run, before anything starts.

    Raises:
        UsageError: a processor needs more than it has, or a client setting has no counterpart.
    """
    refuse(processors)
    clients.credentials(settings.kafka)


def run_worker(
    processor: Processor, settings: Settings, stopping: Callable[[], bool], send: Send | None = None
) -> None:
    """Run one processor in this process until `stopping` says so; then commit, close, and return.

    `send` gets a snapshot of its progress every second, from another thread.

    Raises:
        StreamsError: it could not start or cannot go on; what was not committed is read again.
    """
    for name in ("faust", "mode", "aiokafka"):
        pass_on(name, name)
    with ExitStack() as resources:
        admin = Admin(settings, settings.start_timeout.total_seconds())
        check([processor], settings)
        check_topics(admin, processor)
        take_over(processor, settings, admin, stopping)
        if not stopping():
            asyncio.run(_Worker(processor, settings, admin, resources).run(stopping, send))


class _Worker:
    """One processor in one Faust app."""

    def __init__(self, processor: Processor, settings: Settings, admin: Admin, resources: ExitStack) -> None:
        self._processor = processor
        self._admin = admin
        self._resources = resources
        self._settings = settings
        registry = Registry(require(settings.schema_registry_url, "schema_registry_url"))
        self._codecs = load_codecs(registry, processor)
        self._slot = Slot(settings.state_dir, processor.owner, processor.name)
        resources.callback(self._slot.release)
        self._journal = Journal(self._slot.path / "attempt")
        resources.callback(self._journal.close)
        self._lookup = SchemaLookup(registry, self._codecs.values())
        resources.callback(self._lookup.close)
        self._watch = topic_watch(processor, settings)
        resources.callback(self._watch.close)

    async def run(self, stopping: Callable[[], bool], send: Send | None) -> None:
        """Start Faust, serve, drain, stop."""
        app = faust_app(self._processor, self._settings, self._slot.identity, self._slot.path / "faust")
        host = self._host(app)
        connect(app, self._processor.source.name, host, self._processor.name)
        if send is not None:
            self._report(host, send)
        self._watch.start()
        _log.info("started", engine="faust", group=self._processor.group, topic=self._processor.source.name)
        starting = asyncio.create_task(app.start())  # it ends with the first assignment, which may never come
        try:
            await self._serve(app, host, starting, stopping)
            await host.drain(PATIENCE)
        finally:
            starting.cancel()
            with suppress(TimeoutError):
                await asyncio.wait_for(app.stop(), STOP)
            _log.info("stopped", **host.counts)

    async def _serve(
        self, app: faust.App, host: Host, starting: asyncio.Task[None], stopping: Callable[[], bool]
    ) -> None:
        every = self._settings.commit_interval.total_seconds()
        committed = looked = time.monotonic()
        while not stopping():
            await asyncio.sleep(TURN)
            self._lookup.poll()
            self._watch.tell()
            host.check()
            ended = why_ended(app, starting)
            if ended is not None:
                raise FencedError(f"Faust ended: {ended!r}", fix="a fresh worker goes on; see the log")
            if time.monotonic() - committed >= every:
                await host.commit()
                committed = time.monotonic()
            if time.monotonic() - looked >= IDLE_LOOK:
                await _look_at_idle(app, host)
                looked = time.monotonic()

    def _host(self, app: faust.App) -> Host:
        settings, activity, counts = self._settings, Activity(time.monotonic), Counter[str]()
        outlet = self._outlet(app)
        around = Surroundings(
            outlet.send,
            lambda source, full: press(app, source, full=full),
            self._lookup,
            self._journal,
            FailureLog(time.monotonic),
            activity,
            counts,
            settings.poll_records,
        )
        judgement = Judgement()

        def open_partition(source: TopicPartition) -> Partition:
            task = Task(
                self._processor, self._codecs, TaskState(), None, judgement, event_ids=True, retries_in_place=True
            )
            return Partition(source, task, around)

        patience = settings.session_timeout.total_seconds() / 3
        return Host(open_partition, lambda offsets: commit(app, offsets), activity, counts, patience)

    def _outlet(self, app: faust.App) -> Outlet:
        configs = self._admin.topic_config(spec.name for spec in self._processor.topics())
        limits = {
            topic: int(config.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES)) for topic, config in configs.items()
        }
        compacted = {topic for topic, config in configs.items() if "compact" in config.get("cleanup.policy", "")}
        return Outlet(app, limits, frozenset(compacted))

    def _report(self, host: Host, send: Send) -> None:
        admin = self._admin
        ends = EndWatch(lambda: list(host.owned), admin.ends)
        self._resources.callback(ends.close)
        ends.start()
        every = commit_interval(self._processor, self._settings).total_seconds()
        observer = Observer(host, self._processor, self._slot.number, ends, every, thread=threading.get_ident())
        reporter = Reporter(observer.look, send)
        self._resources.callback(reporter.close)
        reporter.start()


async def _look_at_idle(app: faust.App, host: Host) -> None:
    """Note how far Faust has fetched partitions that are idle: behind their last record may lie what is none.

    It is for people to see: nothing is committed of it, for records may be on their way from the fetcher.
    """
    for source, owned in host.owned.items():
        if not owned.buffer:
            fetched = await position(app, source)
            if fetched is not None and not owned.buffer:
                owned.reach_end(fetched)
