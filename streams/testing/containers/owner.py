"""Whose container or network it is: by labels of our own, what a killed run left behind is found and removed."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from streams.embedded.processes import Process
from streams.errors import UsageError
from streams.testing.containers.engine import engine, gone_is_fine

PREFIX = "io.straightstream."
SESSION = f"{PREFIX}session"
SESSION_ID = str(uuid.uuid4())


@dataclass(frozen=True)
class Owner:
    """The process that a container is there for: its machine, its id, and its start time, as ids are used again."""

    host: str
    process: Process

    @classmethod
    def of(cls, pid: int | None = None) -> Self:
        """Return a process, by default this one, as an owner. Raises UsageError where it does not run."""
        process = Process.of(pid or os.getpid())
        if process is None:
            raise UsageError(f"no process {pid} runs here that could own a container")
        return cls(_host(), process)

    @classmethod
    def read(cls, labels: Mapping[str, str]) -> Self | None:
        """Return the owner that labels name, None if they name none."""
        host, pid, started = (labels.get(f"{PREFIX}{name}", "") for name in ("host", "pid", "started"))
        return cls(host, Process(int(pid), started)) if host and started and pid.isdecimal() else None

    def labels(self) -> dict[str, str]:
        """Return what marks containers and networks as this process's."""
        own = {"host": self.host, "pid": str(self.process.pid), "started": self.process.started}
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return {SESSION: SESSION_ID, f"{PREFIX}created": created} | {f"{PREFIX}{k}": v for k, v in own.items()}

    def gone(self) -> bool:
        """Return whether the process has ended; one of another machine is taken to be alive."""
        return self.host == _host() and not self.process.alive()


def remove_leftovers() -> list[str]:
    """Remove the containers and networks whose owner has ended, and return their names; nothing else is touched.

    Raises StreamsError where no engine answers.
    """
    removed = []
    wanted = {"label": SESSION}
    with engine() as client:
        api = client.client.api
        for found in api.containers(all=True, filters=wanted):
            if _is_leftover(found["Labels"]):
                with gone_is_fine():
                    api.remove_container(found["Id"], force=True, v=True)
                removed.append(found["Names"][0].removeprefix("/"))
        for found in api.networks(filters=wanted):
            # One that somebody else's container uses cannot be removed yet.
            if _is_leftover(found["Labels"]) and not api.inspect_network(found["Id"])["Containers"]:
                with gone_is_fine():
                    api.remove_network(found["Id"])
                removed.append(found["Name"])
    return removed


def _is_leftover(labels: Mapping[str, str]) -> bool:
    owner = Owner.read(labels)
    return owner is not None and owner.gone()


def _host() -> str:
    """Name the machine, or the container, in whose numbering of processes an id has its meaning."""
    numbering = Path("/proc/self/ns/pid")
    return f"{platform.node()} {numbering.readlink()}" if numbering.is_symlink() else platform.node()
