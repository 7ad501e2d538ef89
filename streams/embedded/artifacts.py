"""The cache of artifacts: what is in it was verified, and a full cache needs no network."""

import errno
import hashlib
import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Protocol

from streams.embedded.files import exclusive
from streams.embedded.lock import Coordinate, LockedArtifact, read_lock
from streams.embedded.maven import Repository, certificates_of_environment
from streams.embedded.progress import download_meter
from streams.errors import StreamsError, UsageError

CACHE_VARIABLE = "STREAMS_CACHE_DIR"
PARALLEL_DOWNLOADS = 8
STAGING = "download-"
UNPACKED_SUFFIX = ".unpacked"


class StoppedDownloadError(Exception):
    """Another download failed or the user gave up: ends the threads that still load."""


class Downloads(Protocol):
    """Where files come from; used from several threads at once, for different files."""

    def download(self, coordinate: Coordinate) -> Path:
        """Return the new file, of which the caller disposes; raises OSError or RuntimeError."""


def cache_folder() -> Path:
    """Return `$STREAMS_CACHE_DIR`, else `straightstream` in the user's cache folder.

    Raises UsageError for a path with a colon, which would end an entry of Java's classpath.
    """
    if chosen := os.environ.get(CACHE_VARIABLE):
        folder = Path(chosen).expanduser().absolute()
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "straightstream"
    if ":" in str(folder):
        raise UsageError("the cache's path must not contain a colon", where=str(folder), fix=f"set {CACHE_VARIABLE}")
    return folder


class ArtifactCache:
    """The servers' files, by checksum: `<folder>/artifacts/<sha256>/<file name>`.

    A file gets its place only after its checksum was found right: a half-downloaded one is never used.
    """

    def __init__(self, folder: Path | None = None, artifacts: Sequence[LockedArtifact] | None = None) -> None:
        self.folder = folder or cache_folder()
        self.artifacts = read_lock() if artifacts is None else artifacts

    def kafka_jars(self) -> list[Path]:
        """Return Kafka's classpath. Call `fill` first."""
        return [self._place(artifact) for artifact in self.artifacts if artifact.server == "kafka"]

    def registry_folder(self) -> Path:
        """Return the folder of the unpacked registry. Call `fill` first."""
        return next(self._place(artifact) for artifact in self.artifacts if artifact.server == "registry")

    def fill(self, source: Callable[[Path, Callable[[int], None]], Downloads] = Repository) -> None:
        """Download and verify what is missing; of several processes one downloads and the others wait for it.

        `source` makes the downloads: it is given a folder and a function to be told of arrived bytes. Raises
        StreamsError where a file cannot be had, has the wrong checksum or does not fit on the disk, and
        UsageError where something is missing and jgo is not installed.
        """
        if not self._missing():
            return
        try:
            with exclusive(self.folder / "lock"):
                if missing := self._missing():
                    self._download(missing, source)
        except OSError as error:
            raise _cannot_store(self.folder, error) from error

    def _missing(self) -> list[LockedArtifact]:
        return [artifact for artifact in self.artifacts if not self._place(artifact).exists()]

    def _place(self, artifact: LockedArtifact) -> Path:
        suffix = UNPACKED_SUFFIX if artifact.server == "registry" else ""
        return self.folder / "artifacts" / artifact.sha256 / f"{artifact.coordinate.filename}{suffix}"

    def _download(
        self, missing: list[LockedArtifact], source: Callable[[Path, Callable[[int], None]], Downloads]
    ) -> None:
        for abandoned in self.folder.glob(f"{STAGING}*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        size = sum(artifact.size for artifact in missing)
        stopped = threading.Event()
        pool = ThreadPoolExecutor(PARALLEL_DOWNLOADS)
        with (
            tempfile.TemporaryDirectory(dir=self.folder, prefix=STAGING) as staging,
            certificates_of_environment(),
            download_meter(len(missing), size) as advance,
        ):

            def count(arrived: int) -> None:
                if stopped.is_set():
                    raise StoppedDownloadError
                advance(arrived)

            downloads = source(Path(staging), count)
            # The largest first, or it would run alone at the end.
            ordered = sorted(missing, key=lambda artifact: -artifact.size)
            try:
                for done in as_completed([pool.submit(self._add, artifact, downloads) for artifact in ordered]):
                    done.result()
            finally:
                stopped.set()
                pool.shutdown(cancel_futures=True)

    def _add(self, artifact: LockedArtifact, downloads: Downloads) -> None:
        try:
            file = downloads.download(artifact.coordinate)
        except (OSError, RuntimeError) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise _cannot_download(artifact, self.folder, error) from error
        _verify(file, artifact)
        if artifact.server == "registry":
            file = _unpack(file)
        place = self._place(artifact)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)


def _verify(file: Path, artifact: LockedArtifact) -> None:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
        os.fsync(content.fileno())
    if found != artifact.sha256:
        file.unlink()
        raise StreamsError(
            f"{artifact.coordinate} came with a wrong checksum and was deleted: {found} instead of {artifact.sha256}",
            fix="try again; if it happens again, a proxy or a mirror on the way changes the file",
        )


def _unpack(archive: Path) -> Path:
    folder = archive.with_name(f"{archive.name}{UNPACKED_SUFFIX}")
    with tarfile.open(archive) as content:
        content.extraction_filter = getattr(tarfile, "data_filter", None)  # Pythons before 3.11.4 have none
        content.extractall(folder)  # noqa: S202 - its checksum was verified
    archive.unlink()
    return folder


def _cannot_download(artifact: LockedArtifact, folder: Path, error: Exception) -> StreamsError:
    return StreamsError(
        f"{artifact.coordinate} cannot be downloaded: {error}",
        fix="check the network and try again (what is complete is kept), or copy the folder from a machine "
        f"that has it: {folder} ({CACHE_VARIABLE} names another)",
    )


def _cannot_store(folder: Path, error: OSError) -> StreamsError:
    return StreamsError(
        f"the cache of Kafka and the registry cannot be written: {error.strerror or error}",
        where=str(folder),
        fix=f"make room, get the right to write there, or name another folder in {CACHE_VARIABLE}",
    )
