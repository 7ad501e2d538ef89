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
from streams.embedded.servers import java_command
from streams.errors import StreamsError

LOGGING = Path(__file__).with_name("log4j2.properties")
PROBE_SECONDS = 1.0
FORMAT_SECONDS = 60
FOR_EVER = -1
TEN_YEARS_MS = 10 * 365 * 24 * 3600 * 1000
MEGABYTE = 1024 * 1024

_METADATA_V1_NO_TOPICS = struct.pack(">hhihi", 3, 1, 0, -1, 0)


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
        self._settings.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        if (self._data / "meta.properties").exists():
            return
        arguments = ("format", "--ignore-formatted", "-t", new_cluster_id(), "-c", str(self._settings))
        command = [
            *self._java(java, artifacts, "-XX:TieredStopAtLevel=1"),
            "kafka.tools.StorageTool",
            *arguments,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=FORMAT_SECONDS, check=False)
        if done.returncode:
            raise StreamsError(
                f"Kafka cannot format its folder: {(done.stderr or done.stdout).strip()}",
                where=str(self._data),
            )

    def command(self, java: Java, artifacts: ArtifactCache) -> list[str]:
        """Return the command that runs the broker."""
        # Measured: 350 MB resident at rest, and a heap that 100,000 small records a second do not fill.
        options = ("-Xms128m", "-Xmx768m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=50")
        return [*self._java(java, artifacts, *options), "kafka.Kafka", str(self._settings)]

    def is_ready(self) -> bool:
        """Return whether the broker names itself as alive in the cluster's metadata."""
        try:
            with socket.create_connection((HOST, self.port), PROBE_SECONDS) as connection:
                connection.settimeout(PROBE_SECONDS)
                connection.sendall(struct.pack(">i", len(_METADATA_V1_NO_TOPICS)) + _METADATA_V1_NO_TOPICS)
                _size, _correlation, brokers = struct.unpack(">iii", connection.recv(12, socket.MSG_WAITALL))
        except (OSError, struct.error):
            return False
        return bool(brokers)

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
        **_INTERNAL_TOPICS,
        **_TIMES,
        **_SIZES,
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
