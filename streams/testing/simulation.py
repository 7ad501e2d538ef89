"""Workers of every processor taking turns on a cluster in memory, and the faults that befall them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

import structlog

from streams.errors import FencedError, StreamsError, UnreachableError, UsageError
from streams.failpoints import Failpoint, installed
from streams.record import RawRecord, Record
from streams.testing.faults import ANYWHERE, Fault, ProcessDied
from streams.testing.memory import Group
from streams.testing.process import Cluster, Process
from streams.testing.replay import TableReads
from streams.topology import Processor

MOST_TURNS = 10_000  # about ten seconds; and MORE_TURNS for every record that waits
MORE_TURNS = 10
MOST_PROBES = 30  # of a processor that is paused because most of its keys fail
SLICE = timedelta(milliseconds=500)  # of time that passes while something waits for it
MOMENT = timedelta(milliseconds=1)  # by which an interval is over, whatever rounding does to seconds
TURNS_WITHOUT = 8  # that others take while a process stands still
MOST_SLICES = 120  # in one `advance`; longer ones take larger slices


class Runtime:
    """One processor with its group and its worker processes; also what a fault does its work on."""

    def __init__(self, cluster: Cluster, processor: Processor, workers: int, others: Callable[[Process], None]) -> None:
        """`others` lets everybody else go on while a process stands still."""
        self.tables = TableReads()
        noting = self.tables.noting if processor.batches is None else self.tables.noting_batches
        handler = noting(processor.handler) if processor.tables else processor.handler
        self.declared = processor
        self.processor = replace(processor, handler=handler)
        self.group = Group(cluster.log, processor.group, processor.source.name)
        self.processes: dict[int, Process] = {}
        self.running: Process | None = None
        self.active = False  # a worker runs or starts
        self._cluster = cluster
        self._wanted = workers
        self._others = others
        self._steady = False
        self._stopped = False  # by a policy or an error: nothing starts it again

    @property
    def lag(self) -> int:
        """Count the offsets of the input that are not committed."""
        return self._cluster.log.lag(self.processor.group, self.processor.source.name)

    @property
    def waits(self) -> bool:
        """Tell whether something can only go on as time passes."""
        missing = not self._stopped and len(self.processes) < self._wanted
        return missing or any(process.worker.waits() for process in self.processes.values())

    def adjust(self) -> None:
        """Have as many workers as are wanted, and share the partitions among them."""
        if self._stopped or (self._steady and None not in self.group.owner.values()):
            return
        for number in [number for number in self.processes if number >= self._wanted]:
            self._survive(self.processes[number], self.processes[number].stop)
            self.processes.pop(number, None)
        self.active = True
        try:
            for number in range(self._wanted):
                if number not in self.processes:
                    self.processes[number] = Process(self._cluster, self.processor, self.group, number)
        except (UnreachableError, FencedError, ProcessDied):  # it is started again later, as a supervisor does
            return
        finally:
            self.active = False
        self.group.balance([process.consumer for process in self.processes.values()])
        self._steady = True

    def turn(self, process: Process) -> None:
        """Let a worker turn its loop; what ends its process ends it.

        Raises:
            StreamsError: the processor ended for good.
        """
        if self.processes.get(process.number) is process:  # a turn of another may have ended it
            self._survive(process, process.worker.run_once)

    def close(self) -> None:
        """Kill what runs."""
        for process in list(self.processes.values()):
            self._kill(process)
        self._stopped = True

    def happen(self, fault: Fault) -> None:
        """Let a fault happen between two turns of the first worker."""
        for process in list(self.processes.values())[:1]:
            self._survive(process, lambda: fault(self))

    # ---- what a fault can do ----

    def pass_time(self, by: timedelta) -> None:
        """Let the clock run."""
        self._cluster.clock.advance(by)

    def fence(self) -> None:
        """Take the running worker's transactional id over."""
        if self.running is not None:
            self.running.producer.fence()

    def evict(self) -> None:
        """Stop the running worker while the group throws it out and others take over."""
        stopped = self.running
        if stopped is None:
            return
        heirs = [process.consumer for process in self.processes.values() if process is not stopped]
        self.group.throw_out(stopped.consumer, heirs[0] if heirs else None)
        self.running, self.active = None, False
        self._others(stopped)
        self.running, self.active = stopped, True

    def redeliver(self, records: int) -> None:
        """Let the running worker get its last records once more."""
        if self.running is not None:
            self.running.consumer.redeliver(records)

    def want_workers(self, count: int) -> None:
        """Run in so many workers from the next turn on."""
        self._wanted = max(1, count)
        self._steady = False

    def poison(self, value: bytes) -> None:
        """Append bytes to the processor's input."""
        record: RawRecord = Record(self.processor.source.name, None, value, self._cluster.clock.now_ms())
        self._cluster.log.append(record)

    def registry_down(self, length: timedelta) -> None:
        """Have the registry not answer for a while."""
        registry = self._cluster.registry
        registry.down_until = max(registry.down_until, self._cluster.clock.seconds() + length.total_seconds())

    def _survive(self, process: Process, action: Callable[[], None]) -> None:
        before, self.running, self.active = self.running, process, True
        try:
            action()
        except ProcessDied:
            self._kill(process)
        except FencedError:
            self._fail(process)
        except StreamsError:
            self._fail(process)
            self.close()
            raise
        finally:
            self.running, self.active = before, before is not None

    def _fail(self, process: Process) -> None:
        try:
            process.stop(failed=True)
        except ProcessDied:
            process.kill()
        self._gone(process)

    def _kill(self, process: Process) -> None:
        process.kill()
        self._gone(process)

    def _gone(self, process: Process) -> None:
        if self.processes.get(process.number) is process:  # not the one that has its slot by now
            del self.processes[process.number]
        self._steady = False


