"""The Maven repository, through jgo: it knows the address, this project does not."""

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from streams.embedded.lock import Coordinate
from streams.errors import UsageError

EXTRA = "pip install 'straightstream[embedded]'"
TIMEOUT_SECONDS = 30


class Repository:
    """Downloads files into a folder. Safe to use from several threads, for different files."""

    def __init__(self, folder: Path, advance: Callable[[int], None] = lambda _: None) -> None:
        """`advance` is told the bytes as they arrive; what it raises ends the download.

        Raises UsageError where jgo is not installed.
        """
        maven = _import_jgo()

        @contextlib.contextmanager
        def progress(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
            yield advance

        self.context: Any = maven.MavenContext(
            resolver=maven.PythonResolver(progress_callback=progress),
            repo_cache=folder,
            timeout=TIMEOUT_SECONDS,
        )

    def download(self, coordinate: Coordinate) -> Path:
        """Return the file; raises OSError or RuntimeError where it cannot be had, and leaves no rest."""
        component = self.context.project(coordinate.group, coordinate.artifact).at_version(coordinate.version)
        artifact = component.artifact(coordinate.classifier, coordinate.packaging)
        for last in (False, False, True):
            try:
                return Path(artifact.resolve())
            except (OSError, RuntimeError):
                # jgo takes whatever lies there for the whole file.
                artifact.cached_path.unlink(missing_ok=True)
                if last:
                    raise
        raise AssertionError

    def dependencies(self, coordinate: Coordinate) -> list[Coordinate]:
        """Return what a jar needs at run time, itself first, as its own POM says.

        Resolve one root at a time: jgo takes the roots for BOMs, and log4j's names an old kafka-clients.
        """
        found = self.context.resolver.resolve([self.context.create_dependency(str(coordinate))])
        return [_coordinate_of(dependency) for group in found for dependency in group]


def _coordinate_of(dependency: Any) -> Coordinate:
    return Coordinate(
        dependency.groupId, dependency.artifactId, dependency.version, dependency.type, dependency.classifier
    )


def _import_jgo() -> ModuleType:
    try:
        return importlib.import_module("jgo.maven")
    except ImportError as error:
        raise UsageError(
            "the embedded cluster is not downloaded yet, and jgo, which downloads it, is not installed",
            fix=EXTRA,
        ) from error


@contextlib.contextmanager
def certificates_of_environment() -> Iterator[None]:
    """Let SSL_CERT_FILE count in here: requests, which jgo uses, looks at REQUESTS_CA_BUNDLE alone."""
    bundle = os.environ.get("SSL_CERT_FILE")
    if not bundle or "REQUESTS_CA_BUNDLE" in os.environ:
        yield
        return
    os.environ["REQUESTS_CA_BUNDLE"] = bundle
    try:
        yield
    finally:
        del os.environ["REQUESTS_CA_BUNDLE"]
