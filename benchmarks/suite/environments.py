"""Where contenders run: an environment of its own for each, made on first use and kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from benchmarks.suite.errors import BenchmarkError
from streams.embedded.artifacts import cache_folder
from streams.embedded.java import choose_java
from streams.embedded.lock import Coordinate
from streams.embedded.maven import Repository, certificates_of_environment

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "benchmarks" / "programs"
LONGEST_INSTALL = 600.0  # seconds


class Environment(Protocol):
    """Something that runs programs; `prepare` makes it if it is not there yet."""

    def prepare(self) -> None: ...

    def command(self, program: str) -> list[str]: ...

    def versions(self) -> dict[str, str]: ...


def benchmarks_cache() -> Path:
    """Return the folder of all environments, outside the repository."""
    return cache_folder() / "benchmarks"


@dataclass(frozen=True)
class Own:
    """The environment that the suite itself runs in."""

    packages: Sequence[str]

    @property
    def python(self) -> Path:
        """The interpreter."""
        return Path(sys.executable)

    def prepare(self) -> None:
        """There is nothing to make."""

    def command(self, program: str) -> list[str]:
        """Return the command that runs a program; `ours` imports the toolkit as `benchmarks` does."""
        return (
            [sys.executable, "-m", f"benchmarks.programs.{program}"]
            if program == "ours"
            else _script(sys.executable, program)
        )

    def versions(self) -> dict[str, str]:
        """Return the versions of what matters."""
        return {"python": sys.version.split()[0], **{name: version(name) for name in self.packages}}


@dataclass(frozen=True)
class PythonEnvironment:
    """A virtual environment with exactly these packages, `name==version`; its folder is named after them."""

    name: str
    packages: Sequence[str]

    @cached_property
    def _folder(self) -> Path:
        told = "\n".join((sys.version, *self.packages))
        return benchmarks_cache() / f"{self.name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self._folder / "bin" / "python"

    def prepare(self) -> None:
        """Make it; what was not finished is begun anew.

        Raises:
            BenchmarkError: the packages cannot be installed.
        """
        if self._done.exists():
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        venv.create(self._folder, with_pip=True)
        _run([str(self.python), "-m", "pip", "install", "-q", *self.packages], f"the environment of {self.name}")
        self._done.write_text(_run([str(self.python), "-m", "pip", "freeze"], self.name))

    def command(self, program: str) -> list[str]:
        """Return the command that runs a program."""
        return _script(str(self.python), program)

    def versions(self) -> dict[str, str]:
        """Return the versions of everything that is installed in it."""
        frozen = dict(line.split("==") for line in self._done.read_text().splitlines() if "==" in line)
        return {"python": sys.version.split()[0], **frozen}

    @property
    def _done(self) -> Path:
        return self._folder / "installed.txt"


@dataclass(frozen=True)
class JavaEnvironment:
    """Jars by Maven coordinates, and one source file compiled by Eclipse's compiler: a runtime has none of its own."""

    name: str
    roots: Sequence[str]
    compiler: str
    oldest_java: int = 17
    options: Sequence[str] = ()

    @cached_property
    def _java(self) -> str:
        return str(choose_java(self.name, self.oldest_java, lambda _: None).path)

    def prepare(self) -> None:
        """Download the jars and compile the program, each only if it is not there in this version.

        Raises:
            BenchmarkError: the program does not compile.
        """
        if not self._classpath_file.exists():
            folder = benchmarks_cache() / "maven"
            with certificates_of_environment():
                repository = Repository(folder)
                found = {
                    str(one): one for root in self.roots for one in repository.dependencies(Coordinate.parse(root))
                }
                jars = [repository.download(one) for one in _one_of_each(list(found.values()))]
                compiler = repository.download(Coordinate.parse(self.compiler))
            self._folder.mkdir(parents=True, exist_ok=True)
            _write(self._folder / "compiler", str(compiler))
            _write(self._classpath_file, os.pathsep.join(str(jar) for jar in jars))
        for source in PROGRAMS.glob("*.java"):
            self._compile(source)

    def command(self, program: str) -> list[str]:
        """Return the command that runs a class."""
        classes = self._classes(PROGRAMS / f"{program}.java")
        return [self._java, *self.options, "-cp", f"{classes}{os.pathsep}{self._classpath_file.read_text()}", program]

    def versions(self) -> dict[str, str]:
        """Return the versions of the roots and of Java."""
        java = choose_java(self.name, self.oldest_java, lambda _: None)
        return {"java": str(java.major), **{one.rpartition(":")[0]: one.rpartition(":")[2] for one in self.roots}}

    def _compile(self, source: Path) -> None:
        classes = self._classes(source)
        if (classes / f"{source.stem}.class").exists():
            return
        compiler = (self._folder / "compiler").read_text()
        level = str(self.oldest_java)  # not --release: a runtime has no signatures of older ones
        options = ["-proc:none", "-nowarn", "-source", level, "-target", level, "-cp", self._classpath_file.read_text()]
        _run([self._java, "-jar", compiler, *options, "-d", str(classes), str(source)], f"compiling {source.name}")

    def _classes(self, source: Path) -> Path:
        return self._folder / hashlib.sha256(source.read_bytes()).hexdigest()[:12]

    @cached_property
    def _folder(self) -> Path:
        told = "\n".join((*self.roots, self.compiler))
        return benchmarks_cache() / f"{self.name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"

    @property
    def _classpath_file(self) -> Path:
        return self._folder / "classpath"


def _one_of_each(found: Sequence[Coordinate]) -> list[Coordinate]:
    """Keep one version of each jar, that of the first root that names it."""
    kept: dict[tuple[str, str, str], Coordinate] = {}
    for one in found:
        kept.setdefault((one.group, one.artifact, one.classifier), one)
    return list(kept.values())


def _write(path: Path, content: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(content)
    fresh.replace(path)


def _script(python: str, program: str) -> list[str]:
    return [python, str(PROGRAMS / f"{program}.py")]


def _run(command: Sequence[str], doing: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_INSTALL, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{doing}: not done after {LONGEST_INSTALL:.0f} s") from error
    if done.returncode:
        raise BenchmarkError(f"{doing}: {(done.stdout + done.stderr).strip()[-2000:]}")
    return done.stdout
