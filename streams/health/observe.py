"""Looking at a worker from another thread of its process: one that hangs in a handler still has to be told of.

Nothing is locked and nothing is asked of the worker's thread: plain attributes are read as they are, and a snapshot may
mix two moments. What matters is what stays the same from one to the next. The consumer is not touched: a call from
another thread waits until no other call is on, and with a worker that polls that may be never (seen with 2.16).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import structlog

from streams.failures.waiting import Entry
from streams.failures.waiting_record import WaitingStatus
from streams.health.progress import Activity, PartitionProgress, State, Totals, WorkerProgress, readable_key
from streams.health.stack import Doing, doing
from streams.health.usage import usage
from streams.owned import Owned
from streams.record import RawRecord, TopicPartition
from streams.topology import Processor, Runs
from streams.watch.ends import EndWatch

_log = structlog.get_logger(__name__)

TURN = "its turn"
DELIVERY = "records that Kafka does not hand out: an open transaction, or no answer"
EVERY = 1.0  # seconds between two snapshots
EVERY_AT_FIRST = 0.2  # until it is ready: somebody waits for that


class _Wait(NamedTuple):
    """What a partition waits on, and at which record if it is that one's fault."""

    why: str = ""
    offset: int | None = None
    key: bytes | None = None
    state: State = "running"


class Observed(Protocol):
    """What is looked at of a worker."""

    activity: Activity

    @property
    def counts(self) -> Mapping[str, int]:
        """What became of records."""

    @property
    def owned(self) -> Mapping[TopicPartition, Owned]:
        """The partitions that it owns."""

    def left_to_restore(self, owned: Owned) -> int:
        """Return how many records a partition's state is away from running."""


