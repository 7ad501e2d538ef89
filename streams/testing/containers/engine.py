"""The container engine: whether one answers, where it publishes ports, and its errors as ours."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import RequestException
from testcontainers.core.config import ConnectionMode, testcontainers_config
from testcontainers.core.docker_client import DockerClient, get_docker_host
from testcontainers.core.exceptions import ContainerStartException

from streams.errors import StreamsError, UsageError

# An engine answers in milliseconds; one that takes so long is stuck.
ENGINE_SECONDS = 20
PING_BYTES = 64
DEFAULT_PLACE = "unix:///var/run/docker.sock"
LOOPBACK = "127.0.0.1"
START_ONE = "start one: `docker/engine` of the project's repository does on Debian; DOCKER_HOST names another"


def engine_problem() -> str | None:
    """Return why containers cannot be used here, in one sentence; None if a container engine answers."""
    try:
        with engine() as client:
            client.client.ping()
    except StreamsError as error:
        return f"{error.what} ({error.where}); {error.fix}"
    return None


@contextlib.contextmanager
def engine() -> Iterator[DockerClient]:
    """Open a connection to the engine. Raises StreamsError, within the block too, where it does not answer."""
    require_engine()
    with told("connecting"):
        client = DockerClient(timeout=ENGINE_SECONDS)
        try:
            yield client
        finally:
            client.client.close()


def require_engine() -> None:
    """Raise StreamsError unless an engine answers at its socket; one of another machine is not asked here.

    The client library does find out, but leaves its socket open then: a ResourceWarning in somebody's tests.
    """
    kind, _, path = _place().partition("://")
    if kind != "unix":
        return
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ENGINE_SECONDS)
            line.connect(path)
            line.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            answer = line.recv(PING_BYTES)
    except OSError as error:
        raise _silent("connecting", error) from error
    if not answer.startswith(b"HTTP/"):
        raise _silent("connecting", f"what listens there says {answer!r}")


@contextlib.contextmanager
def told(doing: str) -> Iterator[None]:
    """Turn the errors of the engine, of not reaching it, and of a container that was not started into ours."""
    try:
        yield
    except ContainerStartException as error:
        raise UsageError(f"{error}: it is too early {doing}", fix="call start(), or use `with`") from error
    except APIError as error:
        raise StreamsError(
            f"the container engine refuses {doing}: {error.explanation or error}", where=_place()
        ) from error
    except (DockerException, RequestException) as error:
        raise StreamsError(
            f"no container engine answers while {doing}: {error}", where=_place(), fix=START_ONE
        ) from error


@contextlib.contextmanager
def gone_is_fine() -> Iterator[None]:
    """Pass over the removal of what is gone, or is being removed by another process."""
    try:
        yield
    except NotFound:
        pass
    except APIError as error:
        if "already in progress" not in str(error):
            raise


def published_at(client: DockerClient, network: str) -> tuple[str, str]:
    """Return on which of the engine's addresses to publish ports, and by which host we reach them.

    Only another machine's engine publishes on all of its addresses: brokers in tests ask nobody for a password.
    """
    if client.get_connection_mode() is not ConnectionMode.docker_host:
        # We are in a container ourselves: the way to its host's ports is the bridge.
        gateway = _gateway(client.client.networks.get(network).attrs)
        return gateway, gateway
    host = client.host()
    return (LOOPBACK, LOOPBACK) if host in {"localhost", LOOPBACK} else ("", host)


def do_without_ryuk(client: DockerClient) -> None:
    """Let testcontainers not fetch its cleaner where that is not present: `remove_leftovers` cleans up."""
    if not testcontainers_config.ryuk_disabled:
        found = client.client.images.list(name=testcontainers_config.ryuk_image)
        testcontainers_config.ryuk_disabled = not found


def _gateway(attributes: dict[str, Any]) -> str:
    gateways = [config["Gateway"] for config in attributes["IPAM"]["Config"] if "Gateway" in config]
    return str(gateways[0])


def _silent(doing: str, why: object) -> StreamsError:
    return StreamsError(f"no container engine answers while {doing}: {why}", where=_place(), fix=START_ONE)


def _place() -> str:
    return get_docker_host() or DEFAULT_PLACE
