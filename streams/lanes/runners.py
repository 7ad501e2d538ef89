"""Where the handlers of lanes run: threads for blocking ones, one event loop for coroutines.

The worker's thread starts jobs and, in `turn`, does what the jobs' threads have for it: questions about state, and the
news that a job has ended. Nothing else crosses the border, so state, clients and lanes belong to one thread.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterable, Callable, Iterable
from concurrent.futures import CancelledError, Future
from itertools import islice
from typing import Any, Protocol, TypeVar, cast

from streams.errors import HandlerError, RevokedError
from streams.task import MAX_RECORD_OUTPUTS, NOT_SEVERAL

R = TypeVar("R")
J = TypeVar("J", bound="Job")


class Job:
    """One call of a handler; `lane` is what orders it. Whoever runs it sets `result` or `error`."""

    __slots__ = ("alone", "call", "ended", "error", "fenced", "lane", "result", "running", "size", "urgent")

    def __init__(self, lane: object, call: Callable[[], Any], *, urgent: bool = False, size: int = 0) -> None:
        """`size` is what it holds, in bytes.

        `call` gives what the handler gives: a value, several, or something to await or to iterate.

        An urgent job is the next of its lane, even while the lane is held.
        """
        self.lane: Any = lane
        self.call = call
        self.urgent = urgent
        self.size = size
        self.running = False
        self.ended = False
        self.fenced = False  # what comes of it is dropped
        self.alone = False  # nothing else runs while it does
        self.result: Any = None  # None, one value, or a list
        self.error: Exception | None = None

    def run(self) -> None:
        """Call a plain handler and draw all it yields; nothing comes out but in `result` or `error`."""
        try:
            self.result = drawn(self.call())
        except BaseException as error:  # noqa: BLE001 - user code may raise anything; its record pays, nobody else
            self.error = _told(error)

    async def run_async(self) -> None:
        """Do the same for a coroutine or an asynchronous generator."""
        try:
            given = self.call()
            self.result = await _several(given) if isinstance(given, AsyncIterable) else drawn(await given)
        except BaseException as error:  # noqa: BLE001 - what the handler cancels is its failure too
            self.error = _told(error)


class Runner(Protocol):
    """Runs jobs outside the straight path."""

    def start(self, job: J, ended: Callable[[J], None]) -> None:
        """Begin a job; once it is over, a later `turn` calls `ended`."""

    def ask(self, question: Callable[[], R]) -> R:
        """Have the worker's thread answer, from inside a job.

        Raises:
            RevokedError: there is no worker any more.
        """

    def turn(self, timeout: float) -> None:
        """Do what came from jobs; wait for the first so many seconds."""

    def close(self) -> None:
        """Refuse questions from now on; what runs ends by itself."""


class Mailbox:
    """What other threads have the worker's thread do."""

    def __init__(self) -> None:
        self._letters: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._asked: set[Future[Any]] = set()
        self._closed = False

    def post(self, letter: Callable[[], object]) -> None:
        """Have something done; what it raises comes out of `turn`."""
        self._letters.put(letter)

    def ask(self, question: Callable[[], R]) -> R:
        """Have the worker's thread answer, and wait for it.

        Raises:
            RevokedError: there is no worker any more.
        """
        future: Future[R] = Future()
        self._asked.add(future)
        if self._closed:  # set before `close` looks at what was asked: one of both sees the other
            future.cancel()
        self.post(lambda: _answer(future, question))
        try:
            return future.result()
        except CancelledError:
            raise RevokedError from None
        finally:
            self._asked.discard(future)

    def turn(self, timeout: float) -> None:
        """Do what is there; wait for the first so many seconds."""
        try:
            letter = self._letters.get(timeout > 0, timeout or None)
            while True:
                letter()
                letter = self._letters.get_nowait()
        except queue.Empty:
            return

    def close(self) -> None:
        """Answer nobody any more."""
        self._closed = True
        for future in self._asked.copy():
            future.cancel()


class ThreadRunner(Mailbox):
    """Runs plain handlers in threads of their own: at most `most` at a time."""

    def __init__(self, most: int, name: str = "lane") -> None:
        super().__init__()
        self._most = most
        self._name = name
        self._jobs: queue.SimpleQueue[tuple[Job, Callable[[Any], None]] | None] = queue.SimpleQueue()
        self._threads = 0

    def start(self, job: J, ended: Callable[[J], None]) -> None:
        """Begin a job in a thread that is free, or in a new one while there are fewer than `most`."""
        if self._threads < self._most:
            self._threads += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()
        self._jobs.put((job, ended))

    def close(self) -> None:
        """Let each thread end after its job; daemons all of them, so none holds up the end of the process."""
        super().close()
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (given := self._jobs.get()) is not None:
            job, ended = given
            job.run()
            self.post(_call(ended, job))


class LoopRunner(Mailbox):
    """Runs coroutines and asynchronous generators in one event loop, in one thread beside the worker's."""

    def __init__(self, name: str = "lanes") -> None:
        super().__init__()
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, job: J, ended: Callable[[J], None]) -> None:
        """Begin a job; the first one brings the loop up."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._run, args=[self._loop], name=self._name, daemon=True).start()
        self._loop.call_soon_threadsafe(self._spawn, job, ended)

    def close(self) -> None:
        """Let the loop end after the last of its jobs."""
        super().close()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    def _spawn(self, job: Job, ended: Callable[[Any], None]) -> None:
        assert self._loop is not None
        task = self._loop.create_task(self._finish(job, ended))
        self._tasks.add(task)  # the loop itself keeps no strong reference
        task.add_done_callback(self._done)

    async def _finish(self, job: Job, ended: Callable[[Any], None]) -> None:
        await job.run_async()
        self.post(_call(ended, job))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._closed:
            self._end()

    def _end(self) -> None:
        if not self._tasks and self._loop is not None:
            self._loop.stop()


def drawn(result: Any) -> Any:
    """Take all that a handler yields, here and now; one more than is allowed stands for any number more."""
    if result is None or isinstance(result, NOT_SEVERAL):
        return result
    return list(islice(cast("Iterable[Any]", result), MAX_RECORD_OUTPUTS + 1))


async def _several(given: AsyncIterable[Any]) -> list[Any]:
    values: list[Any] = []
    async for value in given:
        values.append(value)
        if len(values) > MAX_RECORD_OUTPUTS:
            break
    return values


def _told(error: BaseException) -> Exception:
    if isinstance(error, Exception):
        return error
    failure = HandlerError()
    failure.__cause__ = error
    return failure


def _answer(future: Future[Any], action: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(action())
    except Exception as error:  # noqa: BLE001 - whoever asked gets it
        future.set_exception(error)


def _call(function: Callable[[Any], None], job: Job) -> Callable[[], None]:
    return lambda: function(job)
