"""Where the running cluster is: the record that `streams up` leaves and that every command reads."""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from streams.embedded.processes import CLUSTER_FILE_NAME, Process

FOLDER = ".streams"
HOST = "127.0.0.1"
REGISTRY_PATH = "/apis/ccompat/v7"


@dataclass(frozen=True)
class Addresses:
    """Where clients reach the cluster."""

    bootstrap_servers: str
    schema_registry_url: str

    @classmethod
    def at(cls, port: int) -> Self:
        """Return the addresses of a cluster whose first port is `port`."""
        return cls(f"{HOST}:{port}", f"http://{HOST}:{port + 2}{REGISTRY_PATH}")


@dataclass(frozen=True)
class ClusterRecord:
    """What is known of a cluster; written after each start of a process, so that none is lost."""

    data: Path
    port: int
    ready: bool = False
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def addresses(self) -> Addresses:
        """Where clients reach it."""
        return Addresses.at(self.port)

    def with_process(self, server: str, process: Process) -> Self:
        """Return the record with one more started server."""
        return replace(self, processes={**self.processes, server: process})

    def running(self) -> bool:
        """Return whether it became ready and all of its processes are alive."""
        return self.ready and all(process.alive() for process in self.processes.values())

    def write(self) -> None:
        """Replace `cluster.json` in the data folder."""
        content = {
            **asdict(self.addresses),
            "port": self.port,
            "ready": self.ready,
            "processes": {name: asdict(process) for name, process in self.processes.items()},
        }
        _replace(self.data / CLUSTER_FILE_NAME, content)

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """Return the record of a data folder; None where there is none or it is damaged."""
        content = _read(data / CLUSTER_FILE_NAME)
        if content is None:
            return None
        try:
            processes = {name: Process(**process) for name, process in content["processes"].items()}
            return cls(data, int(content["port"]), bool(content["ready"]), processes)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


def announce(data: Path, addresses: Addresses, folder: Path) -> None:
    """Make the cluster the one that commands in `folder` and below use: `.streams/cluster.json` names it."""
    pointer = folder / FOLDER / CLUSTER_FILE_NAME
    _replace(pointer, {**asdict(addresses), "data": str(data)})


def find_data(folder: Path | None = None) -> Path | None:
    """Return the data folder of the cluster announced in this folder, else in the nearest above it."""
    start = (folder or Path.cwd()).resolve()
    for place in (start, *start.parents):
        content = _read(place / FOLDER / CLUSTER_FILE_NAME)
        if content and isinstance(data := content.get("data"), str):
            return Path(data)
    return None


def discover(folder: Path | None = None) -> Addresses | None:
    """Return the addresses of the cluster that `streams up` started here or above, None unless it is alive.

    Cheap: it reads two files and asks the system about two processes; it connects to nothing.
    """
    data = find_data(folder)
    record = data and ClusterRecord.read(data)
    return record.addresses if record and record.running() else None


def _replace(path: Path, content: dict[str, Any]) -> None:
    """Write a file at once (0600): a reader sees the old content or the new."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    half = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file, indent=2)
    half.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    """Return the JSON object of a file; None where there is none or the file is another user's."""
    try:
        if path.stat().st_uid != os.geteuid():
            return None
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
