"""Apicurio Registry as one process with an H2 file database, for clients of Confluent's registry API."""

import http.client
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from streams.embedded.addresses import HOST, REGISTRY_PATH
from streams.embedded.artifacts import ArtifactCache
from streams.embedded.java import Java
from streams.embedded.lock import ServerName
from streams.embedded.servers import java_command

PROBE_SECONDS = 2.0
HTTP_OK = 200

# A proxy of the environment has no business between us and our own machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Registry:
    """A schema registry on `port`; its database is in `folder`."""

    name: ClassVar[ServerName] = "registry"
    oldest_java: ClassVar[int] = 21
    port: int
    folder: Path
    temporary: Path

    @property
    def ports(self) -> tuple[int, ...]:
        """Where it listens."""
        return (self.port,)

    def prepare(self, java: Java, artifacts: ArtifactCache) -> None:  # noqa: ARG002 - as every server has it
        """Make the database's folder; the registry makes the database."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def command(self, java: Java, artifacts: ArtifactCache) -> list[str]:
        """Return the command that runs the registry."""
        settings = registry_settings(self.port, self.folder)
        return [
            *java_command(java, self.temporary, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            *(f"-D{key}={value}" for key, value in settings.items()),
            "-jar",
            str(artifacts.registry_folder() / "quarkus-run.jar"),
        ]

    def is_ready(self) -> bool:
        """Return whether the registry lists its subjects."""
        try:
            url = f"http://{HOST}:{self.port}{REGISTRY_PATH}/subjects"
            with _direct.open(url, timeout=PROBE_SECONDS) as answer:
                return bool(answer.status == HTTP_OK)
        except (OSError, http.client.HTTPException):
            return False


def registry_settings(port: int, folder: Path) -> dict[str, object]:
    """Return the registry's settings: loopback only, and nothing acknowledged that a SIGKILL could lose."""
    return {
        "quarkus.http.host": HOST,
        "quarkus.http.port": port,
        "quarkus.http.access-log.enabled": "false",
        # Quarkus opens a second port for management, on every interface.
        "quarkus.management.host-enabled": "false",
        "apicurio.storage.kind": "sql",
        "apicurio.storage.sql.kind": "h2",
        # By default H2 writes half a second later: a SIGKILL loses a registration and its id is given again.
        "apicurio.datasource.url": f"jdbc:h2:file:{folder}/registry;WRITE_DELAY=0",
        # What Confluent's registry does; Apicurio's own default is NONE. A PUT of /config still overrides it.
        "apicurio.rules.global.compatibility": "BACKWARD",
    }
