"""Writes `artifacts.lock` anew: `python -m streams.embedded.relock`. For whoever moves to new versions."""

import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streams.embedded.lock import LOCK_FILE, Coordinate, LockedArtifact, ServerName
from streams.embedded.maven import Repository, certificates_of_environment

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"  # 4.4.0 is incomplete in the repository
SLF4J_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"  # Kafka's POM brings none
REGISTRY = "io.apicurio:apicurio-registry-app:3.3.3:tar.gz:all"
HEADER = "# Written by streams/embedded/relock.py: server, Maven coordinate, bytes, SHA-256.\n"


def kafka_jars(repository: Repository) -> list[Coordinate]:
    """Return Kafka's classpath with the logging binding; where both name a jar, Kafka's version counts."""
    jars: dict[tuple[str, str], Coordinate] = {}
    for root in (KAFKA, SLF4J_BINDING):
        for jar in repository.dependencies(Coordinate.parse(root)):
            jars.setdefault((jar.group, jar.artifact), jar)
    return sorted(jars.values(), key=str)


def relock(path: Path = LOCK_FILE) -> None:
    """Resolve, download and hash every artifact, and replace the lock file."""
    with tempfile.TemporaryDirectory() as folder, certificates_of_environment():
        repository = Repository(Path(folder))

        def lock(server: ServerName, coordinate: Coordinate) -> LockedArtifact:
            content = repository.download(coordinate).read_bytes()
            return LockedArtifact(server, coordinate, len(content), hashlib.sha256(content).hexdigest())

        with ThreadPoolExecutor() as pool:
            kafka = pool.map(lambda jar: lock("kafka", jar), kafka_jars(repository))
            artifacts = [*kafka, lock("registry", Coordinate.parse(REGISTRY))]
    path.write_text(HEADER + "".join(f"{artifact}\n" for artifact in artifacts))


if __name__ == "__main__":
    relock()
