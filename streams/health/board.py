"""What the supervisor knows of its workers: the newest snapshot of each, and what outlives a process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from streams.health.progress import PartitionProgress, Totals, WorkerProgress

_log = structlog.get_logger(__name__)

NOTHING = Totals()
STEADY_AFTER = 30.0  # seconds of running that make the next death a first one again


class PartitionView(NamedTuple):
    """A partition, and for how many seconds it has had something to do without finishing anything."""

    progress: PartitionProgress
    stalled: float


class WorkerView(NamedTuple):
    """One place for a worker: its newest snapshot, and totals over all processes that held the place.

    `silent` is the age of the snapshot, or of the process where there is none yet, in seconds; `deaths` are in a row;
    `rate` is records a second, `cores` how many cores it keeps busy, and `start_seconds` how long its process took from
    its start until it was ready; None before.
    """

    processor: str
    group: str
    topic: str
    alive: bool
    silent: float
    deaths: int
    restarts: int
    rate: float
    progress: WorkerProgress | None
    partitions: tuple[PartitionView, ...]
    totals: Totals
    cores: float = 0.0
    start_seconds: float | None = None

    @property
    def ready(self) -> bool:
        """Tell whether the worker is in its group and has restored its state."""
        return self.alive and self.progress is not None and self.progress.ready


@dataclass
class _Place:
    processor: str
    group: str
    topic: str = ""
    alive: bool = False
    heard: float = 0.0
    started: float | None = None
    deaths: int = 0  # in a row
    restarts: int = 0
    rate: float = 0.0
    progress: WorkerProgress | None = None
    partitions: tuple[PartitionProgress, ...] = ()  # a process that starts leaves those of the one before it
    totals: Totals = NOTHING  # of the processes before
    cores: float = 0.0
    start_seconds: float | None = None


class Board:
    """Collects snapshots; thread-safe.

    The time without progress belongs to the partition and not to the process: a worker that dies again and again at
    one record stands still as much as one that hangs at it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._places: list[_Place] = []
        self._since: dict[tuple[str, str, int], tuple[tuple[int, int] | None, float]] = {}
        self.ticked = clock()

    def tick(self) -> None:
        """Note that the supervisor itself goes on."""
        self.ticked = self._clock()

    def place(self, processor: str, group: str) -> int:
        """Make a place for a worker and return its number."""
        with self._lock:
            self._places.append(_Place(processor, group))
            return len(self._places) - 1

    def started(self, number: int) -> None:
        """Note that a process was started in a place."""
        with self._lock:
            place = self._places[number]
            place.restarts += place.started is not None
            place.alive, place.progress, place.rate, place.cores = True, None, 0.0, 0.0
            place.start_seconds = None
            place.started = place.heard = self._clock()

    def ended(self, number: int) -> None:
        """Note that the process of a place ended."""
        with self._lock:
            place, last = self._places[number], self._places[number].progress
            place.alive, place.rate, place.cores = False, 0.0, 0.0
            if last is not None:  # the next one counts from nought
                place.totals, place.progress = place.totals.plus(last.totals), None

    def died(self, number: int, in_a_row: int) -> None:
        """Note that a place's process ended as it should not, once more."""
        with self._lock:
            self._places[number].deaths = in_a_row

    def put(self, number: int, snapshot: WorkerProgress) -> None:
        """Take the newest snapshot of a place."""
        now = self._clock()
        with self._lock:
            place = self._places[number]
            if not place.alive:
                return
            if place.progress is not None and now > place.heard:
                done = snapshot.totals.records - place.progress.totals.records
                place.rate = max(0.0, done / (now - place.heard))
                spent = snapshot.totals.cpu_seconds - place.progress.totals.cpu_seconds
                place.cores = max(0.0, spent / (now - place.heard))
            place.heard, place.progress = now, snapshot
            place.group, place.topic = snapshot.group, snapshot.topic
            if snapshot.joined:
                place.partitions = snapshot.partitions
            if snapshot.ready and place.start_seconds is None and place.started is not None:
                place.start_seconds = now - place.started
                _tell(place, snapshot, place.start_seconds)
            self._note(place, now)

    def views(self) -> list[WorkerView]:
        """Return how everything stands."""
        now = self._clock()
        with self._lock:
            return [self._view(place, now) for place in self._places]

    def _note(self, place: _Place, now: float) -> None:
        owned = {(place.group, one.topic, one.partition): one for one in place.partitions}
        for where, one in owned.items():
            done = (one.committed, one.remaining) if one.unfinished else None
            before, since = self._since.get(where, (None, now))
            self._since[where] = (done, since if done is not None and done == before else now)
        held = set(owned)
        for other in self._places:
            if other is not place:  # the newest snapshot says whose a partition is
                kept = [one for one in other.partitions if (other.group, one.topic, one.partition) not in owned]
                other.partitions = tuple(kept)
                held |= {(other.group, one.topic, one.partition) for one in kept}
        for gone in self._since.keys() - held:  # another supervisor's now
            del self._since[gone]

    def _view(self, place: _Place, now: float) -> WorkerView:
        last = place.progress
        steady = place.alive and place.started is not None and now - place.started >= STEADY_AFTER
        return WorkerView(
            processor=place.processor,
            group=place.group,
            topic=place.topic,
            alive=place.alive,
            silent=now - place.heard if place.alive else 0.0,
            deaths=0 if steady else place.deaths,
            restarts=place.restarts,
            rate=place.rate,
            progress=last,
            partitions=tuple(self._partition(place.group, one, now) for one in place.partitions),
            totals=place.totals.plus(last.totals) if last is not None else place.totals,
            cores=place.cores,
            start_seconds=place.start_seconds,
        )

    def _partition(self, group: str, one: PartitionProgress, now: float) -> PartitionView:
        _, since = self._since[group, one.topic, one.partition]
        return PartitionView(one, now - since if one.unfinished else 0.0)


def _tell(place: _Place, told: WorkerProgress, seconds: float) -> None:
    _log.info(
        "worker ready",
        processor=place.processor,
        pid=told.pid,
        slot=told.slot,
        seconds=round(seconds, 2),
        cpu_seconds=round(told.totals.cpu_seconds, 2),
        memory_mb=round(told.memory_bytes / 1e6),
        partitions=len(told.partitions),
    )
