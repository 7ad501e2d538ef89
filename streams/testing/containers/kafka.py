"""Apache Kafka in containers: one broker, or a cluster of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from testcontainers.core.network import Network

from streams.embedded.kafka import is_serving, kafka_settings, new_cluster_id
from streams.errors import StreamsError, UnreachableError, UsageError
from streams.kafka.admin import Admin
from streams.settings import Settings
from streams.testing.containers.images import KAFKA_IMAGES
from streams.testing.containers.server import ServerContainer

OUTER, INNER, CONTROLLER = 9092, 19092, 9093
DATA = Path("/var/lib/kafka/data")
COMMAND = "/etc/kafka/docker/run"
HEAP = "-Xms128m -Xmx768m"
# A broker of tests ends before the optimising compiler pays: a start and 600 transactions take 14 s of CPU, not 23.
JVM = "-XX:+UseG1GC -XX:TieredStopAtLevel=1"
PROBE_SECONDS = 2.0
MOST_COPIES = 3

# Nodes without a name of their own are let in by the rules that their leader knows, and have to elect it first.
_NO_ACLS = {"authorizer.class.name": "", "allow.everyone.if.no.acl.found": "false"}


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
        self.with_env("KAFKA_JVM_PERFORMANCE_OPTS", JVM)

    @property
    def bootstrap_servers(self) -> str:
        """Where clients of this machine connect."""
        return self.address

    @property
    def internal_bootstrap_servers(self) -> str:
        """Where containers in the same network connect."""
        return f"{self.alias}:{INNER}"

    def launch(self) -> None:
        """Start it without waiting. Raises UsageError for an image of something else."""
        try:
            super().launch()
        except StreamsError as error:
            if COMMAND not in error.what:
                raise
            raise UsageError(
                f"{self.image} is not an image of Kafka: it has no {COMMAND}",
                fix=f"name one of {', '.join(self.images)}",
            ) from error

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
        if brokers.get(self.node.id) != self.address:
            return f"node {self.node.id} at {self.address} is not among {brokers}"
        return "" if is_serving(*self.endpoint) else "coordinators of groups and transactions"

    def _configure(self) -> None:
        super()._configure()
        self.with_env("CLUSTER_ID", self.node.cluster_id)
        told = f"HOST://{self.address},PLAINTEXT://{self.internal_bootstrap_servers}"
        # One KAFKA_* variable, and the image drops all settings of its own.
        for name, value in {**node_settings(self.node), "advertised.listeners": told, **self._settings}.items():
            self.with_env(f"KAFKA_{name.replace('.', '_').upper()}", str(value))


def node_settings(node: Node) -> dict[str, object]:
    """Return a node's settings but for the addresses that it tells its clients.

    Three nodes keep every record three times and go on while one is gone. Only a single node knows ACLs.
    """
    copies = min(len(node.aliases), MOST_COPIES)
    enough = max(1, copies - 1)
    return {
        **kafka_settings(OUTER, DATA),
        **(_NO_ACLS if len(node.aliases) > 1 else {}),
        "node.id": node.id,
        "controller.quorum.voters": ",".join(f"{other}@{alias}:{CONTROLLER}" for other, alias in node.aliases.items()),
        "listeners": f"HOST://:{OUTER},PLAINTEXT://:{INNER},CONTROLLER://:{CONTROLLER}",
        "listener.security.protocol.map": "HOST:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "default.replication.factor": copies,
        "min.insync.replicas": enough,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": enough,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": enough,
    }
