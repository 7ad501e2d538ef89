from pathlib import Path

import pytest

from streams.embedded.lock import LOCK_FILE, Coordinate, read_lock
from streams.errors import UsageError

SHA256 = "0" * 63 + "a"


def test_the_lock_names_kafka_a_logger_and_the_registry_once_each() -> None:
    artifacts = read_lock()
    names = [str(artifact.coordinate) for artifact in artifacts]
    assert "org.apache.kafka:kafka_2.13:4.3.1" in names
    # The dependency resolver once chose kafka-clients 3.9.1, and Kafka did not start.
    assert {a.coordinate.version for a in artifacts if a.coordinate.group == "org.apache.kafka"} == {"4.3.1"}
    assert any("log4j-slf4j-impl" in name for name in names)
    assert [str(a.coordinate) for a in artifacts if a.server == "registry"] == [
        "io.apicurio:apicurio-registry-app:3.3.3:tar.gz:all"
    ]
    assert len(names) == len(set(names)) == 47


def test_the_lock_names_no_host() -> None:
    assert "://" not in LOCK_FILE.read_text()


@pytest.mark.parametrize("text", ["g:a:1", "g:a:1:pom", "g:a:1:tar.gz:all", "g:a:1:jar:linux"])
def test_a_coordinate_survives_a_round_trip(text: str) -> None:
    assert str(Coordinate.parse(text)) == text


def test_a_coordinate_gives_the_name_of_its_file() -> None:
    assert Coordinate.parse("g:a:1:tar.gz:all").filename == "a-1-all.tar.gz"
    assert Coordinate.parse("g:a:1").filename == "a-1.jar"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"kafka g:a:1 5 {SHA256[:-1]}", "not a SHA-256 checksum"),
        (f"kafka g:a:1 5 {SHA256[:-1]}G", "not a SHA-256 checksum"),
        (f"zookeeper g:a:1 5 {SHA256}", "unknown server zookeeper"),
        (f"kafka g:a 5 {SHA256}", "not a Maven coordinate: g:a"),
        (f"kafka g::1 5 {SHA256}", "not a Maven coordinate: g::1"),
        (f"kafka g:a:1 many {SHA256}", "invalid literal"),
        ("kafka g:a:1", "not enough values"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    lock = tmp_path / "artifacts.lock"
    lock.write_text(f"# comment\n\nkafka g:a:1 5 {SHA256}\n{line}\n")
    with pytest.raises(UsageError, match=reason) as caught:
        read_lock(lock)
    assert caught.value.where == f"{lock}, line 4"
