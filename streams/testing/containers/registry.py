"""Apicurio Registry in a container, for clients of Confluent's registry API."""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Mapping, Sequence
from typing import ClassVar

from testcontainers.core.network import Network

from streams.embedded.addresses import REGISTRY_PATH
from streams.testing.containers.images import REGISTRY_IMAGES
from streams.testing.containers.server import ServerContainer

PORT = 8080
PROBE_SECONDS = 2.0

# A proxy of the environment has no business between us and our own containers.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SchemaRegistryContainer(ServerContainer):
    """A schema registry whose ids outlive a restart and a kill, with the settings of the embedded one.

    Works with the official image apicurio/apicurio-registry and with the one that `docker/build.py` makes.
    """

    server: ClassVar[str] = "the schema registry"
    images: ClassVar[Sequence[str]] = REGISTRY_IMAGES
    inner_port: ClassVar[int] = PORT

    def __init__(
        self,
        image: str | None = None,
        *,
        network: Network | None = None,
        alias: str = "schema-registry",
        settings: Mapping[str, str] | None = None,
        owner_pid: int | None = None,
    ) -> None:
        """`settings` are the registry's own, by their dotted names; the rest is as for ApacheKafkaContainer."""
        super().__init__(image, network, alias, owner_pid)
        for name, value in {**_SETTINGS, **(settings or {})}.items():
            self.with_env(name.replace(".", "_").replace("-", "_").upper(), value)

    @property
    def url(self) -> str:
        """Where clients of this machine find the API."""
        return f"http://{self.address}{REGISTRY_PATH}"

    @property
    def internal_url(self) -> str:
        """Where containers in the same network find it."""
        return f"http://{self.alias}:{PORT}{REGISTRY_PATH}"

    def not_ready(self) -> str:
        """Return what is missing until it lists its subjects."""
        try:
            with _direct.open(f"{self.url}/subjects", timeout=PROBE_SECONDS) as answer:
                answer.read()
        except (OSError, http.client.HTTPException) as error:
            return f"{self.url}: {error}"
        return ""


_SETTINGS = {
    "quarkus.http.port": str(PORT),
    "quarkus.http.access-log.enabled": "false",
    "apicurio.storage.kind": "sql",
    "apicurio.storage.sql.kind": "h2",
    "apicurio.datasource.url": "jdbc:h2:file:/tmp/registry;WRITE_DELAY=0",
    "apicurio.rules.global.compatibility": "BACKWARD",
}
