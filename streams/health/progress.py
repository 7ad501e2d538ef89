"""What a worker knows of its progress, as plain data: it goes through a pipe to the supervisor, and out as JSON."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from streams.record import TopicPartition

State = Literal["running", "restoring", "held", "idle"]

BOUNDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)  # seconds, of the histograms
NO_OUTCOMES = frozenset({"outputs", "retries", "without_id"})  # counted beside the outcomes of records
FAILED_IN = "failed_in_"
MOST_KEY = 60  # characters


class Times(NamedTuple):
    """How long something took: how often within each of `BOUNDS` (the last count is beyond them), and in all."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    seconds: float = 0.0

    def plus(self, other: Times) -> Times:
        """Return both together."""
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Times(counts, self.seconds + other.seconds)


class Stopwatch:
    """Collects times; cheap enough for every batch."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def note(self, seconds: float, times: int = 1) -> None:
        """Note that something that was done so often took so long in all."""
        if times:
            self._counts[bisect_left(BOUNDS, seconds / times)] += times
            self._seconds += seconds

    def read(self) -> Times:
        """Return what was noted so far."""
        return Times(tuple(self._counts), self._seconds)


class PartitionProgress(NamedTuple):
    """How far a worker is in one partition of its input.

    `position` is the next offset to deal with and `committed` the one that is safe; at the end of an idle partition
    both are its end, transaction markers included. `end` is the end as far as it is known, open transactions included.
    `oldest_ms` is the timestamp of the oldest record that is not finished, waiting ones included; None without one.
    `waits_on` says in words what it waits on since `waited` seconds, and `offset` and `key` which record does.
    """

    topic: str
    partition: int
    position: int
    committed: int
    end: int
    state: State
    oldest_ms: int | None = None
    waits_on: str = ""
    waited: float = 0.0
    offset: int | None = None
    key: str | None = None
    waiting: int = 0
    parked: int = 0
    remaining: int = 0  # records until its state is restored

    @property
    def lag(self) -> int:
        """Records between the position and the end."""
        return max(0, self.end - self.position)

    @property
    def unfinished(self) -> bool:
        """Tell whether there is something to do that is not done and safe."""
        return self.lag > 0 or self.position > self.committed or self.state in {"restoring", "held"}

    @property
    def name(self) -> str:
        """Its topic and number, as people write them."""
        return f"{self.topic}[{self.partition}]"

    @property
    def record(self) -> str:
        """The record that it is at, in words; empty where there is none."""
        if self.offset is None:
            return ""
        return f"offset {self.offset}, " + ("no key" if self.key is None else f"key {self.key}")


class Totals(NamedTuple):
    """What worker processes did in all: records by outcome, commits, aborted transactions, times, and CPU time."""

    counts: Mapping[str, int] = {}
    commits: int = 0
    aborts: int = 0
    process_seconds: Times = Times()
    commit_seconds: Times = Times()
    cpu_seconds: float = 0.0

    @property
    def records(self) -> int:
        """Return how many records came to an end, however."""
        return sum(count for name, count in self.counts.items() if name not in NO_OUTCOMES)

    @property
    def dead_letters(self) -> int:
        """Return how many records became dead letters."""
        return sum(count for name, count in self.counts.items() if name.startswith(FAILED_IN))

    def plus(self, other: Totals) -> Totals:
        """Return both together."""
        return Totals(
            {name: self.counts.get(name, 0) + other.counts.get(name, 0) for name in {**self.counts, **other.counts}},
            self.commits + other.commits,
            self.aborts + other.aborts,
            self.process_seconds.plus(other.process_seconds),
            self.commit_seconds.plus(other.commit_seconds),
            self.cpu_seconds + other.cpu_seconds,
        )


class WorkerProgress(NamedTuple):
    """What one worker process tells of itself, about once a second. All times are seconds.

    `running` is how long it runs, `commit_age` how long ago its last commit was, `commit_every` the longest time that
    it leaves between two with work at hand, and `unanswered` for how long Kafka has not answered.
    `doing` is what its one thread is in, where that is not the straight path. `memory_bytes` are resident now.
    """

    processor: str
    group: str
    topic: str
    pid: int
    slot: int
    running: float
    joined: bool
    totals: Totals = Totals()
    commit_age: float | None = None
    commit_every: float = 0.0
    unanswered: float = 0.0
    doing: str = ""
    partitions: tuple[PartitionProgress, ...] = ()
    memory_bytes: int = 0

    @property
    def ready(self) -> bool:
        """Tell whether it is in its group and has restored what it owns."""
        return self.joined and not any(one.state == "restoring" for one in self.partitions)


def readable_key(key: bytes | None) -> str | None:
    """Return a record's key for people: text where it is text, bytes as Python writes them else; never long."""
    if key is None:
        return None
    text = key[: MOST_KEY * 4].decode(errors="backslashreplace")
    shown = repr(text) if text.isprintable() else repr(key[:MOST_KEY])
    return shown if len(shown) <= MOST_KEY else f"{shown[:MOST_KEY]}…"


class Activity:
    """What a worker notes for whoever looks from another thread: plain attributes, no locks. Times are its clock's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self.joined = False
        self.stepping: TopicPartition | None = None
        self.commits = 0
        self.aborts = 0
        self.committed_at: float | None = None
        self.process = Stopwatch()
        self.commit = Stopwatch()

    def begin_step(self, partition: TopicPartition) -> None:
        """Note that records of a partition are handled from now on."""
        self.stepping, self._began = partition, self._clock()

    def end_step(self, records: int) -> None:
        """Note that so many of them were."""
        self.stepping = None
        self.process.note(self._clock() - self._began, records)

    def begin_commit(self) -> None:
        """Note that a commit is tried."""
        self._began = self._clock()

    def end_commit(self) -> None:
        """Note that something was committed."""
        self.commits, self.committed_at = self.commits + 1, self._clock()
        self.commit.note(self.committed_at - self._began)
