"""What the cluster needs to know of a server, and what both servers have in common."""

import os
from pathlib import Path
from typing import ClassVar, Protocol

from streams.embedded.artifacts import ArtifactCache
from streams.embedded.java import Java
from streams.embedded.lock import ServerName

KEPT_ENVIRONMENT = ("PATH", "HOME", "TZ")


class Server(Protocol):
    """A server program: the cluster prepares it, starts its command, then asks `is_ready` until it is."""

    name: ClassVar[ServerName]
    oldest_java: ClassVar[int]

    @property
    def port(self) -> int:
        """Where clients connect."""

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port it listens on."""

    @property
    def temporary(self) -> Path:
        """A folder that is emptied before each start."""

    def prepare(self, java: Java, artifacts: ArtifactCache) -> None:
        """Write what the server needs before a start; raises StreamsError."""

    def command(self, java: Java, artifacts: ArtifactCache) -> list[str]:
        """Return the program and its arguments."""

    def is_ready(self) -> bool:
        """Ask the running server whether it serves clients; never raises, takes at most a second or two."""


def server_environment() -> dict[str, str]:
    """Return what a server may see: nothing that configures a JVM or Quarkus, and no secrets."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    # Or Java would not open a path that is not ASCII.
    return {**kept, "LC_ALL": "C.UTF-8"}


def java_command(java: Java, temporary: Path, *options: str) -> list[str]:
    """Return the start of a command: a JVM without agents and shared files that ends when its memory does."""
    return [
        str(java.path),
        "-XX:+DisableAttachMechanism",
        "-XX:-UsePerfData",
        "-XX:+ExitOnOutOfMemoryError",
        f"-XX:ErrorFile={temporary}/crash.log",
        f"-Djava.io.tmpdir={temporary}",
        "-Djava.awt.headless=true",
        *options,
    ]
