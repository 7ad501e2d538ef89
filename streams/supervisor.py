"""One supervisor, many workers: a process for each processor and slot, from a fork server that imported the app.

A worker that dies by a signal, drains after one, or ends with exit 1 or 5 is started again, with backoff; so is one
that ran before and no longer reaches Kafka. Any other failure is one that a restart does not mend: the supervisor
drains the others and ends with the same code.

Each worker sends a snapshot of its progress every second through a pipe; the `board` has the newest ones.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, NamedTuple

import structlog

from streams import failpoints
from streams.engines import engine
from streams.errors import EXIT_FAILED, FencedError, StalledError, StreamsError, UnreachableError
from streams.health.board import STEADY_AFTER, Board
from streams.health.judge import stalls
from streams.load import load_app
from streams.logs import configure_logs
from streams.settings import Settings

_log = structlog.get_logger(__name__)

DRAINED = 128 + signal.SIGTERM
RESTARTED = frozenset({EXIT_FAILED, FencedError.exit_code, DRAINED})  # only the supervisor's own signal ends them all
FIRST_BACKOFF, MOST_BACKOFF = 0.5, 30.0  # seconds; the first restart is at once
MOST_DOUBLINGS = 10
GRACE = 30.0  # seconds for draining
STALLED_GRACE = 5.0  # what hangs will not drain; the others do
PARENT_CHECK = 1.0
LAST_WORDS = 1.0  # seconds for the last snapshot of a process that ended


class Job(NamedTuple):
    """So many workers for one processor of the app `target` (MODULE:APP); `group` names it before it has started."""

    target: str
    processor: str
    workers: int = 1
    group: str = ""


@dataclass
class _Seat:
    """One worker process and the ones that come after it."""

    target: str
    processor: str
    place: int  # on the board
    process: BaseProcess | None = None
    reader: threading.Thread | None = None
    started: float = 0.0
    deaths: int = 0
    start_at: float = 0.0


class Supervisor:
    """Starts, watches and stops worker processes."""

    def __init__(self, jobs: Sequence[Job], settings: Settings) -> None:
        self._settings = settings
        self.board = Board()
        self._seats = [
            _Seat(job.target, job.processor, self.board.place(job.processor, job.group or job.processor))
            for job in jobs
            for _ in range(job.workers)
        ]
        self._context = multiprocessing.get_context("forkserver")
        modules = {job.target.partition(":")[0] for job in jobs}
        self._context.set_forkserver_preload(["streams.supervisor", *sorted(modules)])
        self.failed: int | None = None
        self.stalled: StalledError | None = None
        self.restarts = 0

    def start(self) -> None:
        """Start every worker."""
        for seat in self._seats:
            self._start(seat)

    def poll(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for a worker to end; start again what may be; note what may not in `failed`."""
        sentinels = [seat.process.sentinel for seat in self._seats if seat.process is not None]
        wait(sentinels, timeout)
        self.board.tick()
        self._check_stalls()
        now = time.monotonic()
        for seat in self._seats:
            if seat.process is not None and not seat.process.is_alive():
                self._ended(seat, seat.process, now)
            elif seat.process is None and self.failed is None and now >= seat.start_at:
                self._start(seat)

    def pids(self, processor: str | None = None) -> list[int]:
        """Return the process ids of the workers that run, of one processor or of all."""
        seats = [seat for seat in self._seats if processor in {None, seat.processor}]
        return [seat.process.pid for seat in seats if seat.process is not None and seat.process.pid is not None]

    def kill(self) -> None:
        """End every worker that still runs, at once."""
        for seat in self._seats:
            if seat.process is not None:
                seat.process.kill()

    def stop(self, grace: float = GRACE) -> None:
        """Have every worker drain; kill what has not ended after `grace` seconds."""
        processes = [seat.process for seat in self._seats if seat.process is not None]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + grace
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                _log.warning("worker killed, it did not drain in time", pid=process.pid, grace=grace)
                process.kill()
                process.join()
        for seat in self._seats:
            seat.process = None

    def _start(self, seat: _Seat) -> None:
        first = seat.deaths == 0
        snapshots, report = multiprocessing.Pipe(duplex=False)
        arguments = (seat.target, seat.processor, self._settings.model_dump(), first, report)
        seat.process = self._context.Process(target=_work, args=arguments, name=f"worker-{seat.processor}", daemon=True)
        seat.process.start()
        report.close()  # the worker has it; with ours open its end would never be seen
        seat.started = time.monotonic()
        self.board.started(seat.place)
        seat.reader = threading.Thread(target=_read, args=(snapshots, self.board, seat.place), daemon=True)
        seat.reader.start()

    def _ended(self, seat: _Seat, process: BaseProcess, now: float) -> None:
        code = process.exitcode or 0
        seat.process = None
        if seat.reader is not None:
            seat.reader.join(LAST_WORDS)
        self.board.ended(seat.place)
        ran = seat.deaths > 0 or now - seat.started > STEADY_AFTER
        if code >= 0 and code not in RESTARTED and not (ran and code == UnreachableError.exit_code):
            self.failed = self.failed or code or EXIT_FAILED
            return
        seat.deaths = 1 if now - seat.started > STEADY_AFTER else seat.deaths + 1
        self.board.died(seat.place, seat.deaths)
        doublings = min(seat.deaths - 2, MOST_DOUBLINGS)
        backoff = 0.0 if seat.deaths == 1 else min(MOST_BACKOFF, FIRST_BACKOFF * 2**doublings)
        seat.start_at = now + backoff
        self.restarts += 1
        _log.warning("worker ended, starting it again", processor=seat.processor, exit=code, backoff=backoff)

    def _check_stalls(self) -> None:
        """Give up once something has stood still for `stall_exit`, if that is set."""
        bound = self._settings.stall_exit
        if bound is None or self.failed is not None:
            return
        found = stalls(self.board.views(), bound.total_seconds())
        if found:
            self.failed = StalledError.exit_code
            self.stalled = StalledError(str(found[0]), fix=found[0].fix)


