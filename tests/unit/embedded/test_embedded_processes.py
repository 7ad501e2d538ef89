import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.embedded import processes
from streams.embedded.processes import Process, reap, spawn, stop

IGNORES_TERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    process = spawn(["/bin/sleep", "60"], log=tmp_path / "log", environment={})
    yield process
    stop([process], patience=0)


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_is_alive_until_it_is_stopped(sleeper: Process) -> None:
    assert sleeper.alive()
    assert Process.of(sleeper.pid) == sleeper
    stop([sleeper])
    assert not sleeper.alive()
    assert Process.of(sleeper.pid) is None


def test_a_process_has_a_session_of_its_own(sleeper: Process) -> None:
    assert os.getsid(sleeper.pid) == sleeper.pid


def test_a_zombie_is_not_alive(sleeper: Process) -> None:
    os.kill(sleeper.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while sleeper.alive():
        assert time.monotonic() < deadline
    assert Path(f"/proc/{sleeper.pid}").exists() or sys.platform != "linux"
    reap(sleeper.pid)


def test_an_unrelated_process_with_the_recorded_id_is_neither_ours_nor_stopped(sleeper: Process) -> None:
    stale = Process(sleeper.pid, "another boot/17")
    assert not stale.alive()
    stop([stale], patience=0)
    assert sleeper.alive()


def test_what_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stubborn = spawn([sys.executable, "-c", IGNORES_TERM], log=log, environment={})
    wait_for(log, "up")
    stop([stubborn], patience=0.2)
    assert not stubborn.alive()


def test_the_log_takes_both_outputs_and_is_private(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = spawn(["/bin/sh", "-c", "echo out; echo err >&2; cat"], log=log, environment={})
    wait_for(log, "err")
    stop([process])
    assert log.read_text() == "out\nerr\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_program_that_is_missing_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        spawn([str(tmp_path / "missing")], log=tmp_path / "log", environment={})


def test_the_ps_way_agrees_with_itself(sleeper: Process) -> None:
    first = processes._start_time_from_ps(sleeper.pid)
    assert first
    assert processes._start_time_from_ps(sleeper.pid) == first
    assert processes._start_time_from_ps(2**22 + 1) is None


def test_the_watcher_ends_the_processes_when_its_parent_dies(sleeper: Process, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "cluster.json").write_text(
        f'{{"processes": {{"kafka": {{"pid": {sleeper.pid}, "started": "{sleeper.started}"}}}}}}'
    )
    parent = f"""if True:
        import os, sys
        command = [sys.executable, "-I", "-S", {processes.__file__!r}, {str(data)!r}, str(os.getpid())]
        os.posix_spawn(command[0], command, {{}})
        os.kill(os.getpid(), 9)
    """
    subprocess.run([sys.executable, "-c", parent], check=False)
    deadline = time.monotonic() + 10
    while data.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not sleeper.alive()
