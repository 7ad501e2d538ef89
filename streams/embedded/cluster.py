"""The embedded cluster: a real Kafka and a real schema registry as local processes, up and down.

For development, demos and tests. Owns the data folder and the processes; what is particular to a server is in
`kafka` and `registry`.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from streams.embedded import processes
from streams.embedded.addresses import FOLDER, HOST, Addresses, ClusterRecord, announce, find_data
from streams.embedded.artifacts import ArtifactCache
from streams.embedded.files import exclusive
from streams.embedded.java import Java, choose_java
from streams.embedded.kafka import Kafka
from streams.embedded.ports import await_free, check_first_port, check_free, free_ports
from streams.embedded.processes import CLUSTER_FILE_NAME, Process
from streams.embedded.registry import Registry
from streams.embedded.servers import Server, server_environment
from streams.errors import StreamsError, UsageError

DEFAULT_PORT = 9092
START_SECONDS = 120.0
POLL_SECONDS = 0.05
LOCK_NAME = "cluster.lock"
OWN_FOLDERS = ("kafka", "registry", "logs", "tmp")
LAST_LINES = 15
LINE_LENGTH = 300
ALMOST_FULL_BYTES = 20_000_000

ServerState = Literal["running", "not answering", "stopped"]


@dataclass(frozen=True)
class ServerStatus:
    """One server: `stopped` has no process; `not answering` has one that does not serve (yet)."""

    name: str
    address: str
    state: ServerState
    pid: int | None
    log: Path


@dataclass(frozen=True)
class Status:
    """The cluster as it is now."""

    data: Path
    addresses: Addresses
    servers: list[ServerStatus]

    @property
    def running(self) -> bool:
        """Whether every server serves."""
        return all(server.state == "running" for server in self.servers)


def _silent(_message: str) -> None:
    pass


class Cluster:
    """A Kafka and a schema registry on the loopback ports `port` to `port + 2`, with their data in `data`.

    Its methods may be called from any process; those that change something take turns.
    """

    def __init__(
        self,
        data: Path | str | None = None,
        port: int | None = None,
        *,
        cache: ArtifactCache | None = None,
        say: Callable[[str], None] = _silent,
    ) -> None:
        """`data` is by default that of the cluster announced here, else `.streams/cluster` in this folder.

        `port` is by default that of its last start, else 9092. `say` is told what a person may want to know.
        """
        self.data = Path(data).absolute() if data else find_data() or Path.cwd() / FOLDER / "cluster"
        record = ClusterRecord.read(self.data)
        self.port = port or (record.port if record else DEFAULT_PORT)
        check_first_port(self.port)
        self.addresses = Addresses.at(self.port)
        self._cache = cache or ArtifactCache()
        self._say = say
        kafka = Kafka(self.port, self.data / "kafka", self.data / "tmp" / "kafka")
        registry = Registry(self.port + 2, self.data / "registry", self.data / "tmp" / "registry")
        # The registry first: it needs no preparation, and starts while Kafka formats.
        self._servers: tuple[Server, ...] = (registry, kafka)

    @property
    def bootstrap_servers(self) -> str:
        """Where Kafka clients connect."""
        return self.addresses.bootstrap_servers

    @property
    def schema_registry_url(self) -> str:
        """Where registry clients connect."""
        return self.addresses.schema_registry_url

    @classmethod
    @contextlib.contextmanager
    def ephemeral(cls, *, say: Callable[[str], None] = _silent) -> Iterator[Self]:
        """Run a cluster with new data on free ports; it ends, and its data goes, with the block.

        It ends too when this process dies, by whatever signal.
        """
        owner = os.getpid()
        data = Path(tempfile.mkdtemp(prefix="streams-"))
        cluster = cls(data, free_ports(), say=say)
        watcher = _watch(data)
        try:
            cluster.up()
            yield cluster
        finally:
            # A fork of this process may leave the block too.
            if os.getpid() == owner:
                cluster.down()
                shutil.rmtree(data, ignore_errors=True)
                processes.stop([watcher], patience=0)

    def up(self) -> Addresses:
        """Start what does not run, and return when both servers serve.

        Whatever stops it, Ctrl-C as well, what this call started is stopped again. Raises UsageError for a
        busy port or a cluster that runs on other ports, StreamsError for a server that does not start.
        """
        self._check_folder()
        try:
            with exclusive(self.data / LOCK_NAME):
                self._up()
        except OSError as error:
            raise StreamsError(
                f"the cluster's folder cannot be written: {error.strerror or error}",
                where=str(error.filename or self.data),
                fix="make room, get the right to write there, or choose another folder: streams up --data DIR",
            ) from error
        return self.addresses

    def announce(self, folder: Path | None = None) -> None:
        """Let commands in `folder` (default: the current one) and below find this cluster: `discover`."""
        announce(self.data, self.addresses, folder or Path.cwd())

    def down(self, *, wipe: bool = False) -> bool:
        """Stop the servers, and return whether any ran; with `wipe` delete the cluster's data as well."""
        if not (self.data / LOCK_NAME).exists():
            return False
        with exclusive(self.data / LOCK_NAME):
            record = ClusterRecord.read(self.data)
            alive = [process for process in record.processes.values() if process.alive()] if record else []
            processes.stop(alive)
            if wipe:
                (self.data / CLUSTER_FILE_NAME).unlink(missing_ok=True)
                for name in OWN_FOLDERS:
                    shutil.rmtree(self.data / name, ignore_errors=True)
        return bool(alive)

    def status(self) -> Status:
        """Return what runs and what answers, asking each server."""
        record = ClusterRecord.read(self.data)
        alive = record.processes if record else {}
        return Status(self.data, self.addresses, [self._status_of(s, alive.get(s.name)) for s in self._servers])

    def _status_of(self, server: Server, process: Process | None) -> ServerStatus:
        state: ServerState = "stopped"
        if process and process.alive():
            state = "running" if server.is_ready() else "not answering"
        pid = process.pid if process and state != "stopped" else None
        return ServerStatus(server.name, f"{HOST}:{server.port}", state, pid, self._log(server))

    def _up(self) -> None:
        record = ClusterRecord.read(self.data) or ClusterRecord(self.data, self.port)
        alive = {name: process for name, process in record.processes.items() if process.alive()}
        if alive and record.port != self.port:
            raise UsageError(
                f"the cluster of this folder runs on port {record.port}, not {self.port}",
                where=str(self.data),
                fix="streams down first, or another folder: streams up --data DIR",
            )
        missing = [server for server in self._servers if server.name not in alive]
        if missing:
            for server in missing:
                if server.name in record.processes:
                    await_free(server.ports)
                check_free(server.name, server.ports)
            self._cache.fill()
        elif record.ready:
            self._say("the cluster is already running")
        self._start(missing, ClusterRecord(self.data, self.port, processes=alive))

    def _start(self, missing: Sequence[Server], record: ClusterRecord) -> None:
        javas = {server.name: choose_java(server.name, server.oldest_java, self._say) for server in missing}
        for name in OWN_FOLDERS:
            (self.data / name).mkdir(mode=0o700, exist_ok=True)
        started: list[Process] = []
        try:
            for server in missing:
                started.append(self._spawn(server, javas[server.name]))
                record = record.with_process(server.name, started[-1])
                record.write()
            self._await_ready(record)
            replace(record, ready=True).write()
        except BaseException:
            processes.stop(started)
            raise

    def _spawn(self, server: Server, java: Java) -> Process:
        log = self._log(server)
        if log.exists():
            log.replace(log.with_suffix(".previous.log"))
        shutil.rmtree(server.temporary, ignore_errors=True)
        server.temporary.mkdir(mode=0o700)
        server.prepare(java, self._cache)
        return processes.spawn(server.command(java, self._cache), log=log, environment=server_environment())

    def _await_ready(self, record: ClusterRecord) -> None:
        deadline = time.monotonic() + START_SECONDS
        waiting = self._servers
        while waiting := tuple(server for server in waiting if not server.is_ready()):
            for server in waiting:
                if not record.processes[server.name].alive():
                    raise self._start_error(server, "ended while it started")
                if time.monotonic() > deadline:
                    raise self._start_error(server, f"does not answer after {START_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def _start_error(self, server: Server, what: str) -> StreamsError:
        log = self._log(server)
        # Stack frames and lists of settings begin with a tab.
        lines = [line for line in log.read_text(errors="replace").splitlines() if not line.startswith("\t")]
        shown = "\n".join(f"  | {line[:LINE_LENGTH]}" for line in lines[-LAST_LINES:])
        # A server may have died of it without being able to write so.
        full = shutil.disk_usage(self.data).free < ALMOST_FULL_BYTES
        return StreamsError(
            f"{server.name} {what}; its last words:\n{shown}",
            where=str(log),
            fix="make room on the disk" if full else "",
        )

    def _check_folder(self) -> None:
        """Refuse a folder with other things in it: `down --wipe` would mistake them for ours."""
        if self.data.is_dir() and any(self.data.iterdir()) and not (self.data / LOCK_NAME).exists():
            raise UsageError(
                "the folder holds something else than a cluster's data", where=str(self.data), fix="choose an empty one"
            )
        # Kafka takes a comma for the end of a path, and H2 a semicolon.
        if bad := set(str(self.data)) & set(",;"):
            raise UsageError(f"the folder's path must not contain {' '.join(sorted(bad))}", where=str(self.data))

    def _log(self, server: Server) -> Path:
        return self.data / "logs" / f"{server.name}.log"


def _watch(data: Path) -> Process:
    """Start the watcher that ends a throw-away cluster should this process die."""
    command = [sys.executable, "-I", "-S", processes.__file__, str(data), str(os.getpid())]
    return processes.spawn(command, log=Path(os.devnull), environment={})
