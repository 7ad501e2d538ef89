"""Handlers of lanes in a test: on the test's own thread, begun and ended in an order that comes from the seed.

Time inside coroutines is the driver's: what sleeps for a minute is over once the clock has moved on by one.
"""

from __future__ import annotations

import asyncio
import time
from asyncio.events import _get_running_loop, _set_running_loop
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context as Variables
from random import Random
from typing import Any, TypeVar, TypeVarTuple

from streams.errors import RevokedError
from streams.lanes.runners import Job

R = TypeVar("R")
J = TypeVar("J", bound=Job)
Arguments = TypeVarTuple("Arguments")
Ended = Callable[[Any], None]

REAL_WAIT = 0.001  # seconds; for a coroutine that waits for something outside of the test's time


class TurnRunner:
    """Runs plain handlers, each at some turn after it was started, and tells of its end at a later one."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._waiting: list[tuple[Job, Ended]] = []
        self._over: list[tuple[Job, Ended]] = []
        self._closed = False

    def start(self, job: J, ended: Callable[[J], None]) -> None:
        """Have a job run at a later turn."""
        self._waiting.append((job, ended))

    def ask(self, question: Callable[[], R]) -> R:
        """Answer at once: there is one thread.

        Raises:
            RevokedError: the process has ended.
        """
        if self._closed:
            raise RevokedError
        return question()

    def turn(self, timeout: float) -> None:  # noqa: ARG002 - the clock is the driver's
        """Run some jobs and tell of the end of some; of one at least if there is any."""
        for _ in range(self._random.randint(1, 1 + len(self._waiting) + len(self._over))):
            if self._waiting and (not self._over or self._random.random() < 0.5):  # noqa: PLR2004 - one or the other
                self._run(*_taken(self._random, self._waiting))
            elif self._over:
                job, ended = _taken(self._random, self._over)
                ended(job)

    def close(self) -> None:
        """Run nothing more."""
        self._closed = True
        self._waiting.clear()
        self._over.clear()

    def has_work(self) -> bool:
        """Tell whether a turn would do something without time passing."""
        return bool(self._waiting or self._over)

    def next_time(self) -> float | None:
        """Return the time for which a handler sleeps, in seconds of the clock; None if none does."""
        return None

    def _run(self, job: Job, ended: Ended) -> None:
        job.run()
        self._over.append((job, ended))


class CoroutineRunner(TurnRunner):
    """Runs coroutines beside each other, in virtual time."""

    def __init__(self, random: Random, seconds: Callable[[], float]) -> None:
        super().__init__(random)
        self._loop = VirtualLoop(seconds)
        self._tasks: set[asyncio.Task[None]] = set()

    def turn(self, timeout: float) -> None:
        """Begin some, let all go on as far as they get, and tell of the end of some."""
        super().turn(timeout)
        if self._tasks:
            self._loop.go_on()
            if not self._over and self._loop.next_time() is None:
                time.sleep(REAL_WAIT)

    def close(self) -> None:
        """Cancel what runs, since nobody will ever let it go on."""
        super().close()
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            self._loop.go_on()
        self._loop.close()

    def has_work(self) -> bool:
        """Tell whether a turn would do something; a coroutine that waits for something real might go on any time."""
        return super().has_work() or (bool(self._tasks) and (self._loop.is_due() or self._loop.next_time() is None))

    def next_time(self) -> float | None:
        """Return the time for which a coroutine sleeps."""
        return self._loop.next_time() if self._tasks else None

    def _run(self, job: Job, ended: Ended) -> None:
        task = self._loop.create_task(self._finish(job, ended))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, job: Job, ended: Ended) -> None:
        await job.run_async()
        self._over.append((job, ended))


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is somebody else's; it runs only while it is told to go on."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        super().__init__()
        self._seconds = seconds
        self._soon = False
        self._timers: list[asyncio.TimerHandle] = []

    def __del__(self) -> None:
        """Go quietly with a driver that nobody closed."""
        if not self.is_closed():
            self.close()

    def time(self) -> float:
        """Return the virtual time."""
        return self._seconds()

    def call_soon(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Variables | None = None
    ) -> asyncio.Handle:
        """Note that there is something to do."""
        self._soon = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Variables | None = None,
    ) -> asyncio.TimerHandle:
        """Note when there will be."""

        def called() -> None:
            self._timers.remove(handle)
            callback(*args)

        handle = super().call_at(when, called, context=context)
        self._timers.append(handle)
        return handle

    def go_on(self) -> None:
        """Run until nothing is left to do at this time."""
        with _alone():
            while True:
                self._soon = False
                super().call_soon(self.stop)
                self.run_forever()
                if not self._soon and not self.is_due():
                    return

    def is_due(self) -> bool:
        """Tell whether a timer's time has come."""
        when = self.next_time()
        return when is not None and when <= self.time()

    def next_time(self) -> float | None:
        """Return the time of the next timer."""
        self._timers = [handle for handle in self._timers if not handle.cancelled()]
        return min((handle.when() for handle in self._timers), default=None)


def complete(call: Callable[[], Any]) -> Any:
    """Return what an asynchronous handler gives, or raise what it raises; its sleeps are over at once."""
    now, job = 0.0, Job(None, call)
    loop = VirtualLoop(lambda: now)
    task = loop.create_task(job.run_async())
    while not task.done():
        loop.go_on()
        when = loop.next_time()
        if when is not None:
            now = max(now, when)
        elif not task.done():
            time.sleep(REAL_WAIT)
    loop.close()
    if job.error is not None:
        raise job.error
    return job.result


@contextmanager
def _alone() -> Iterator[None]:
    """Let a loop run inside a coroutine of the test's own loop."""
    outer = _get_running_loop()
    _set_running_loop(None)
    try:
        yield
    finally:
        _set_running_loop(outer)


def _taken(random: Random, held: list[R]) -> R:
    return held.pop(random.randrange(len(held)))