@dataclass
class _Armed:
    """A fault that waits for its step."""

    fault: Fault
    step: Failpoint
    processor: str | None
    hits: int


class Simulation:
    """Every processor of an app on one cluster."""

    def __init__(
        self,
        cluster: Cluster,
        processors: dict[str, Processor],
        workers: int,
        random: Random,
        *,
        auto_advance: bool = True,
    ) -> None:
        """With `auto_advance`, `settle` lets time pass until every retry is decided."""
        self._auto_advance = auto_advance
        self._probes = 0
        self.cluster = cluster
        self.runtimes = {
            name: Runtime(cluster, processor, workers, self._without) for name, processor in processors.items()
        }
        self.happened: Counter[str] = Counter()
        self._random = random
        self._armed: list[_Armed] = []
        self._stopped: list[Process] = []

    def settle(self, *, retries: bool = True) -> None:
        """Let the workers turn until nothing is left that they could do; time passes only up to commits and `retries`.

        A processor that paused because most of its keys fail gets some attempts, and is then left as it is.

        Raises:
            StreamsError: a processor ended for good, or processors feed each other without end.
        """
        most = MOST_TURNS + MORE_TURNS * sum(runtime.lag for runtime in self.runtimes.values())
        self._probes = 0
        with self._watched():
            for _ in range(most):
                if not self._round() and not self._wake() and not (retries and self._reach_retry()):
                    return
        behind = ", ".join(name for name, runtime in self.runtimes.items() if runtime.lag)
        raise UsageError(
            f"the processors do not come to rest in {most} turns; behind: {behind}", fix="look for a loop of topics"
        )

    def advance(self, by: timedelta) -> None:
        """Let time pass; while something waits for it, in slices with a turn of everybody after each."""
        self.settle()
        slice_, left = max(SLICE, by / MOST_SLICES), by
        while left:
            waits = any(runtime.waits for runtime in self.runtimes.values())
            step = min(left, slice_) if waits else left
            self._pass(step)
            left -= step
            with self._watched():
                for runtime, process in self._processes():
                    runtime.turn(process)
            self.settle(retries=False)

    def inject(self, fault: Fault, at: Failpoint | None, processor: str | None, hit: int) -> None:
        """Let a fault happen at a step, or now.

        Raises:
            UsageError: it cannot happen there, or there is no such processor, or no worker of it runs now.
        """
        if isinstance(fault, type) or not hasattr(fault, "steps"):
            name = getattr(fault, "__name__", repr(fault))
            raise UsageError(f"{name} is not a fault that can happen", fix="give one of streams.testing, as Crash()")
        if hit < 1:
            raise UsageError(f"there is no hit {hit} from now on", fix="give 1 for the next one, or more")
        if processor is not None and processor not in self.runtimes:
            raise UsageError(f"there is no processor {processor}", fix=f"name one of {', '.join(self.runtimes)}")
        if at is not None and at in fault.steps:
            self._armed.append(_Armed(fault, Failpoint(at), processor, hit))  # a name will do
        elif at is None and fault.steps == ANYWHERE:
            self.settle()  # so that there is a worker for it to happen to
            name = processor or next(iter(self.runtimes))
            if not self.runtimes[name].processes:
                raise UsageError(f"no worker of {name} runs: nothing to happen to", fix="inject it earlier")
            self.happened[fault.kind] += 1
            with _quiet():
                self.runtimes[name].happen(fault)
        else:
            raise UsageError(
                f"{fault.kind} cannot happen at {at or 'any time'}", fix=f"use one of {', '.join(sorted(fault.steps))}"
            )

    def disarm(self) -> list[str]:
        """Take back the faults whose step nobody came by, and say which they were."""
        waiting = [f"{one.fault.kind} at {one.step}" for one in self._armed]
        self._armed.clear()
        return waiting

    def close(self) -> None:
        """Kill every worker."""
        for runtime in self.runtimes.values():
            runtime.close()

    def busy(self) -> str | None:
        """Name the processor whose worker is in the middle of something."""
        return next((name for name, runtime in self.runtimes.items() if runtime.active), None)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        with _quiet(), installed(self._reached) if self._armed else nullcontext():
            yield

    def _round(self) -> bool:
        """Let everybody turn who can do something; return whether anybody could, or time brought something."""
        self.cluster.log.turn()
        for runtime in self.runtimes.values():
            if not any(process in self._stopped for process in runtime.processes.values()):
                runtime.adjust()
        everybody = list(self._processes())
        turning = [one for one in everybody if one[1].has_work()]
        if not turning and self.cluster.log.unmarked():
            return True
        if not turning:
            turning = [one for one in everybody if one[1].worker.uncommitted()]
            if turning:
                commit = min(process.interval for _, process in turning) + MOMENT
                self._pass(min([commit, *self._sleeps()]))
        self._random.shuffle(turning)
        for runtime, process in turning:
            runtime.turn(process)
        return bool(turning)

    def _sleeps(self) -> list[timedelta]:
        """Return how long handlers still sleep, the first of each process."""
        return [sleep + MOMENT for _, process in self._processes() if (sleep := process.sleep()) is not None]

    def _wake(self) -> bool:
        """Let time pass up to the next end of a sleep, or a retry before it, if a handler sleeps."""
        sleeps, now = self._sleeps(), self.cluster.clock.now_ms()
        if not sleeps:
            return False
        due = [process.worker.next_due() for _, process in self._processes()] if self._auto_advance else []
        self._pass(min([*sleeps, *(timedelta(milliseconds=at - now) for at in due if at is not None and at > now)]))
        return True

    def _reach_retry(self) -> bool:
        """Let time pass up to the next retry, if there is one to be waited for."""
        workers = [process.worker for _, process in self._processes()] if self._auto_advance else []
        due = [at for worker in workers if (at := worker.next_due()) is not None]
        if not due:
            return False
        if any(worker.suspended for worker in workers):
            self._probes += 1
            if self._probes > MOST_PROBES:
                return False
        now = self.cluster.clock.now_ms()
        self._pass(timedelta(milliseconds=max(1, min(due) - now)))
        return True

    def _pass(self, by: timedelta) -> None:
        self.cluster.clock.advance(by)
        for producer in list(self.cluster.log.producers.values()):
            producer.expire()

    def _without(self, process: Process) -> None:
        """Let everybody else take some turns, and time for a commit pass."""
        self._stopped.append(process)
        for _ in range(TURNS_WITHOUT):
            if not self._round():
                break
        self._stopped.remove(process)

    def _processes(self) -> Iterator[tuple[Runtime, Process]]:
        for runtime in self.runtimes.values():
            for process in list(runtime.processes.values()):
                if process not in self._stopped:
                    yield runtime, process

    def _reached(self, step: Failpoint) -> None:
        """Let the armed faults happen whose step this is."""
        name = self.busy()
        if name is None:
            return
        for armed in [one for one in self._armed if one.step is step and one.processor in {None, name}]:
            armed.hits -= 1
            if armed.hits == 0:
                self._armed.remove(armed)
                self.happened[armed.fault.kind] += 1
                armed.fault(self.runtimes[name])


class _Warnings(structlog.PrintLogger):
    """Prints what is a warning or worse."""

    def debug(self, message: str) -> None:
        """Print nothing."""

    info = debug


def _logger(*names: Any) -> structlog.PrintLogger:
    ours = bool(names) and str(names[0]).startswith("streams.")
    return _Warnings() if ours else structlog.PrintLogger()


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave the toolkit's own chatter out of a test's output, where nobody configured the log: it is put back after."""
    if structlog.is_configured():
        yield
        return
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain], logger_factory=_logger)
    ours = structlog.get_config()
    try:
        yield
    finally:
        if structlog.get_config() == ours:
            structlog.reset_defaults()
        elif structlog.get_config()["logger_factory"] is _logger:  # a handler configured the rest meanwhile
            structlog.configure(logger_factory=structlog.PrintLoggerFactory())
