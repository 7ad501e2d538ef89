"""One worker process in memory: the production worker over the memory clients, and the ways in which it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, ParamSpec, TypeVar

from streams.assembly import build_worker
from streams.errors import AbortedError, StreamsError
from streams.preflight import commit_interval, load_codecs
from streams.requests.gate import gated
from streams.schema_lookup import SchemaLookup
from streams.settings import Settings
from streams.state.backend import Backend
from streams.state.restore import Restorer
from streams.testing.clock import VirtualClock
from streams.testing.handlers import CoroutineRunner, TurnRunner
from streams.testing.memory import (
    Group,
    Log,
    MemoryConsumer,
    MemoryProducer,
    MemoryReader,
    MemoryRegistry,
    PlainProducer,
)
from streams.topology import Processor, Runs

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Cluster:
    """What the processes of a test share; `restore_records` is how many records a restore reads at a time."""

    log: Log
    registry: MemoryRegistry
    clock: VirtualClock
    settings: Settings
    folder: Path
    restore_records: int
    random: Random


class Process:
    """One slot's worker; it can be killed, stopped, or fail, and another one takes its slot over."""

    def __init__(self, cluster: Cluster, processor: Processor, group: Group, number: int) -> None:
        """Start it.

        Raises:
            StreamsError: it cannot start.
        """
        self.processor = processor
        self.number = number
        self.interval = commit_interval(processor, cluster.settings)
        self.backends: dict[int, Backend] = {}  # the newest of each partition, perhaps closed
        self._group = group
        self._seconds = cluster.clock.seconds
        self._folder = cluster.folder / processor.name / f"slot-{number}"
        codecs = load_codecs(cluster.registry, processor)
        self.producer = _producer(cluster, f"{processor.group}/{number}")
        self.consumer = MemoryConsumer(group)
        self.reader = MemoryReader(cluster.log, cluster.restore_records)
        self.runner = _runner(cluster, processor)
        self.worker = build_worker(
            processor,
            cluster.settings,
            codecs,
            lambda partition: self._folder / f"part-{partition}",
            self.consumer,
            gated(processor, self.producer, lambda names: set(names) & cluster.log.topics.keys()),
            Restorer(self.reader, cluster.log.bounds),
            SchemaLookup(cluster.registry, codecs.values(), cluster.clock.seconds, AtOnce()),
            runner=self.runner,
            clock=cluster.clock.seconds,
            now_ms=cluster.clock.now_ms,
            open_backend=self._open,
        )
        self.consumer.listener = self.worker

    def has_work(self) -> bool:
        """Tell whether a turn would do something without time passing."""
        return self.consumer.has_news() or self.reader.has_news() or self.runner.has_work() or self.worker.unfinished()

    def sleep(self) -> timedelta | None:
        """Return how long the next handler to wake up still sleeps; None if none does."""
        at = self.runner.next_time()
        return None if at is None else timedelta(seconds=max(0.0, at - self._seconds()))

    def kill(self) -> None:
        """Be gone at once, as by SIGKILL; the files stay as they are."""
        self._release()
        self._group.leave(self.consumer)

    def stop(self, *, failed: bool = False) -> None:
        """End as a worker process ends: drained by a signal, or because of an error."""
        if failed:
            self.worker.fail()
        else:
            self.worker.drain()
        self.consumer.close()
        self.worker.close()
        with suppress(StreamsError, AbortedError):
            self.producer.abort()
        self._release()

    def _release(self) -> None:
        """Give back what the end of a process gives back; files that are closed are not touched."""
        self.runner.close()
        for backend in self.backends.values():
            backend.release()

    def _open(self, path: Path, names: Iterable[str]) -> Backend:
        backend = Backend(path, names)
        self.backends[int(path.name.removeprefix("part-"))] = backend
        return backend


class AtOnce(Executor):
    """Does what is submitted at once, on the same thread: nothing in a test depends on who is faster."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Call and return the finished future."""
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)
        return future


def _runner(cluster: Cluster, processor: Processor) -> TurnRunner:
    if processor.runs is Runs.IN_LOOP:
        return CoroutineRunner(cluster.random, cluster.clock.seconds)
    return TurnRunner(cluster.random)


def _producer(cluster: Cluster, name: str) -> Any:
    if cluster.settings.guarantee == "at_least_once":
        return PlainProducer(cluster.log, name)
    return MemoryProducer(cluster.log, name, timeout=cluster.settings.transaction_timeout.total_seconds())
