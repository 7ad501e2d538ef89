"""Starting again what may be started again, and ending as the first worker that may not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from streams import supervisor as module
from streams.settings import load_settings
from streams.supervisor import Job, Supervisor, supervise


class FakeProcess:
    """Stands for a worker process that ends when the test says so."""

    made: list[FakeProcess]

    def __init__(self, **_: object) -> None:
        self.sentinel, self._write = os.pipe()
        self.exitcode: int | None = None
        self.pid = 2**22 + len(self.made)  # more than any process id
        self.terminated = self.killed = self.started = False
        self.made.append(self)

    def start(self) -> None:
        self.started = True

    def is_alive(self) -> bool:
        return self.exitcode is None

    def end(self, code: int) -> None:
        self.exitcode = code
        os.close(self._write)

    def terminate(self) -> None:
        self.terminated = True

    def kill(self) -> None:
        self.killed = True

    def join(self, timeout: float | None = None) -> None:
        if self.exitcode is None and self.killed:
            self.end(-signal.SIGKILL)
        elif self.exitcode is None and timeout is None:
            raise AssertionError("would wait for ever")


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeProcess]]:
    FakeProcess.made = []

    class Context:
        Process = FakeProcess

        def set_forkserver_preload(self, names: list[str]) -> None:
            assert names[0] == "streams.supervisor"

    monkeypatch.setattr(module.multiprocessing, "get_context", lambda _: Context())
    yield FakeProcess.made
    for process in FakeProcess.made:
        if process.exitcode is None:
            process.end(0)
        os.close(process.sentinel)


def supervised(workers: int = 1) -> Supervisor:
    supervisor = Supervisor([Job("shop:app", "count", workers)], load_settings(file=Path("none")))
    supervisor.start()
    return supervisor


def test_every_worker_of_every_job_is_started(processes: list[FakeProcess]) -> None:
    supervisor = supervised(3)
    assert [process.started for process in processes] == [True] * 3
    assert supervisor.pids() == [process.pid for process in processes]


@pytest.mark.parametrize("code", [1, 5, -signal.SIGKILL, -signal.SIGSEGV, 128 + signal.SIGTERM])
def test_a_worker_that_crashed_is_started_again_at_once(processes: list[FakeProcess], code: int) -> None:
    """Somebody's SIGTERM to one worker is no reason to end the others: only the supervisor's own signal is."""
    supervisor = supervised()
    processes[0].end(code)
    supervisor.poll(0)
    supervisor.poll(0)
    assert supervisor.failed is None
    assert len(processes) == 2
    assert supervisor.restarts == 1


@pytest.mark.parametrize("code", [2, 3, 4, 6])
def test_a_failure_that_a_restart_does_not_mend_is_final(processes: list[FakeProcess], code: int) -> None:
    supervisor = supervised(2)
    processes[1].end(code)
    supervisor.poll(0)
    supervisor.poll(0)
    assert supervisor.failed == code
    assert len(processes) == 2


def test_a_cluster_that_was_there_and_went_away_is_waited_for(
    processes: list[FakeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first start it is a wrong address; later it is an outage, which may last."""
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    supervisor = supervised()
    now += module.STEADY_AFTER + 1
    for number in range(1, 5):
        processes[-1].end(5 if number == 1 else 3)
        supervisor.poll(0)
        now += module.MOST_BACKOFF
        supervisor.poll(0)
        assert supervisor.failed is None
        assert len(processes) == number + 1


def test_the_next_restarts_wait_longer_and_longer_however_often_it_dies(
    processes: list[FakeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    supervisor = supervised()
    waits = []
    for _ in range(1_200):
        processes[-1].end(1)
        supervisor.poll(0)
        before, made = now, len(processes)
        for _ in range(100):
            supervisor.poll(0)
            if len(processes) > made:
                break
            now += 0.5
        waits.append(now - before)
    assert waits[:8] == [0, 0.5, 1, 2, 4, 8, 16, 30]
    assert set(waits[8:]) == {30}


def test_a_worker_that_ran_for_a_while_is_started_at_once_again(
    processes: list[FakeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    supervisor = supervised()
    for number in range(1, 5):
        now += module.STEADY_AFTER + 1
        processes[-1].end(1)
        supervisor.poll(0)
        supervisor.poll(0)
        assert len(processes) == number + 1


def test_stop_has_every_worker_drain_and_kills_what_does_not(processes: list[FakeProcess]) -> None:
    supervisor = supervised(2)
    processes[0].end(143)
    supervisor.stop(grace=0.0)
    assert [process.terminated for process in processes] == [True, True]
    assert [process.killed for process in processes] == [False, True]
    assert supervisor.pids() == []


@pytest.fixture
def signals() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_drains_and_says_so_in_the_exit_code(
    processes: list[FakeProcess], monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    supervisor = Supervisor([Job("shop:app", "count", 2)], load_settings(file=Path("none")))
    monkeypatch.setattr(supervisor, "poll", lambda _timeout: os.kill(os.getpid(), number))
    stop = supervisor.stop
    monkeypatch.setattr(supervisor, "stop", lambda: stop(grace=0.0))
    assert supervise(supervisor) == code
    assert all(process.terminated for process in processes)


@pytest.mark.usefixtures("signals")
def test_the_second_signal_kills_what_is_left_even_if_some_have_ended(
    processes: list[FakeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor([Job("shop:app", "count", 2)], load_settings(file=Path("none")))
    monkeypatch.setattr(supervisor, "poll", lambda _timeout: os.kill(os.getpid(), signal.SIGTERM))

    def drained_half() -> None:
        processes[0].end(143)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(supervisor, "stop", drained_half)
    assert supervise(supervisor) == 143
    assert processes[1].killed


@pytest.mark.usefixtures("signals")
def test_a_final_failure_drains_the_others_and_is_the_exit_code(processes: list[FakeProcess]) -> None:
    supervisor = Supervisor([Job("shop:app", "count", 2)], load_settings(file=Path("none")))
    start = supervisor.start

    def started() -> None:
        start()
        processes[0].end(4)
        processes[1].end(143)

    supervisor.start = started  # type: ignore[method-assign]
    assert supervise(supervisor) == 4


@pytest.mark.usefixtures("signals")
def test_a_worker_is_told_to_stop_by_sigterm_alone_and_nothing_is_raised() -> None:
    """INV-10: raising in a signal handler would lose polled records."""
    stopping = module._Stopping()
    assert not stopping()
    os.kill(os.getpid(), signal.SIGINT)  # a terminal sends it to everybody; the supervisor decides
    assert not stopping()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stopping()


@pytest.mark.usefixtures("signals")
def test_a_worker_stops_when_its_supervisor_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Parent:
        def is_alive(self) -> bool:
            return False

    monkeypatch.setattr(module.multiprocessing, "parent_process", Parent)
    monkeypatch.setattr(module, "PARENT_CHECK", -1.0)
    assert module._Stopping()()


def test_real_processes_end_with_the_code_of_their_error(tmp_path: Path) -> None:
    """The module does not exist for the worker either, so it ends with 2 and one message.

    In a process of its own: a fork server that another test has started writes to that test's stderr.
    """
    script = (
        "import sys; from pathlib import Path\n"
        "from streams.settings import load_settings\n"
        "from streams.supervisor import Job, Supervisor, supervise\n"
        "sys.exit(supervise(Supervisor([Job('no_such_module:app', 'count')], load_settings(file=Path('none')))))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 2
    assert "error in processor count: module no_such_module cannot be imported" in ran.stderr
    assert "Traceback" not in ran.stderr