class Observer:
    """Makes snapshots of one worker; used by one thread."""

    def __init__(
        self,
        worker: Observed,
        processor: Processor,
        slot: int,
        watch: EndWatch,
        commit_every: float,
        *,
        thread: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`thread` is the worker's own, `commit_every` in seconds."""
        self._worker = worker
        self._processor = processor
        self._slot = slot
        self._watch = watch
        self._commit_every = commit_every
        self._thread = thread
        self._clock = clock
        self._started = clock()
        self._since: dict[TopicPartition, tuple[tuple[State, str, int | None], float]] = {}
        self._newest: dict[TopicPartition, int] = {}  # timestamps of records seen at the head

    def look(self) -> WorkerProgress:
        """Make a snapshot; it asks nobody.

        Raises:
            RuntimeError: something changed while it was looked at.
        """
        worker, now = self._worker, self._clock()
        owned = dict(worker.owned.items())
        for known in (self._since, self._newest):
            for gone in known.keys() - owned.keys():
                del known[gone]
        seen, activity, used = doing(self._thread), worker.activity, usage()
        totals = Totals(
            dict(worker.counts),
            activity.commits,
            activity.aborts,
            activity.process.read(),
            activity.commit.read(),
            used.cpu_seconds,
        )
        return WorkerProgress(
            self._processor.name,
            self._processor.group,
            self._processor.source.name,
            os.getpid(),
            self._slot,
            now - self._started,
            activity.joined,
            totals,
            None if activity.committed_at is None else now - activity.committed_at,
            self._commit_every,
            self._watch.unanswered,
            seen.call,
            tuple(self._partition(partition, one, seen, now) for partition, one in owned.items()),
            used.memory_bytes,
        )

    def _partition(self, partition: TopicPartition, owned: Owned, seen: Doing, now: float) -> PartitionProgress:
        buffer = owned.buffer[:1] + owned.buffer[-1:]
        done, committed = owned.done or 0, owned.committed or 0
        if owned.ready and not buffer and (owned.end or 0) > done:  # one that feeds itself never commits its end
            done, committed = owned.end or 0, owned.end or 0 if committed == done else committed
        end = max(self._watch.ends.get(partition, 0), buffer[-1].offset + 1 if buffer else 0, done)
        remaining = 0 if owned.ready else self._worker.left_to_restore(owned)
        wait = self._wait(partition, owned, seen, remaining, behind=end > done)
        waiting = () if owned.task.waiting is None else tuple(owned.task.waiting.entries.values())
        parked = sum(entry.status is WaitingStatus.PARKED for entry in waiting)
        if buffer:
            self._newest[partition] = buffer[0].timestamp_ms
        times = _times(waiting)
        if end > done and partition in self._newest:  # between two polls, about that of the last one that was there
            times.append(self._newest[partition])
        return PartitionProgress(
            *partition,
            position=done,
            committed=committed,
            end=end,
            state=wait.state,
            oldest_ms=min(times, default=None),
            waits_on=wait.why,
            waited=self._waited(partition, wait, now),
            offset=wait.offset,
            key=readable_key(wait.key),
            waiting=len(waiting) - parked,
            parked=parked,
            remaining=remaining,
        )

    def _waited(self, partition: TopicPartition, wait: _Wait, now: float) -> float:
        """Return since when it has been this kind of wait at this record: a handler's line, a count may change."""
        kind = (wait.state, wait.why.partition(" ")[0], wait.offset)
        before, since = self._since.get(partition, (kind, now))
        self._since[partition] = (kind, since if kind == before else now)
        return now - self._since[partition][1]

    def _wait(self, partition: TopicPartition, owned: Owned, seen: Doing, remaining: int, *, behind: bool) -> _Wait:
        if not owned.ready:
            return _Wait(f"restore, {remaining} records to go", state="restoring")
        hold, head = owned.hold, owned.buffer[:1]
        if hold is not None:
            return _Wait(hold.reason, *_place(head), "held")
        stepping = self._worker.activity.stepping
        if stepping == partition:
            running = owned.task.running
            at = f" at {seen.handler}" if seen.handler else ""
            return _Wait(f"handler {self._processor.name}{at}", *_place(head if running is None else [running]))
        if head and self._processor.runs is not Runs.IN_STEP:
            return _Wait(f"handler {self._processor.name}", *_place(head))
        busy = f"its worker, whose handler is at {stepping.topic}[{stepping.partition}]" if stepping else seen.call
        if head or behind:
            return _Wait(busy or (TURN if head else DELIVERY))
        return _Wait(busy or "its commit") if owned.done != owned.committed else _Wait(seen.call, state="idle")


def _place(record: list[RawRecord]) -> tuple[int | None, bytes | None]:
    return (record[0].offset, record[0].key) if record else (None, None)


def _times(waiting: Iterable[Entry]) -> list[int]:
    """Return the timestamps of what waits, without keys that are parked: those wait for people."""
    entries = list(waiting)
    parked = {entry.key for entry in entries if entry.status is WaitingStatus.PARKED and entry.key is not None}
    tried = [entry for entry in entries if entry.status is not WaitingStatus.PARKED and entry.key not in parked]
    return [entry.timestamp_ms for entry in tried]


class Reporter(threading.Thread):
    """Sends snapshots to the supervisor while the worker runs, and a last one when it is closed."""

    def __init__(self, look: Callable[[], WorkerProgress], send: Callable[[WorkerProgress], None]) -> None:
        super().__init__(name="progress", daemon=True)
        self._look = look
        self._send = send
        self._ended = threading.Event()
        self._ready = False

    def run(self) -> None:
        """Send until it is closed, or until nobody listens; the thread's own."""
        while self._told() and not self._ended.wait(EVERY if self._ready else EVERY_AT_FIRST):
            pass

    def close(self) -> None:
        """Send no more but once."""
        self._ended.set()
        self.join(EVERY)
        self._told()

    def _told(self) -> bool:
        try:
            told = self._look()
            self._ready = self._ready or told.ready
            self._send(told)
        except OSError:
            return False
        except RuntimeError as error:  # something changed while it was looked at
            _log.debug("no snapshot", reason=str(error))
        return True
