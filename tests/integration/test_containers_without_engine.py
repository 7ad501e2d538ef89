"""No engine, a silent one, one that falls silent: each is one sentence and a way out, within seconds."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.errors import StreamsError
from streams.testing.containers import (
    ApacheKafkaCluster,
    ApacheKafkaContainer,
    SchemaRegistryContainer,
    engine_problem,
    find_images,
    remove_leftovers,
)

pytestmark = pytest.mark.integration

SENTENCE = r"no container engine answers(.|\n)*docker/engine"
ENGINE = Path("/var/run/docker.sock")
MODULES = ("engine", "server")


@contextlib.contextmanager
def impatient(seconds: float) -> Iterator[None]:
    """Take an engine for stuck early."""
    with pytest.MonkeyPatch.context() as patched:
        for module in MODULES:
            patched.setattr(f"streams.testing.containers.{module}.ENGINE_SECONDS", seconds)
        yield


class Line:
    """A socket that passes everything on to the engine, or accepts and says nothing."""

    def __init__(self, path: Path, *, silent: bool = False) -> None:
        self.silent = silent
        self._open: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here = self._listening.accept()[0]
                self._open.append(here)
                if self.silent:
                    continue
                there = socket.socket(socket.AF_UNIX)
                self._open.append(there)
                there.connect(str(ENGINE))
                for source, target in ((here, there), (there, here)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if not self.silent:
                    target.sendall(data)


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    found = Line(tmp_path / "engine.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    yield found
    found.close()


@pytest.mark.parametrize(
    "use",
    [find_images, remove_leftovers, ApacheKafkaContainer, ApacheKafkaCluster, SchemaRegistryContainer],
    ids=lambda use: use.__name__,
)
@pytest.mark.parametrize("engine", ["none", "silent"])
def test_without_an_engine_everything_says_so(engine: str, use: type, line: Line) -> None:
    line.silent = True
    if engine == "none":
        os.environ["DOCKER_HOST"] += ".gone"

    begun = time.monotonic()
    with impatient(1.0):
        with pytest.raises(StreamsError, match=SENTENCE):
            use()
        problem = engine_problem()
    assert problem
    assert "no container engine answers" in problem
    assert "\n" not in problem
    assert time.monotonic() - begun < 10
    print(problem)


def test_an_engine_that_falls_silent_is_told_and_its_container_is_removed_when_it_is_back(line: Line) -> None:
    if engine_problem():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no container engine")
    with impatient(6.0):  # as long as a busy engine may take to start a container
        registry = SchemaRegistryContainer()
        registry.launch()
        line.silent = True
        begun = time.monotonic()
        for act in (registry.pause, registry.kill, registry.stop):
            with pytest.raises(StreamsError, match=SENTENCE):
                act()
        assert time.monotonic() - begun < 40
    line.silent = False
    registry.stop()
    with pytest.raises(StreamsError, match="was not started"):
        _ = registry.network
    print("compared 3 refusals")
