import errno
import hashlib
import io
import os
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.embedded.artifacts import ArtifactCache, cache_folder
from streams.embedded.lock import Coordinate, LockedArtifact, ServerName
from streams.embedded.maven import Repository, certificates_of_environment
from streams.errors import StreamsError, UsageError


def archive(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as packed:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        packed.addfile(member, io.BytesIO(content))
    return file.getvalue()


FILES = {
    "a-1.jar": b"first jar",
    "b-2.jar": b"second jar",
    "r-3-all.tar.gz": archive("quarkus-run.jar", b"runner"),
}


def locked(server: ServerName, coordinate: str) -> LockedArtifact:
    parsed = Coordinate.parse(coordinate)
    content = FILES[parsed.filename]
    return LockedArtifact(server, parsed, len(content), hashlib.sha256(content).hexdigest())


LOCKED = [locked("kafka", "g:a:1"), locked("kafka", "g:b:2"), locked("registry", "g:r:3:tar.gz:all")]


class FakeSource:
    """Serves FILES, some of them otherwise, and counts."""

    def __init__(self, **instead: bytes | Exception) -> None:
        self.instead = instead
        self.asked: list[str] = []
        self.advance: Callable[[int], None] = lambda _: None
        self.folder = Path()

    def __call__(self, folder: Path, advance: Callable[[int], None]) -> "FakeSource":
        self.folder, self.advance = folder, advance
        return self

    def download(self, coordinate: Coordinate) -> Path:
        self.asked.append(coordinate.filename)
        content = self.instead.get(coordinate.artifact, FILES[coordinate.filename])
        if isinstance(content, Exception):
            raise content
        self.advance(len(content))
        path = self.folder / coordinate.filename
        path.write_bytes(content)
        return path


def test_fill_places_the_jars_and_unpacks_the_registry(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, LOCKED)
    cache.fill(FakeSource())
    assert [jar.read_bytes() for jar in cache.kafka_jars()] == [b"first jar", b"second jar"]
    assert (cache.registry_folder() / "quarkus-run.jar").read_bytes() == b"runner"
    assert not list(tmp_path.glob("download-*"))


def test_what_a_killed_download_left_is_removed(tmp_path: Path) -> None:
    abandoned = tmp_path / "download-x"
    abandoned.mkdir()
    (abandoned / "a-1.jar").write_bytes(b"fir")
    ArtifactCache(tmp_path, LOCKED).fill(FakeSource())
    assert not abandoned.exists()


def test_a_full_cache_asks_for_nothing(tmp_path: Path) -> None:
    ArtifactCache(tmp_path, LOCKED).fill(FakeSource())
    second = FakeSource()
    ArtifactCache(tmp_path, LOCKED).fill(second)
    assert second.asked == []


def test_only_what_is_missing_is_downloaded(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, LOCKED)
    cache.fill(FakeSource())
    cache.kafka_jars()[1].unlink()
    source = FakeSource()
    cache.fill(source)
    assert source.asked == ["b-2.jar"]


def test_a_wrong_checksum_is_reported_and_the_file_deleted(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, LOCKED)
    with pytest.raises(StreamsError, match="g:b:2 came with a wrong checksum and was deleted") as caught:
        cache.fill(FakeSource(b=b"second jaw"))
    assert "try again" in caught.value.fix
    assert not cache.kafka_jars()[1].exists()
    assert not any(b"second jaw" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_a_half_downloaded_file_is_never_used_and_the_next_call_gets_it(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, LOCKED)
    with pytest.raises(StreamsError):
        cache.fill(FakeSource(b=b"second"))
    cache.fill(FakeSource())
    assert cache.kafka_jars()[1].read_bytes() == b"second jar"


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, LOCKED)
    with pytest.raises(StreamsError, match="g:a:1 cannot be downloaded: no route") as caught:
        cache.fill(FakeSource(a=OSError("no route")))
    assert "STREAMS_CACHE_DIR" in caught.value.fix


def test_a_failure_ends_the_other_downloads(tmp_path: Path) -> None:
    stopped = threading.Event()

    class Slow(FakeSource):
        def download(self, coordinate: Coordinate) -> Path:
            if coordinate.artifact != "r":
                raise OSError("no route")
            for _ in range(1000):
                try:
                    self.advance(1)
                except Exception:
                    stopped.set()
                    raise
                threading.Event().wait(0.01)
            return self.folder

    with pytest.raises(StreamsError, match="no route"):
        ArtifactCache(tmp_path, [LOCKED[2], LOCKED[0]]).fill(Slow())
    assert stopped.is_set()


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(StreamsError, match="cannot be written: No space left") as caught:
        ArtifactCache(tmp_path, LOCKED).fill(FakeSource(a=full))
    assert caught.value.where == str(tmp_path)


def test_a_cache_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StreamsError, match="cannot be written: Not a directory"):
        ArtifactCache(tmp_path / "file" / "cache", LOCKED).fill(FakeSource())


def test_a_second_process_waits_and_downloads_nothing(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow(FakeSource):
        def download(self, coordinate: Coordinate) -> Path:
            entered.set()
            assert leave.wait(10)
            return super().download(coordinate)

    first = threading.Thread(target=ArtifactCache(tmp_path, LOCKED[:1]).fill, args=(Slow(),))
    first.start()
    assert entered.wait(10)
    source = FakeSource()
    second = threading.Thread(target=ArtifactCache(tmp_path, LOCKED[:1]).fill, args=(source,))
    second.start()
    leave.set()
    first.join(10)
    second.join(10)
    assert source.asked == []


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    evil = archive("../../evil", b"x")
    entry = LockedArtifact("registry", Coordinate.parse("g:r:3:tar.gz:all"), 1, hashlib.sha256(evil).hexdigest())
    with pytest.raises(tarfile.OutsideDestinationError):
        ArtifactCache(tmp_path / "cache", [entry]).fill(FakeSource(r=evil))
    assert not list(tmp_path.rglob("evil"))


def test_without_jgo_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(UsageError, match="jgo") as caught:
        ArtifactCache(tmp_path, LOCKED).fill()
    assert caught.value.fix == "pip install 'straightstream[embedded]'"


def test_a_broken_download_leaves_no_part_for_the_next_attempt(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    attempts = []

    def broken(artifact: object) -> Path:
        path: Path = artifact.cached_path  # type: ignore[attr-defined] # a path, after its download
        attempts.append(path.exists())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"part")
        raise OSError("reset by peer")

    repository.context.resolver.download = broken
    with pytest.raises(OSError, match="reset by peer"):
        repository.download(Coordinate.parse("g:a:1"))
    assert attempts == [False, False, False]
    assert not list(tmp_path.rglob("*.jar"))


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMS_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "straightstream"
    monkeypatch.setenv("STREAMS_CACHE_DIR", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.setenv("STREAMS_CACHE_DIR", str(tmp_path / "a:b"))
    with pytest.raises(UsageError, match="colon"):
        cache_folder()


def test_the_certificates_of_the_environment_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", "company.pem")
    with certificates_of_environment():
        assert os.environ["REQUESTS_CA_BUNDLE"] == "company.pem"
    assert "REQUESTS_CA_BUNDLE" not in os.environ
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "other.pem")
    with certificates_of_environment():
        assert os.environ["REQUESTS_CA_BUNDLE"] == "other.pem"
    assert os.environ["REQUESTS_CA_BUNDLE"] == "other.pem"
