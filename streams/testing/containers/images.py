"""Which images: those that `docker/build.py` made, else the official ones; nothing is pulled unasked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from docker.errors import ImageNotFound
from testcontainers.core.docker_client import DockerClient

from streams.errors import StreamsError, UsageError
from streams.testing.containers.engine import engine, told

KAFKA_IMAGES = ("straightstream/kafka:4.3.1", "apache/kafka:4.3.1")
REGISTRY_IMAGES = ("straightstream/apicurio-registry:3.3.3", "apicurio/apicurio-registry:3.3.3")
BUILD = "`python docker/build.py` in the project's repository"


class Images(NamedTuple):
    """The images that containers are made of when none is named."""

    kafka: str
    registry: str


def find_images() -> Images | None:
    """Return the images that this engine has, None if one is missing. Raises StreamsError if no engine answers."""
    with engine() as client:
        kafka, registry = _first(client, KAFKA_IMAGES), _first(client, REGISTRY_IMAGES)
    return Images(kafka, registry) if kafka and registry else None


def choose(client: DockerClient, given: str | None, candidates: Sequence[str]) -> str:
    """Return the image to use: the one that was given, which may be pulled, else the first that is present.

    Raises:
        UsageError: none is present, or the given one cannot be had.
    """
    if given:
        return _provided(client, given)
    found = _first(client, candidates)
    if not found:
        raise UsageError(
            f"the container engine has no image {' or '.join(candidates)}",
            fix=f"build the first with {BUILD}, or docker pull {candidates[-1]}",
        )
    return found


def _first(client: DockerClient, candidates: Sequence[str]) -> str | None:
    return next((image for image in candidates if _present(client, image)), None)


def _present(client: DockerClient, image: str) -> bool:
    try:
        client.client.images.get(image)
    except ImageNotFound:
        return False
    return True


def _provided(client: DockerClient, image: str) -> str:
    if not _present(client, image):
        try:
            with told(f"to pull {image}"):
                client.client.images.pull(image)
        except StreamsError as error:
            raise UsageError(
                f"image {image} is not here and cannot be pulled: {error.what}",
                fix=f"check its name and the network, or build one with {BUILD} and name none",
            ) from error
    return image
