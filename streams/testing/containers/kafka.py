"""Apache Kafka in containers: one broker, or a cluster of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from testcontainers.core.network import Network

from streams.embedded.kafka import kafka_settings, new_cluster_id
from streams.errors import UnreachableError
from streams.kafka.admin import Admin
from streams.settings import Settings
from streams.testing.containers.images import KAFKA_IMAGES
from streams.testing.containers.server import ServerContainer

OUTER, INNER, CONTROLLER = 9092, 19092, 9093
DATA = Path("/var/lib/kafka/data")
COMMAND = "/etc/kafka/docker/run"
HEAP = "-Xms128m -Xmx768m"
PROBE_SECONDS = 2.0
MOST_COPIES = 3


@dataclass(frozen=True)
class Node:
    """A node's place in its cluster: the ids and aliases are those of all nodes, each of them a voter."""

    id: int
    cluster_id: str
    aliases: Mapping[int, str]


class ApacheKafkaContainer(ServerContainer):
    """One node that is broker and controller (KRaft), with the settings of the embedded cluster.

    Works with the official image apache/kafka and with the one that `docker/build.py` makes. Clients of this machine
    use `bootstrap_servers`, containers in the same network `internal_bootstrap_servers`.
    """

    server: ClassVar[str] = "Kafka"
    images: ClassVar[Sequence[str]] = KAFKA_IMAGES
    inner_port: ClassVar[int] = OUTER

    def __init__(
        self,
        image: str | None = None,
        *,
        network: Network | None = None,
        alias: str = "kafka-1",
        settings: Mapping[str, str] | None = None,
        owner_pid: int | None = None,
        node: Node | None = None,
    ) -> None:
        """`settings` are the broker's own, by their dotted names; they win over ours.

        Should process `owner_pid`, by default this one, end without stopping the container, a later run removes it.
        `node` is for one of several brokers: see ApacheKafkaCluster. Raises StreamsError where no engine answers.
        """
        super().__init__(image, network, alias, owner_pid)
        self.node = node or Node(1, new_cluster_id(), {1: alias})
        self._settings = dict(settings or {})
        self.with_command(COMMAND)
        self.with_env("KAFKA_HEAP_OPTS", HEAP)

    @property
    def bootstrap_servers(self) -> str:
        """Where clients of this machine connect."""
        return self.address

    @property
    def internal_bootstrap_servers(self) -> str:
        """Where containers in the same network connect."""
        return f"{self.alias}:{INNER}"

    def brokers(self) -> dict[int, str]:
        """Return the live brokers as this one sees them: addresses by id. Raises UnreachableError."""
        quick = {"reconnect.backoff.ms": "50", "reconnect.backoff.max.ms": "100"}
        settings = Settings(bootstrap_servers=self.address, kafka=quick)
        return Admin(settings, timeout=PROBE_SECONDS).brokers()

    def not_ready(self) -> str:
        """Return what is missing until it serves at the very address that clients are told."""
        try:
            brokers = self.brokers()
        except UnreachableError as error:
            return error.what
        return "" if brokers.get(self.node.id) == self.address else f"node {self.node.id} is not among {brokers}"

    def _configure(self) -> None:
        super()._configure()
        self.with_env("CLUSTER_ID", self.node.cluster_id)
        # One KAFKA_* variable, and the image drops all settings of its own.
        for name, value in self._all_settings().items():
            self.with_env(f"KAFKA_{name.replace('.', '_').upper()}", str(value))

    def _all_settings(self) -> dict[str, object]:
        voters = [f"{node}@{alias}:{CONTROLLER}" for node, alias in self.node.aliases.items()]
        return {
            **kafka_settings(OUTER, DATA),
            "node.id": self.node.id,
            "controller.quorum.voters": ",".join(voters),
            "listeners": f"HOST://:{OUTER},PLAINTEXT://:{INNER},CONTROLLER://:{CONTROLLER}",
            "advertised.listeners": f"HOST://{self.address},PLAINTEXT://{self.internal_bootstrap_servers}",
            "listener.security.protocol.map": "HOST:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            **replication(min(len(voters), MOST_COPIES)),
            **self._settings,
        }


def replication(copies: int) -> dict[str, object]:
    """Return how often a cluster keeps a record: all of it goes on when one of three brokers is gone."""
    enough = max(1, copies - 1)
    internal = ("transaction.state.log", "share.coordinator.state.topic")
    return {
        "default.replication.factor": copies,
        "min.insync.replicas": enough,
        "offsets.topic.replication.factor": copies,
        **{f"{topic}.replication.factor": copies for topic in internal},
        **{f"{topic}.min.isr": enough for topic in internal},
    }
