"""Server processes: their identity, start and stop.

Only the standard library is imported: this file is also run as a script, the watcher of a throw-away cluster.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TERMINATE_SECONDS = 20.0
KILL_SECONDS = 5.0
POLL_SECONDS = 0.05
WATCH_SECONDS = 0.3
CLUSTER_FILE_NAME = "cluster.json"

# Python ignores SIGPIPE and may ignore others; a server starts with the defaults.
_DEFAULT_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM)


@dataclass(frozen=True)
class Process:
    """A process by its id and its start time: ids are used again, the pair is not."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return the live process with this id, None where there is none."""
        started = _start_time(pid)
        return None if started is None else cls(pid, started)

    def alive(self) -> bool:
        """Return whether this very process still runs; a zombie does not."""
        return _start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def spawn(command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> Process:
    """Start a program in a session of its own, with its output in a new `log` (0600) and no input.

    It outlives the caller. Raises OSError where the program or the log cannot be opened.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    output = os.open(log, flags, 0o600)
    try:
        pid = os.posix_spawn(
            command[0],
            list(command),
            dict(environment),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=_DEFAULT_SIGNALS,
        )
    finally:
        os.close(output)
    # It may have ended by now, and is then a zombie without a start time.
    return Process.of(pid) or Process(pid, "ended")


def reap(pid: int) -> None:
    """Collect an ended child, so that it does not stay a zombie; other processes are left alone."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def stop(processes: Iterable[Process], *, patience: float = TERMINATE_SECONDS) -> None:
    """End the processes: SIGTERM to all, SIGKILL to those that still run after `patience` seconds.

    Returns when they are gone; a process that only carries a reused id is not touched.
    """
    running = list(processes)
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, KILL_SECONDS)):
        for process in running:
            process.send(number)
        running = _wait(running, seconds)


def _wait(processes: list[Process], seconds: float) -> list[Process]:
    deadline = time.monotonic() + seconds
    while True:
        for process in processes:
            reap(process.pid)
        processes = [process for process in processes if process.alive()]
        if not processes or time.monotonic() > deadline:
            return processes
        time.sleep(POLL_SECONDS)


def _start_time(pid: int) -> str | None:
    """Return a text that no other process with this id ever has; None for an ended process."""
    if Path("/proc/self/stat").exists():
        return _start_time_from_proc(pid)
    return _start_time_from_ps(pid)


def _start_time_from_proc(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The name may hold blanks and parentheses: the fields proper begin after the last ")".
    state, *fields = stat[stat.rindex(")") + 1 :].split()
    return None if state in "ZXx" else f"{boot}/{fields[18]}"


def _start_time_from_ps(pid: int) -> str | None:
    shown = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return None if len(shown) < 2 or shown[0].startswith("Z") else shown[1].strip()  # noqa: PLR2004 - name and start time


def watch(data: Path, parent: int) -> None:
    """Wait until the parent process is gone, then end the cluster of `data` and delete the folder."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    with contextlib.suppress(OSError, ValueError):
        recorded = json.loads((data / CLUSTER_FILE_NAME).read_text())["processes"]
        stop([Process(**process) for process in recorded.values()], patience=0)
    shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    watch(Path(sys.argv[1]), int(sys.argv[2]))
