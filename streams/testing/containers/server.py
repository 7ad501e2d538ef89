"""What the containers of Kafka and of the registry have in common: addresses that stay, readiness, an end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

from docker.errors import APIError
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from streams.embedded.ports import free_ports
from streams.errors import StreamsError
from streams.testing.containers.engine import (
    ENGINE_SECONDS,
    do_without_ryuk,
    gone_is_fine,
    published_at,
    require_engine,
    told,
)
from streams.testing.containers.images import choose
from streams.testing.containers.owner import Owner

START_SECONDS = 120.0
STOP_SECONDS = 15
POLL_SECONDS = 0.05
PORT_ATTEMPTS = 20
LAST_LINES = 15
LINE_LENGTH = 300
TAKEN = ("address already in use", "port is already allocated")


class OwnNetwork(Network):
    """A network that goes with its container, with our labels."""

    def __init__(self, labels: dict[str, str]) -> None:
        require_engine()
        with told("to prepare a network"):
            super().__init__({"timeout": ENGINE_SECONDS}, {"labels": labels})

    def create(self) -> Self:
        """Make it."""
        with told("to make a network"):
            return super().create()

    def remove(self) -> None:
        """Remove it; one that is gone is fine."""
        if self._network:
            with told("to remove a network"), gone_is_fine():
                super().remove()
        self._network = None
        self._docker.client.close()


class ServerContainer(DockerContainer):
    """One server. Its port on this side is chosen before it starts, and stays the same over restarts.

    Start, stop and the rest raise StreamsError where the engine refuses or does not answer; a start that fails shows
    the server's last words and leaves nothing behind. `stop` may be called at any time, also twice.
    """

    server: ClassVar[str]
    images: ClassVar[Sequence[str]]
    inner_port: ClassVar[int]

    def __init__(self, image: str | None, network: Network | None, alias: str, owner_pid: int | None) -> None:
        require_engine()
        with told(f"to prepare {self.server}"):
            super().__init__(image or self.images[0], {"timeout": ENGINE_SECONDS})
        self.alias = alias
        self.with_network_aliases(alias)
        self._given_image = image and self.image
        self._given_network = network
        self._own_network: OwnNetwork | None = None
        self._labels = Owner.of(owner_pid).labels()
        self._host = ""
        self._port = 0

    @property
    def address(self) -> str:
        """Where clients of this machine connect: `host:port`. It stays the same over restarts."""
        host, port = self.endpoint
        return f"{host}:{port}"

    @property
    def endpoint(self) -> tuple[str, int]:
        """The host and the port of `address`."""
        if not self._port:
            raise StreamsError(f"the container of {self.server} was not started", fix="call start(), or use `with`")
        return self._host, self._port

    @property
    def network(self) -> Network:
        """Where other containers reach it by its alias; its own one, unless it was given one."""
        if self._network is None:
            raise StreamsError(f"the container of {self.server} was not started", fix="call start(), or use `with`")
        return self._network

    def start(self) -> Self:
        """Start it and return when it is ready."""
        with self._cleared_if_it_fails():
            self.launch()
            self.wait_until_ready()
        return self

    def launch(self) -> None:
        """Start it without waiting; `start` is the way for one that stands alone."""
        with told(f"to start {self.server}"):
            client = self.get_docker_client()
            do_without_ryuk(client)
            self.image = choose(client, self._given_image, self.images)
            self.with_network(self._given_network or self._make_network())
            published, self._host = published_at(client, self.network.name)
            for attempt in range(1, PORT_ATTEMPTS + 1):
                if self._started_on(published, free_ports(), last=attempt == PORT_ATTEMPTS):
                    break

    def stop(self, force: bool = True, delete_volume: bool = True) -> None:
        """Remove the container, its data and its own network."""
        with told(f"to remove {self.server}"):
            try:
                self._remove_container(force=force, delete_volume=delete_volume)
                if self._own_network:
                    self._own_network.remove()
                    self._own_network = self._network = None
            finally:
                self.get_docker_client().client.close()

    def kill(self) -> None:
        """End the server at once (SIGKILL); its data stays, for `start_again`."""
        with told(f"to kill {self.server}"):
            self.get_wrapped_container().kill()
            self.get_wrapped_container().wait(timeout=ENGINE_SECONDS)

    def start_again(self) -> None:
        """Start the server on its data, at its address, and return when it is ready."""
        with told(f"to start {self.server}"):
            self.get_wrapped_container().start()
        self.wait_until_ready()

    def restart(self) -> None:
        """Let the server end in good order (SIGTERM), and start it again."""
        with told(f"to stop {self.server}"):
            self.get_wrapped_container().stop(timeout=STOP_SECONDS)
        self.start_again()

    def pause(self) -> None:
        """Freeze the server: connections stay open, nothing is answered."""
        with told(f"to pause {self.server}"):
            self.get_wrapped_container().pause()

    def unpause(self) -> None:
        """Let a frozen server go on."""
        with told(f"to unpause {self.server}"):
            self.get_wrapped_container().unpause()

    def wait_until_ready(self) -> None:
        """Return when it serves. Raises StreamsError, with its last words, if it ends or takes two minutes."""
        deadline = time.monotonic() + START_SECONDS
        while missing := self.not_ready():
            if self._status() in {"exited", "dead"}:
                raise self._failure("ended while it started")
            if time.monotonic() > deadline:
                raise self._failure(f"is not ready after {START_SECONDS:.0f} s: {missing}")
            time.sleep(POLL_SECONDS)

    def not_ready(self) -> str:
        """Return what is missing until it serves, nothing when it does."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _cleared_if_it_fails(self) -> Iterator[None]:
        """Leave nothing behind where the block raises, Ctrl-C as well."""
        try:
            yield
        except BaseException:
            # What went wrong is told, not what then cannot be removed: a later run does that.
            with contextlib.suppress(StreamsError):
                self.stop()
            raise

    def _started_on(self, published: str, port: int, *, last: bool) -> bool:
        """Start the container, and return whether it got the port: another program may have been quicker."""
        self._port = port
        # docker-py takes an address with the port; testcontainers' type does not know it.
        self.ports = {str(self.inner_port): (published, port)}  # type: ignore[dict-item] # see above
        try:
            super().start()
        except APIError as error:
            if last or not any(text in str(error) for text in TAKEN):
                raise
            self._remove_container()
            return False
        return True

    def _configure(self) -> None:
        """Mark the container as ours; testcontainers calls it before it makes the container."""
        self._kwargs = {**self._kwargs, "labels": {**self._kwargs.get("labels", {}), **self._labels}}

    def _make_network(self) -> Network:
        self._own_network = OwnNetwork(self._labels)
        return self._own_network.create()

    def _remove_container(self, *, force: bool = True, delete_volume: bool = True) -> None:
        if self._container:
            with gone_is_fine():
                self._container.remove(force=force, v=delete_volume)
        self._container = None

    def _status(self) -> str:
        with told(f"to look after {self.server}"):
            self.reload()
            return self.status

    def _failure(self, what: str) -> StreamsError:
        """Return an error with the last lines of the log."""
        with told(f"to read the log of {self.server}"):
            log = self.get_wrapped_container().logs(tail=LAST_LINES).decode(errors="replace")
        shown = "\n".join(f"  | {line[:LINE_LENGTH]}" for line in log.splitlines() if not line.startswith("\t"))
        return StreamsError(f"{self.server} {what}; its last words:\n{shown}", where=f"image {self.image}")
