"""Several brokers, each in a container of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from streams.embedded.kafka import new_cluster_id
from streams.errors import StreamsError, UnreachableError, UsageError
from streams.testing.containers.kafka import ApacheKafkaContainer, Node
from streams.testing.containers.owner import Owner
from streams.testing.containers.server import POLL_SECONDS, START_SECONDS, OwnNetwork


class ApacheKafkaCluster:
    """Brokers in one network. With three, records are kept three times, and all goes on while one is gone.

    `brokers[i]` are the containers, to be killed, paused or restarted one by one.
    """

    def __init__(
        self,
        image: str | None = None,
        *,
        brokers: int = 3,
        settings: Mapping[str, str] | None = None,
        owner_pid: int | None = None,
    ) -> None:
        """Arguments are those of ApacheKafkaContainer; raises as it does, and UsageError for no brokers."""
        if brokers < 1:
            raise UsageError(f"a cluster of {brokers} brokers", fix="ask for one or more")
        aliases = {number: f"kafka-{number}" for number in range(1, brokers + 1)}
        cluster_id = new_cluster_id()
        self.network = OwnNetwork(Owner.of(owner_pid).labels())
        self.brokers = [
            ApacheKafkaContainer(
                image,
                network=self.network,
                alias=alias,
                settings=settings,
                owner_pid=owner_pid,
                node=Node(number, cluster_id, aliases),
            )
            for number, alias in aliases.items()
        ]

    @property
    def bootstrap_servers(self) -> str:
        """Where clients of this machine connect."""
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    @property
    def internal_bootstrap_servers(self) -> str:
        """Where containers in the same network connect."""
        return ",".join(broker.internal_bootstrap_servers for broker in self.brokers)

    def start(self) -> Self:
        """Start all brokers and return when each of them sees all; a start that fails leaves nothing behind."""
        try:
            self.network.create()
            for broker in self.brokers:
                broker.launch()
            for broker in self.brokers:
                broker.wait_until_ready()
            self._wait_for_each_other()
        except BaseException:
            with contextlib.suppress(StreamsError):
                self.stop()
            raise
        return self

    def stop(self) -> None:
        """Remove the containers, their data and the network; it may be called twice."""
        with contextlib.ExitStack() as last_to_first:
            last_to_first.callback(self.network.remove)
            for broker in self.brokers:
                last_to_first.callback(broker.stop)

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def _wait_for_each_other(self) -> None:
        everyone = {broker.node.id: broker.address for broker in self.brokers}
        deadline = time.monotonic() + START_SECONDS
        for broker in self.brokers:
            while (seen := _seen_by(broker)) != everyone:
                if time.monotonic() > deadline:
                    raise StreamsError(f"broker {broker.node.id} sees {seen} instead of {everyone}")
                time.sleep(POLL_SECONDS)


def _seen_by(broker: ApacheKafkaContainer) -> dict[int, str]:
    try:
        return broker.brokers()
    except UnreachableError:
        return {}
