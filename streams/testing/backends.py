"""What tests run on: the embedded cluster, containers, or a cluster that runs already; one of each kind a session.

All of it belongs to one process, which starts a broker when it is first asked for and stops it at the end. The pytest
plugin is what asks; `streams_pytest` says which process that is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterable
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol

from streams.embedded import Cluster
from streams.embedded import processes as embedded_processes
from streams.embedded.processes import Process
from streams.errors import StreamsError, UnreachableError, UsageError
from streams.kafka.admin import Admin
from streams.settings import load_settings

MEMORY, EMBEDDED, CONTAINER = "memory", "embedded", "container"
CONTAINERS: Final = "streams.testing.containers"  # needs an extra, and is imported where it is used

PROBE = 5.0  # seconds
STOP_WITHIN = 15.0
EMPTY_WITHIN = 10.0  # seconds; the sessions of tests last 6


class Choice(NamedTuple):
    """What was asked for: a backend's name or HOST:PORT, by what, and the registry of the latter."""

    backend: str | None = None
    by: str = ""
    schema_registry_url: str | None = None


class Started(NamedTuple):
    """Where a broker and its registry are."""

    bootstrap_servers: str
    schema_registry_url: str


class Backend(Protocol):
    """A Kafka and a registry that run; a `server` is "kafka" or "registry"."""

    at: Started

    def restart(self, server: str) -> None:
        """End a server in good order and start it again."""

    def pause(self, server: str) -> None:
        """Freeze a server: connections stay open, nothing is answered."""

    def unpause(self, server: str) -> None:
        """Let a frozen server go on."""

    def kill(self, server: str) -> None:
        """End a server at once; its data stays."""

    def start_again(self, server: str) -> None:
        """Start a server that was killed, and return when it serves."""

    def leave(self, groups: Iterable[str]) -> None:
        """Delete groups at the end, where the cluster outlives the session."""

    def stop(self) -> None:
        """Stop what was started."""


class _Embedded:
    """The embedded cluster, as processes of this machine; they end with this process, however it ends."""

    def __init__(self) -> None:
        self._resources = contextlib.ExitStack()
        self._cluster = self._resources.enter_context(Cluster.ephemeral())
        self.at = Started(self._cluster.bootstrap_servers, self._cluster.schema_registry_url)

    def restart(self, server: str) -> None:
        embedded_processes.stop([self._process(server)])
        self._cluster.up()

    def pause(self, server: str) -> None:
        self._process(server).send(signal.SIGSTOP)

    def unpause(self, server: str) -> None:
        self._process(server).send(signal.SIGCONT)

    def kill(self, server: str) -> None:
        process = self._process(server)
        process.send(signal.SIGKILL)
        embedded_processes.stop([process])

    def start_again(self, server: str) -> None:
        del server  # whichever is missing
        self._cluster.up()

    def leave(self, groups: Iterable[str]) -> None:
        """Leave them: they go with the cluster."""

    def stop(self) -> None:
        self._resources.close()

    def _process(self, server: str) -> Process:
        found = next((one.pid for one in self._cluster.status().servers if one.name == server and one.pid), None)
        process = Process.of(found) if found else None
        if process is None:
            raise UsageError(
                f"there is no {server} that runs", fix='name "kafka" or "registry"; start a killed one again'
            )
        return process


class _Containers:
    """A broker and a registry in containers. What a killed session left behind is removed first."""

    def __init__(self) -> None:
        containers = import_module(CONTAINERS)
        containers.remove_leftovers()
        kafka, registry = containers.ApacheKafkaContainer(), containers.SchemaRegistryContainer()
        self._servers: dict[str, Any] = {"kafka": kafka, "registry": registry}
        with contextlib.ExitStack() as started:
            for server in self._servers.values():
                started.enter_context(server)
            self._resources = started.pop_all()
        self.at = Started(kafka.bootstrap_servers, registry.url)

    def restart(self, server: str) -> None:
        self._servers[server].restart()

    def pause(self, server: str) -> None:
        self._servers[server].pause()

    def unpause(self, server: str) -> None:
        self._servers[server].unpause()

    def kill(self, server: str) -> None:
        self._servers[server].kill()

    def start_again(self, server: str) -> None:
        self._servers[server].start_again()

    def leave(self, groups: Iterable[str]) -> None:
        """Leave them: they go with the container."""

    def stop(self) -> None:
        self._resources.close()


