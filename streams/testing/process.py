"""One worker process in memory: the production worker over the memory clients, and the ways in which it ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pydantic import ValidationError

from streams.assembly import build_worker
from streams.errors import AbortedError, StreamsError, UsageError
from streams.preflight import commit_interval, load_codecs
from streams.schema_lookup import SchemaLookup
from streams.settings import Settings
from streams.state.backend import Backend
from streams.state.restore import Restorer
from streams.testing.clock import VirtualClock
from streams.testing.memory import (
    Group,
    Log,
    MemoryConsumer,
    MemoryProducer,
    MemoryReader,
    MemoryRegistry,
    PlainProducer,
)
from streams.topology import Processor

P = ParamSpec("P")
R = TypeVar("R")


MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
_PREFIX = "streams-test-"


class Folder:
    """Where the state of one driver lies, in memory if there is such a place; gone with it, however it ends.

    A process that is killed removes nothing. So each folder is locked while its owner lives, and the next one that is
    made anywhere removes those that nobody holds.
    """

    def __init__(self, base: Path | None = None) -> None:
        """Make it, in `base` or where memory is a folder."""
        parent = base or (MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else Path(tempfile.gettempdir()))
        for left in parent.glob(f"{_PREFIX}*/lock"):
            _remove_if_left(left)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = os.open(self.path / "locking", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        (self.path / "locking").rename(self.path / "lock")  # nobody sees it before it is locked
        self.remove = weakref.finalize(self, _remove, self.path, lock, os.getpid())  # also at the end of the program


def _remove(path: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # not a forked child, which ends with a copy of everything
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _remove_if_left(lock: Path) -> None:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # it is gone by now, or another user's
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.parent, ignore_errors=True)
    except BlockingIOError:  # its owner lives
        return
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Cluster:
    """What the processes of a test share; `restore_records` is how many records a restore reads at a time."""

    log: Log
    registry: MemoryRegistry
    clock: VirtualClock
    settings: Settings
    folder: Path
    restore_records: int


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
        self._folder = cluster.folder / processor.name / f"slot-{number}"
        codecs = load_codecs(cluster.registry, processor)
        self.producer = _producer(cluster, f"{processor.group}/{number}")
        self.consumer = MemoryConsumer(group)
        self.reader = MemoryReader(cluster.log, cluster.restore_records)
        self.worker = build_worker(
            processor,
            cluster.settings,
            codecs,
            lambda partition: self._folder / f"part-{partition}",
            self.consumer,
            self.producer,
            Restorer(self.reader, cluster.log.bounds),
            SchemaLookup(cluster.registry, codecs.values(), cluster.clock.seconds, AtOnce()),
            clock=cluster.clock.seconds,
            now_ms=cluster.clock.now_ms,
            open_backend=self._open,
        )
        self.consumer.listener = self.worker

    def has_work(self) -> bool:
        """Tell whether a turn would do something without time passing."""
        return self.consumer.has_news() or self.reader.has_news() or self.worker.unfinished()

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
        """Give the files back that the end of a process gives back; those that are closed are not touched."""
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


def _producer(cluster: Cluster, name: str) -> Any:
    if cluster.settings.guarantee == "at_least_once":
        return PlainProducer(cluster.log, name)
    return MemoryProducer(cluster.log, name, timeout=cluster.settings.transaction_timeout.total_seconds())


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Return the settings that a test names.

    Raises:
        UsageError: they cannot be used; the message lists what is wrong.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        told = [(".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, ")) for one in error.errors()]
        lines = [f"  - {name}: {message}" if name else f"  - {message}" for name, message in told]
        raise UsageError(
            "the settings cannot be used:\n" + "\n".join(lines), fix="correct the test's or the app's settings"
        ) from None
