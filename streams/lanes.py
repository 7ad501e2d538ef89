"""Lanes: jobs of one key in their order, jobs of different keys beside each other, so many at a time.

A lane is the queue of one key. What comes of a job is looked at before the next one of its lane begins; if it failed,
its lane is held until whoever decides about it releases it. Nothing that runs is ever cancelled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from streams.runners import Job, Runner


class Lanes:
    """Starts jobs in the order of their lanes; belongs to the worker's thread."""

    def __init__(self, runner: Runner, concurrency: int, finished: Callable[[Job], None]) -> None:
        """Run at most `concurrency` jobs at a time.

        `finished` is told of each job that was not fenced, before the next one of its lane; it may set `error`.
        """
        self.running = 0
        self._runner = runner
        self._concurrency = concurrency
        self._finished = finished
        self._queues: dict[object, deque[Job]] = {}
        self._busy: set[object] = set()
        self._held: set[object] = set()
        self._free: dict[object, None] = {}  # lanes whose next job may begin, in the order in which they became so

    def add(self, job: Job) -> None:
        """Put a job into its lane: an urgent one first, any other last."""
        jobs = self._queues.setdefault(job.lane, deque())
        (jobs.appendleft if job.urgent else jobs.append)(job)
        self._go_on(job.lane)

    def turn(self, timeout: float) -> None:
        """Take in what has ended and answer what jobs ask; wait for the first so many seconds."""
        self._runner.turn(timeout)

    def held(self) -> list[object]:
        """Return the lanes that are held."""
        return list(self._held)

    def hold(self, lane: object) -> None:
        """Begin nothing more in a lane but what is urgent."""
        self._held.add(lane)
        self._go_on(lane)

    def release(self, lane: object) -> None:
        """Let a held lane go on."""
        self._held.discard(lane)
        self._go_on(lane)

    def fence(self, jobs: Iterable[Job]) -> None:
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
            self._go_on(lane)

    def close(self) -> None:
        """Begin nothing more."""
        self._queues.clear()
        self._free.clear()
        self._runner.close()

    def _go_on(self, lane: object) -> None:
        """Put a lane among the free ones, or take it away from them; then begin what may begin."""
        jobs = self._queues.get(lane)
        if not jobs:
            self._queues.pop(lane, None)
        if jobs and lane not in self._busy and (lane not in self._held or jobs[0].urgent):
            self._free.setdefault(lane)
        else:
            self._free.pop(lane, None)
        while self._free and self.running < self._concurrency:
            self._begin(next(iter(self._free)))

    def _begin(self, lane: object) -> None:
        del self._free[lane]
        job = self._queues[lane].popleft()
        self._busy.add(lane)
        self.running += 1
        job.running = True
        self._runner.start(job, self._ended)

    def _ended(self, job: Job) -> None:
        self.running -= 1
        self._busy.discard(job.lane)
        job.running, job.ended = False, True
        if not job.fenced:
            self._finished(job)
            if job.error is not None:
                self._held.add(job.lane)
        self._go_on(job.lane)