class _Address:
    """A cluster that runs already, and goes on when the session is over."""

    def __init__(self, bootstrap_servers: str, schema_registry_url: str) -> None:
        self.at = Started(bootstrap_servers, schema_registry_url)
        self._admin = Admin(load_settings(command_line=self.at._asdict()), PROBE)
        self._groups: list[str] = []
        try:
            self._admin.topics()
        except UnreachableError as error:
            raise _no_kafka(bootstrap_servers) from error

    def restart(self, server: str) -> None:
        raise self._not_ours(server)

    pause = unpause = kill = start_again = restart

    def leave(self, groups: Iterable[str]) -> None:
        self._groups += groups

    def stop(self) -> None:
        """Delete the groups of the session, which have members until their sessions end."""
        deadline = time.monotonic() + EMPTY_WITHIN
        while self._groups and time.monotonic() < deadline:
            states = self._admin.groups()
            self._admin.delete_groups(name for name in self._groups if states.get(name) == "EMPTY")
            self._groups = [name for name in self._groups if states.get(name, "EMPTY") != "EMPTY"]
            time.sleep(0.5 if self._groups else 0)

    def _not_ours(self, server: str) -> UsageError:
        return UsageError(
            f"{server} of {self.at.bootstrap_servers} is not this session's to stop",
            fix="run this test with --kafka=embedded or --kafka=container",
        )


class Brokers:
    """The backends of a session, each started when first asked for. Thread-safe."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._lock = threading.RLock()
        self._default: tuple[str, str] | None = (choice.backend, choice.by) if choice.backend else None
        self._running: dict[str, Backend] = {}
        self._failed: dict[str, StreamsError] = {}
        self._pid = os.getpid()

    def default(self) -> tuple[str, str]:
        """Return the backend of tests that name none, and why: containers where they can be had, else embedded."""
        with self._lock:
            if self._default is None:
                problem = container_problem()
                self._default = (EMBEDDED, problem) if problem else (CONTAINER, "an engine and images are there")
            return self._default

    def start(self, backend: str) -> Started:
        """Start a backend unless it runs, and say where it is.

        Raises:
            StreamsError: it cannot be had, for a reason that will not go away in this session.
        """
        with self._lock:
            if backend in self._failed:
                raise self._failed[backend]
            try:
                if backend not in self._running:
                    self._running[backend] = self._make(backend)
            except StreamsError as error:
                self._failed[backend] = error
                raise
            return self._running[backend].at

    def act(self, backend: str, action: str, server: str) -> None:
        """Do to a server of a running backend what `Backend` has."""
        with self._lock:
            getattr(self._running[backend], action)(server)

    def leave(self, backend: str, groups: list[str]) -> None:
        """Hand over groups whose tests are done with them."""
        with self._lock:
            self._running[backend].leave(groups)

    def started(self) -> dict[str, Started]:
        """Return what runs."""
        return {name: backend.at for name, backend in self._running.items()}

    def stop(self) -> None:
        """Stop everything; in a fork of the owner, nothing."""
        if os.getpid() != self._pid:
            return
        if not self._lock.acquire(timeout=STOP_WITHIN):  # a start that hangs; what it started ends with this process
            return
        with contextlib.ExitStack() as stopping:
            stopping.callback(self._lock.release)
            for backend in self._running.values():
                stopping.callback(backend.stop)
            self._running.clear()

    def _make(self, backend: str) -> Backend:
        if backend == EMBEDDED:
            return _Embedded()
        if backend == CONTAINER:
            if problem := container_problem():
                raise StreamsError(f"there are no containers: {problem}", fix="--kafka=embedded needs none")
            return _Containers()
        return _Address(backend, self._choice.schema_registry_url or "")


def container_problem() -> str | None:
    """Return in one sentence why containers cannot be used here, None if they can."""
    try:
        containers = import_module(CONTAINERS)
    except ImportError as error:
        return f"{error.name} is not installed; pip install 'straightstream[testing]'"
    problem: str | None = containers.engine_problem()
    if problem is None and containers.find_images() is None:
        return "the container engine has no images of Kafka and the registry; `python docker/build.py` builds them"
    return problem


def _no_kafka(bootstrap_servers: str) -> UnreachableError:
    """Tell an address where nothing listens from one where something else does."""
    host, _, port = bootstrap_servers.split(",", maxsplit=1)[0].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PROBE).close()
    except OSError as error:
        return UnreachableError(
            f"nothing answers at {bootstrap_servers}: {error.strerror or error}",
            fix="start that broker, or let the session start one: --kafka=embedded",
        )
    return UnreachableError(
        f"what answers at {bootstrap_servers} is not Kafka, or wants another security.protocol",
        fix="check the port; STREAMS_KAFKA_SECURITY_PROTOCOL and its kin are passed on to the client",
    )
