"""Starting again what may be started again, and ending as the first worker that may not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams import supervisor as module
from streams.errors import StalledError
from streams.health.board import Board
from streams.health.progress import PartitionProgress, Totals, WorkerProgress
from streams.settings import load_settings
from streams.supervisor import Job, Supervisor, supervise


class FakeProcess:
    """Stands for a worker process that ends when the test says so."""

    made: list[FakeProcess]

    def __init__(self, *, args: tuple[Any, ...], **_: object) -> None:
        self.report = Connection(os.dup(args[-1].fileno()), readable=False)  # the worker's own end of the pipe
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
        self.report.close()
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

    supervisor.start = started  # type: ignore[method-assign] # replaced for this test
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


def told(committed: int, key: str = "'a'") -> WorkerProgress:
    one = PartitionProgress("in", 2, committed, committed, 9, "running", None, "handler count at a.py:1", 4.0, 5, key)
    return WorkerProgress("count", "shop.count", "in", 1, 0, 1.0, joined=True, partitions=(one,))


def test_snapshots_of_workers_arrive_on_the_board_and_outlive_them(
    processes: list[FakeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Board.put
    monkeypatch.setattr(Board, "put", lambda *given: (time.sleep(0.2), put(*given)))
    supervisor = supervised()
    report = processes[0].report
    sent = told(5)._replace(totals=Totals({"processed": 7}))
    report.send(sent)
    wait_until(lambda: supervisor.board.views()[0].progress == sent)
    reader = supervisor._seats[0].reader
    report.send(sent._replace(totals=Totals({"processed": 8})))
    processes[0].end(1)
    supervisor.poll(0)
    assert reader is not None
    assert not reader.is_alive()  # it saw the end of the pipe
    (view,) = supervisor.board.views()
    assert (view.alive, view.deaths, view.totals.counts) == (False, 1, {"processed": 8})
    supervisor.poll(0)
    assert [(view.alive, view.restarts) for view in supervisor.board.views()] == [(True, 1)]


def test_without_progress_for_as_long_as_that_may_take_the_command_ends(
    processes: list[FakeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(file=Path("none"), command_line={"stall_exit": "10s"})
    supervisor = Supervisor([Job("shop:app", "count", 1, "shop.count")], settings)
    now = [0.0]
    supervisor.board._clock = lambda: now[0]
    supervisor.start()
    for now[0], code in ((1.0, None), (5.0, None), (10.9, None), (11.0, 7)):
        supervisor.board.put(0, told(5))
        supervisor.poll(0)
        assert supervisor.failed == code
    monkeypatch.setattr(supervisor, "stop", lambda _grace: None)
    monkeypatch.setattr(supervisor, "start", lambda: None)
    with pytest.raises(StalledError) as error:
        supervise(supervisor)
    assert str(error.value).startswith(
        "shop.count: in[2] finished nothing for 10 s, 4 records behind, "
        "waits on handler count at a.py:1 since 4 s at offset 5, key 'a'"
    )
    assert len(processes) == 1


def wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_takes_as_many_files_as_it_may() -> None:
    """Three for each partition with state: the usual bound of 1,024 ends at 300 partitions."""
    program = (
        "import resource as r; from streams.supervisor import _allow_files as allow; "
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (200, hard)); allow(); "
        "print(r.getrlimit(r.RLIMIT_NOFILE)[0] == hard > 200)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "True\n"
