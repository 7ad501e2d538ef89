"""`streams worker` as a block, asked over HTTP how it is."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Self

from benchmarks.suite.environments import ROOT
from benchmarks.suite.errors import BenchmarkError
from streams.embedded import Addresses

LONGEST = 240.0  # seconds
LOOK = 0.05
PATIENCE = 60.0  # seconds for a drain


class Command:
    """The command and its workers; killed with the block unless it was ended."""

    def __init__(self, target: str, workers: int, addresses: Addresses, state: Path) -> None:
        self._port = _free_port()
        self._resources = ExitStack()
        self._log = self._resources.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115 - closed with the stack
        self._began = time.perf_counter()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "streams", "worker", target),
                *("--workers", str(workers), "--state-dir", str(state), "--health-port", str(self._port)),
                *("-b", addresses.bootstrap_servers, "--schema-registry-url", addresses.schema_registry_url),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._resources.close()

    def until(self, reached: Callable[[], bool], longest: float = LONGEST) -> float:
        """Wait for something; return the seconds since the command's start."""
        while not reached():
            took = time.perf_counter() - self._began
            if self.process.poll() is not None or took > longest:
                self._log.seek(0)
                raise BenchmarkError(f"not there after {took:.0f} s:\n{self._log.read()[-1500:]}")
            time.sleep(LOOK)
        return time.perf_counter() - self._began

    def ready(self) -> bool:
        """Tell whether every worker is."""
        status, _ = self._ask("/readyz")
        return status == 200

    def done(self) -> dict[str, int]:
        """Return how many records each processor has dealt with."""
        done: Counter[str] = Counter()
        for worker in self.workers():
            done[worker["processor"]] += worker["counts"].get("processed", 0)
        return dict(done)

    def end(self) -> float:
        """Have it drain; return how long that took."""
        began = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        if code != 128 + signal.SIGTERM:
            raise BenchmarkError(f"it ended with {code}")
        return time.perf_counter() - began

    def workers(self) -> list[dict[str, Any]]:
        """Return what each worker tells of itself."""
        _, answer = self._ask("/healthz")
        workers: list[dict[str, Any]] = answer.get("workers", [])
        return workers

    def _ask(self, path: str) -> tuple[int, dict[str, Any]]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, HTTPException):
            return 0, {}
        finally:
            connection.close()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
