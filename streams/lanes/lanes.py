"""Lanes: jobs of one key in their order, jobs of different keys beside each other, so many at a time.

A lane is the queue of one key. What comes of a job is looked at before the next one of its lane begins; if it failed,
its lane is held until whoever decides about it releases it. Nothing that runs is ever cancelled.
A job that has to be alone begins once nothing runs; until then and while it runs nothing else begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from streams.lanes.runners import Job, Runner

J = TypeVar("J", bound=Job)


class Lanes(Generic[J]):
    """Starts jobs in the order of their lanes; belongs to the worker's thread."""

    def __init__(self, runner: Runner, concurrency: int, finished: Callable[[J], None]) -> None:
        """Run at most `concurrency` jobs at a time.

        `finished` is told of each job that was not fenced, before the next one of its lane; it may set `error`.
        """
        self.running = 0
        self._runner = runner
        self._concurrency = concurrency
        self._finished = finished
        self._stopped = False
        self._alone = False  # the one that runs has to be
        self._queues: dict[object, deque[J]] = {}
        self._busy: set[object] = set()
        self.held: set[Any] = set()  # lanes of which nothing more begins but what is urgent
        self._free: dict[object, None] = {}  # lanes whose next job may begin, in the order in which they became so

    def add(self, job: J) -> None:
        """Put a job into its lane: an urgent one first, any other last."""
        jobs = self._queues.setdefault(job.lane, deque())
        (jobs.appendleft if job.urgent else jobs.append)(job)
        self._review(job.lane)

    def is_idle(self, lane: object) -> bool:
        """Tell whether a job of this lane would begin before any other one of it."""
        return lane not in self._busy and lane not in self.held and lane not in self._queues

    def hold(self, lane: object) -> None:
        """Begin nothing more in a lane but what is urgent."""
        self.held.add(lane)
        self._review(lane)

    def release(self, lane: object) -> None:
        """Let a held lane go on."""
        self.held.discard(lane)
        self._review(lane)

    def fence(self, jobs: Iterable[J]) -> None:
        """Give jobs up: those that did not begin never will; what comes of the others is dropped.

        A job that runs goes on, and its lane waits for it: two jobs of a key never run at the same time.
        """
        given_up = list(jobs)
        waiting = [job for job in given_up if not job.running and not job.ended and not job.fenced]
        for job in given_up:
            job.fenced = True
        for job in waiting:
            self._queues[job.lane].remove(job)
        for lane in {job.lane: None for job in waiting}:  # only now: none of them may begin meanwhile
            self._review(lane)

    def stop(self) -> None:
        """Begin nothing until `go_on`."""
        self._stopped = True

    def go_on(self) -> None:
        """Begin again what may begin."""
        self._stopped = False
        self._begin()

    def close(self) -> None:
        """Begin nothing more, and let the runner end."""
        self._stopped = True
        self._runner.close()

    def _review(self, lane: object) -> None:
        """Put a lane among the free ones, or take it away from them; then begin what may begin."""
        jobs = self._queues.get(lane)
        if not jobs:
            self._queues.pop(lane, None)
        if jobs and lane not in self._busy and (lane not in self.held or jobs[0].urgent):
            self._free.setdefault(lane)
        else:
            self._free.pop(lane, None)
        self._begin()

    def _begin(self) -> None:
        while self._free and self.running < self._concurrency and not self._stopped:
            lane = next(iter(self._free))
            alone = self._queues[lane][0].alone
            if self.running and (alone or self._alone):
                return
            del self._free[lane]
            job = self._queues[lane].popleft()
            self._alone = alone
            self._busy.add(lane)
            self.running += 1
            job.running = True
            self._runner.start(job, self._ended)

    def _ended(self, job: J) -> None:
        self.running -= 1
        self._busy.discard(job.lane)
        job.running, job.ended = False, True
        if not job.fenced:
            self._finished(job)
            if job.error is not None:
                self.held.add(job.lane)
        self._review(job.lane)
