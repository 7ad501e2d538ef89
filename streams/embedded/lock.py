"""The locked artifacts: which files the servers are made of, by Maven coordinates and checksum."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

from streams.errors import UsageError

LOCK_FILE = Path(__file__).with_name("artifacts.lock")
ServerName = Literal["kafka", "registry"]


@dataclass(frozen=True)
class Coordinate:
    """A file of a Maven repository: `group:artifact:version[:packaging[:classifier]]`."""

    group: str
    artifact: str
    version: str
    packaging: str = "jar"
    classifier: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise ValueError unless the text has three to five parts, none of them empty."""
        parts = text.split(":")
        if not 3 <= len(parts) <= 5 or not all(parts):  # noqa: PLR2004 - the parts of a coordinate
            raise ValueError(f"not a Maven coordinate: {text}")
        return cls(*parts)

    def __str__(self) -> str:
        text = f"{self.group}:{self.artifact}:{self.version}"
        if self.classifier:
            return f"{text}:{self.packaging}:{self.classifier}"
        return text if self.packaging == "jar" else f"{text}:{self.packaging}"

    @property
    def filename(self) -> str:
        """The name of the file in a repository."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{classifier}.{self.packaging}"


@dataclass(frozen=True)
class LockedArtifact:
    """One line of the lock: the server that needs the file, which it is, its size in bytes and checksum."""

    server: ServerName
    coordinate: Coordinate
    size: int
    sha256: str

    @classmethod
    def parse(cls, line: str) -> Self:
        """Raise ValueError, with the reason, for a line that is not one of the lock."""
        server, coordinate, size, sha256 = line.split()
        if server not in get_args(ServerName):
            raise ValueError(f"unknown server {server}")
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):  # noqa: PLR2004 - hexadecimal digits of a SHA-256
            raise ValueError(f"not a SHA-256 checksum: {sha256}")
        return cls(server, Coordinate.parse(coordinate), int(size), sha256)  # type: ignore[arg-type] # one of them

    def __str__(self) -> str:
        return f"{self.server} {self.coordinate} {self.size} {self.sha256}"


def read_lock(path: Path = LOCK_FILE) -> list[LockedArtifact]:
    """Return the lines of a lock file; raises UsageError naming the first bad line."""
    artifacts = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            artifacts.append(LockedArtifact.parse(line))
        except ValueError as error:
            raise UsageError(
                f"the list of artifacts is damaged: {error}",
                where=f"{path}, line {number}",
                fix="reinstall straightstream",
            ) from error
    return artifacts
