"""Outside dependencies: a circuit breaker and a bulkhead around each call of something that is not Kafka."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from types import TracebackType
from typing import Literal, NamedTuple, Self

import structlog

from streams.duration import duration
from streams.errors import CircuitOpenError, HoldError, RecordError, RevokedError, StreamsError, UsageError

_log = structlog.get_logger(__name__)

_LEGAL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_NESTED = -1  # the epoch of a block inside another one of the same dependency: its outcome is not counted twice
_SAYS_NOTHING = (HoldError, RecordError, RevokedError, StreamsError)  # of whether the dependency works

_unguarded = ContextVar("unguarded", default=False)

State = Literal["closed", "open", "half-open"]


class DependencyState(NamedTuple):
    """What a dependency looks like at a moment.

    `seconds` is how long it has been closed or not closed, `failures` how many calls in a row failed, `reason` the
    last of them; `inside` calls run now and `waiting` ones have no room, since the start `probes` were let through
    and `refused` calls were not.
    """

    name: str
    state: State
    seconds: float
    failures: int
    reason: str
    inside: int
    waiting: int
    probes: int
    refused: int


class Dependency:
    """Something outside that may be down or slow: `with` (or `async with`) around each call of it. Thread-safe.

    An exception that leaves the block is a failure, unless it is of `ignore`. After `failures` of them in a row the
    circuit is open: entering raises CircuitOpenError, the worker puts the record back and holds its partition. After
    `open_for` one call is let through; its success closes the circuit, its failure opens it again. Of the calls, no
    more than `concurrency` run at once, others wait. Each process has a state of its own.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int = 5,
        open_for: str | timedelta = "30s",
        concurrency: int | None = None,
        ignore: tuple[type[Exception], ...] = (),
    ) -> None:
        """Name it; `App.dependency` is what makes it visible to health and tests.

        Raises:
            UsageError: the name or a number cannot be used.
        """
        if not _LEGAL_NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot name a dependency", fix="use lower-case letters, digits, underscores and hyphens"
            )
        for what, number in (("failures", failures), ("concurrency", concurrency)):
            if number is not None and number < 1:
                raise UsageError(f"dependency {name}: {what}={number}", fix="give 1 or more")
        self.name = name
        self._threshold = failures
        self._open_for = duration(open_for).total_seconds()
        self._concurrency = concurrency
        self._ignored = ignore
        self._lock = threading.Lock()
        self.reset()

    def reset(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Be closed, as at the start of a process; `clock` gives seconds."""
        self._clock = clock
        self._state: State = "closed"
        self._epoch = 0  # counts changes of state: a call that began before the last one does not decide
        self._since = self._tried = clock()
        self._failures, self._reason = 0, ""
        self._probes = self._refused = 0
        self._inside: dict[int, list[int]] = {}  # the epochs of each thread's or coroutine's blocks
        self._waiters: deque[Future[None]] = deque()

    def ready(self) -> bool:
        """Tell whether a call would be let through: the circuit is closed, or it is time for a probe."""
        return self._state == "closed" or (self._state == "open" and self._clock() >= self._tried + self._open_for)

    def state(self) -> DependencyState:
        """Return what it looks like now."""
        with self._lock:
            probing = self._state == "half-open" or (self._state == "open" and self.ready())
            return DependencyState(
                name=self.name,
                state="half-open" if probing else self._state,
                seconds=self._clock() - self._since,
                failures=self._failures,
                reason=self._reason,
                inside=len(self._inside),
                waiting=sum(not waiter.done() for waiter in self._waiters),
                probes=self._probes,
                refused=self._refused,
            )

    def __enter__(self) -> Self:
        """Begin a call; wait where there is no room.

        Raises:
            CircuitOpenError: the circuit is open.
            UsageError: it would have to wait in a coroutine.
        """
        while (room := self._admit()) is not None:
            if _task() is not None:
                raise UsageError(
                    f"dependency {self.name} is full, and waiting here would block every coroutine",
                    fix=f"write `async with {self.name}:` in async code",
                )
            room.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the call, and count how it went."""
        changed = self._leave(error)
        if changed is not None:
            tell = _log.info if changed == "closed" else _log.warning
            tell("circuit " + changed, dependency=self.name, failures=self._failures, reason=self._reason)

    async def __aenter__(self) -> Self:
        """Begin a call; wait where there is no room.

        Raises:
            CircuitOpenError: the circuit is open.
        """
        while (room := self._admit()) is not None:
            await asyncio.wrap_future(room)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the call, and count how it went."""
        self.__exit__(kind, error, trace)

    def _admit(self) -> Future[None] | None:
        """Let a call in; where there is no room, return what is done when it is worth trying again."""
        if _unguarded.get():
            return None
        with self._lock:
            me = _me()
            if me in self._inside:
                self._inside[me].append(_NESTED)
                return None
            if not self.ready():
                self._refused += 1
                raise CircuitOpenError(self.name, self.ready)
            if self._concurrency is not None and len(self._inside) >= self._concurrency:
                waiter: Future[None] = Future()
                self._waiters.append(waiter)
                return waiter
            if self._state == "open":
                self._probes += 1
                self._turn("half-open")
            self._inside[me] = [self._epoch]
            return None

    def _leave(self, error: BaseException | None) -> State | None:
        """Let a call out; return the state that this led to, if it is another one."""
        with self._lock:
            me = _me()
            blocks = self._inside.get(me)
            if blocks is None:  # it began before a reset or unguarded, or its event loop is gone
                return None
            epoch, before = blocks.pop(), self._state
            if not blocks:
                del self._inside[me]
            if epoch == self._epoch:
                self._count(error)
            while self._waiters:  # all of them: one that was cancelled would keep the news from the others
                waiter = self._waiters.popleft()
                if waiter.set_running_or_notify_cancel():
                    waiter.set_result(None)
            return self._state if self._state != before else None

    def _count(self, error: BaseException | None) -> None:
        if error is None or isinstance(error, self._ignored):
            self._failures = 0
            if self._state == "half-open":
                self._turn("closed")
        elif isinstance(error, _SAYS_NOTHING) or not isinstance(error, Exception):
            if self._state == "half-open":
                self._turn("open")  # with the time of the last try, so the next call is a probe at once
        else:
            self._failures += 1
            self._reason = f"{type(error).__name__}: {error}"
            if self._state == "half-open" or self._failures >= self._threshold:
                self._tried = self._clock()
                self._turn("open")

    def _turn(self, state: State) -> None:
        if "closed" in {state, self._state}:
            self._since = self._clock()
        self._state = state
        self._epoch += 1


@contextmanager
def unguarded() -> Iterator[None]:
    """Let every call in, and count none: for a judge that runs handlers again."""
    token = _unguarded.set(True)
    try:
        yield
    finally:
        _unguarded.reset(token)


def _task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None


def _me() -> int:
    task = _task()
    return threading.get_ident() if task is None else id(task)