def supervise(supervisor: Supervisor) -> int:
    """Run until a signal, or until a worker fails for good; return the exit code of the command.

    The first SIGINT or SIGTERM drains, the second kills.

    Raises:
        StalledError: nothing was finished for `stall_exit`.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            supervisor.kill()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    supervisor.start()
    while not received and supervisor.failed is None:
        supervisor.poll(0.2)
    if supervisor.stalled is not None:
        supervisor.stop(STALLED_GRACE)
        raise supervisor.stalled
    supervisor.stop()
    return supervisor.failed if supervisor.failed is not None else 128 + received[0]


class _Stopping:
    """Tells a worker to drain: after SIGTERM, or when its supervisor is gone."""

    def __init__(self) -> None:
        self._told = False
        self._checked = 0.0
        self._parent = multiprocessing.parent_process()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the supervisor decides
        signal.signal(signal.SIGTERM, self._tell)  # sets a flag only: raising in here would lose records

    def __call__(self) -> bool:
        if time.monotonic() - self._checked > PARENT_CHECK:
            self._checked = time.monotonic()
            self._told = self._told or (self._parent is not None and not self._parent.is_alive())
        return self._told

    def _tell(self, *_: Any) -> None:
        self._told = True


def _read(snapshots: Connection, board: Board, place: int) -> None:
    """Put a process's snapshots on the board until it ends: a thread of its own, for one may stop halfway through."""
    with snapshots:
        try:
            while True:
                board.put(place, snapshots.recv())
        except (EOFError, OSError):
            return


def _allow_files() -> None:
    """Take as many files as one may: each partition with state has three open, and 1,024 is the usual bound."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a system's own bound may be below what it tells
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _work(target: str, name: str, settings: dict[str, Any], first: bool, report: Connection) -> None:
    """Be a worker process; only the first one of its seat fails at failpoints, or it would do so for ever."""
    stopping = _Stopping()
    configured = Settings(**settings)
    configure_logs(configured.log_format, configured.log_level, processor=name)
    gc.freeze()  # what was imported lives for ever; collecting it again and again costs several percent
    gc.set_threshold(50_000, 20, 20)
    _allow_files()
    try:
        app = load_app(target)
        if first:
            failpoints.arm(name, app.processors)
        processor = app.select([name])[0]
        engine([processor], configured)(processor, configured, stopping, report.send)
    except StreamsError as error:
        print(f"error in processor {name}: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the command's last word, whatever the log's format
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001 - the boundary of the process: log it, end with a code
        _log.exception("worker failed")
        sys.exit(EXIT_FAILED)
    sys.exit(DRAINED)
