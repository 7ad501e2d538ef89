"""Production workers in threads of this process, so that an app may be defined inside a test."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import structlog

from streams.assembly import run_worker
from streams.errors import EXIT_FAILED, FencedError, StreamsError, UnreachableError
from streams.settings import Settings
from streams.topology import Processor

_log = structlog.get_logger(__name__)

RESTARTED = {EXIT_FAILED, FencedError.exit_code, UnreachableError.exit_code}
MOST_DEATHS = 5  # in a row
FIRST_BACKOFF = 0.5  # seconds; the first restart is at once
STEADY_AFTER = 30.0  # seconds of running that make the next death a first one again
DRAIN = 20.0  # seconds


class WorkerThreads:
    """Runs `workers` workers for each processor, from `start` to `stop`; what ends one is raised by `check`."""

    def __init__(self, processors: Sequence[Processor], settings: Settings, workers: int = 1) -> None:
        self._seats = [processor for processor in processors for _ in range(workers)]
        self._settings = settings
        self._threads: dict[threading.Thread, Processor] = {}
        self._stopping = threading.Event()
        self._failed: list[tuple[Processor, BaseException]] = []

    @property
    def running(self) -> bool:
        """Whether they were started and not stopped since."""
        return bool(self._threads)

    def start(self) -> None:
        """Start every worker that does not run."""
        if self._threads:
            return
        self._stopping.clear()
        for seat in self._seats:
            thread = threading.Thread(target=self._run, args=(seat,), name=f"worker-{seat.group}", daemon=True)
            self._threads[thread] = seat
            thread.start()

    def stop(self) -> None:
        """Have every worker commit what is done and end.

        Raises:
            StreamsError: one does not end; its handler hangs.
        """
        self._stopping.set()
        deadline = time.monotonic() + DRAIN
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        hung = sorted(seat.name for thread, seat in self._threads.items() if thread.is_alive())
        self._threads.clear()
        if hung:
            raise StreamsError(
                f"the worker of processor {hung[0]} does not end {DRAIN:g} s after it was told to",
                fix="look for what its handler waits for; the thread lives on until the process ends",
            )

    def check(self) -> None:
        """Raise what ended a worker, once.

        Raises:
            StreamsError: what the worker raised; anything else as the cause of one.
        """
        if not self._failed:
            return
        (processor, error), self._failed = self._failed[0], []
        if isinstance(error, StreamsError):
            error.add_note(f"it ended the worker of processor {processor.name}")
            raise error
        raise StreamsError(
            f"the worker of processor {processor.name} broke: {type(error).__name__}: {error}",
            where=f"group {processor.group}",
            fix="this is no error of a handler, those are refused by its policy; the traceback above says where",
        ) from error

    def _run(self, processor: Processor) -> None:
        """Be a worker; one that is fenced, or loses its broker for a while, begins afresh, as under a supervisor."""
        deaths = 0
        while True:
            started = time.monotonic()
            try:
                return run_worker(processor, self._settings, self._stopping.is_set)
            except StreamsError as error:
                deaths = 1 if time.monotonic() - started > STEADY_AFTER else deaths + 1
                if error.exit_code not in RESTARTED or deaths > MOST_DEATHS:
                    return self._failed.append((processor, error))
                _log.warning("worker ended, starting it again", processor=processor.name, reason=error.what)
            except BaseException as error:  # noqa: BLE001 - the boundary of the thread: the test's own thread raises it
                return self._failed.append((processor, error))
            if self._stopping.wait(0.0 if deaths == 1 else FIRST_BACKOFF * 2 ** (deaths - 2)):
                return None
