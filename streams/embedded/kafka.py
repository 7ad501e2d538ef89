"""Apache Kafka as one process: broker and KRaft controller together."""

import base64
import socket
import struct
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from streams.embedded.addresses import HOST
from streams.embedded.artifacts import ArtifactCache
from streams.embedded.java import Java
from streams.embedded.lock import ServerName
from streams.embedded.servers import java_command, server_environment
from streams.errors import StreamsError

LOGGING = Path(__file__).with_name("log4j2.properties")
PROBE_SECONDS = 1.0
TOOL_SECONDS = 60
FOR_EVER = -1
TEN_YEARS_MS = 10 * 365 * 24 * 3600 * 1000
MEGABYTE = 1024 * 1024

# Kafka's protocol: the key and the version of a request, and the kinds of coordinators.
METADATA = (3, 1)
FIND_COORDINATOR = (10, 1)
GROUP, TRANSACTION = 0, 1


@dataclass(frozen=True)
class Kafka:
    """A single broker on `port` whose controller listens on `port + 1`; its data is in `folder`."""

    name: ClassVar[ServerName] = "kafka"
    oldest_java: ClassVar[int] = 17
    port: int
    folder: Path
    temporary: Path

    @property
    def ports(self) -> tuple[int, ...]:
        """Where it listens: broker and controller."""
        return self.port, self.port + 1

    def prepare(self, java: Java, artifacts: ArtifactCache) -> None:
        """Write the configuration, and format the folder if that was not done yet."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings = kafka_settings(self.port, self._data)
        self._settings.write_text("".join(f"{key}={_escape(str(value))}\n" for key, value in settings.items()))
        if (self._data / "meta.properties").exists():
            return
        arguments = ("format", "--ignore-formatted", "-t", new_cluster_id(), "-c", str(self._settings))
        options = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        command = [*self._java(java, artifacts, *options), "kafka.tools.StorageTool", *arguments]
        _run(command, "Kafka cannot format its folder", str(self._data))

    def command(self, java: Java, artifacts: ArtifactCache) -> list[str]:
        """Return the command that runs the broker."""
        # Measured: 240 MB resident at rest, 277 MB after 4 M records at 200,000 to 370,000 a second.
        options = ("-Xms128m", "-Xmx768m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=50")
        return [*self._java(java, artifacts, *options), "kafka.Kafka", str(self._settings)]

    def is_ready(self) -> bool:
        """Return whether the broker is in the cluster and knows the coordinators of groups and transactions."""
        return is_serving(HOST, self.port)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, java: Java, artifacts: ArtifactCache, *options: str) -> list[str]:
        classpath = ":".join(str(jar) for jar in artifacts.kafka_jars())
        logging = f"-Dlog4j2.configurationFile={LOGGING}"
        return java_command(java, self.temporary, *options, logging, "-cp", classpath)


def _run(command: list[str], what: str, where: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False, env=server_environment()
        )
    except subprocess.TimeoutExpired as error:
        raise StreamsError(f"{what}: it did not end within {TOOL_SECONDS} s", where=where) from error
    if done.returncode:
        raise StreamsError(f"{what}: {(done.stderr or done.stdout).strip()}", where=where)


def _escape(value: str) -> str:
    """Return a value as Java's properties files want it: ASCII, without bare backslashes."""
    return "".join(c if c.isascii() and c != "\\" else f"\\u{ord(c):04x}" for c in value)


def is_serving(host: str, port: int) -> bool:
    """Return whether the broker there is in its cluster and knows the coordinators of groups and transactions.

    Asking for a coordinator makes Kafka create its internal topics: the first group does not wait for them.
    """
    try:
        with socket.create_connection((host, port), PROBE_SECONDS) as connection:
            connection.settimeout(PROBE_SECONDS)
            (brokers,) = struct.unpack_from(">i", _ask(connection, METADATA, struct.pack(">i", 0)))
            return brokers > 0 and all(_has_coordinator(connection, kind) for kind in (GROUP, TRANSACTION))
    except (OSError, struct.error):
        return False


def _has_coordinator(connection: socket.socket, kind: int) -> bool:
    name = b"probe"
    body = struct.pack(f">h{len(name)}sb", len(name), name, kind)
    _throttle_ms, error = struct.unpack_from(">ih", _ask(connection, FIND_COORDINATOR, body))
    return not error


def _ask(connection: socket.socket, request: tuple[int, int], body: bytes) -> bytes:
    """Send one request, without a client id, and return the body of the response."""
    key, version = request
    message = struct.pack(">hhih", key, version, 0, -1) + body
    connection.sendall(struct.pack(">i", len(message)) + message)
    size, _correlation = struct.unpack(">ii", connection.recv(8, socket.MSG_WAITALL))
    return connection.recv(size - 4, socket.MSG_WAITALL)


def new_cluster_id() -> str:
    """Return a random id in Kafka's form; one that begins with `-` would be taken for an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def kafka_settings(port: int, data: Path) -> dict[str, object]:
    """Return the broker's settings: one node, loopback only, quick to start, nothing created unasked."""
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{port + 1}",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{port + 1}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        **_ACLS,
        **_INTERNAL_TOPICS,
        **_TIMES,
        **_SIZES,
    }


# Everybody may do everything, until somebody says otherwise of a topic.
_ACLS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}

_INTERNAL_TOPICS = {
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 8,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 8,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 8,
}

_TIMES = {
    # A killed node waits for its own old session to end before it serves again, by default for 9 s.
    "broker.session.timeout.ms": 3000,
    "broker.heartbeat.interval.ms": 500,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 2000,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    # Records keep their event time, which may be years ago: by default Kafka would delete them in minutes,
    # and would begin a new segment for every week of event time.
    "log.retention.ms": FOR_EVER,
    "log.roll.ms": TEN_YEARS_MS,
}

_SIZES = {
    "log.segment.bytes": 256 * MEGABYTE,
    "log.index.size.max.bytes": MEGABYTE,
    "log.cleaner.threads": 1,
    "log.cleaner.dedupe.buffer.size": 16 * MEGABYTE,
    "num.network.threads": 2,
    "num.io.threads": 4,
}
