"""What the fixtures of the pytest plugin give; `streams_pytest` declares them and imports this when one is used."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import pytest

from streams.app import App
from streams.avro.registry import Registry
from streams.errors import StreamsError, UnreachableError
from streams.kafka.admin import Admin
from streams.settings import Settings, given_settings, load_settings
from streams.testing.backends import CONTAINER, EMBEDDED, MEMORY, Started
from streams.testing.live import QUICK, LiveDriver, await_topics
from streams.testing.surface import Driver
from streams.topology import TopicSpec

LONGEST_NAME = 100


class Session(Protocol):
    """The session's backends, in this process or in the one that owns them."""

    def default(self) -> tuple[str, str]:
        """Return the backend of tests that name none, and why."""

    def start(self, backend: str) -> Started:
        """Start a backend unless it runs, and say where it is."""

    def act(self, backend: str, action: str, server: str) -> None:
        """Do something to a server of a backend."""

    def leave(self, backend: str, groups: list[str]) -> None:
        """Hand over groups whose tests are done with them."""


@dataclass(frozen=True)
class Kafka:
    """A Kafka with a schema registry, for all tests of a session. Clients need nothing but the two addresses.

    `backend` is "embedded", "container", or the HOST:PORT that was given. A `server` is "kafka" or "registry"; it is
    there again, at the same address, when the call or the block ends. Tests in other xdist workers see that too.
    """

    backend: str
    bootstrap_servers: str
    schema_registry_url: str
    _session: Session = field(repr=False)

    @property
    def ours(self) -> bool:
        """Whether the session started it, so that servers may be stopped."""
        return self.backend in {EMBEDDED, CONTAINER}

    def settings(self, state_dir: Path, given: Mapping[str, Any] | None = None) -> Settings:
        """Return settings for this Kafka under which dead workers are replaced within seconds, `given` over them."""
        at = {"bootstrap_servers": self.bootstrap_servers, "schema_registry_url": self.schema_registry_url}
        passed = {} if self.ours else {"kafka": load_settings(command_line=at).kafka}
        return given_settings({**QUICK, **passed, **(given or {}), **at, "state_dir": state_dir})

    def restart(self, server: str = "kafka") -> None:
        """End a server in good order and start it again.

        Raises:
            StreamsError: from this and the other calls: it is not the session's, or does not start again.
        """
        self._session.act(self.backend, "restart", server)

    @contextlib.contextmanager
    def paused(self, server: str = "kafka") -> Iterator[None]:
        """Freeze a server during the block: connections stay open, nothing is answered."""
        self._session.act(self.backend, "pause", server)
        try:
            yield
        finally:
            self._session.act(self.backend, "unpause", server)

    @contextlib.contextmanager
    def killed(self, server: str = "kafka") -> Iterator[None]:
        """Have a server killed (SIGKILL) and absent during the block."""
        self._session.act(self.backend, "kill", server)
        try:
            yield
        finally:
            self._session.act(self.backend, "start_again", server)

    def leave(self, *groups: str) -> None:
        """Have groups deleted at the end of the session, where Kafka outlives it."""
        self._session.leave(self.backend, list(groups))


@dataclass(frozen=True)
class KafkaTopic:
    """A topic that no other test uses, and names for whoever reads and writes it."""

    name: str
    partitions: int
    group: str
    transactional_id: str


@dataclass(frozen=True)
class SchemaRegistry:
    """The session's schema registry: its URL, and the toolkit's client for it."""

    url: str
    client: Registry


def kafka(session: Session, backend: str, *, demanded: bool) -> Kafka:
    """Return the session's Kafka; skip or fail the test where there is none.

    What was `demanded` and cannot be had fails; so does everything in CI.
    """
    if backend == MEMORY:
        pytest.skip("a cluster in memory has no address; use stream_app, or --kafka=embedded")
    try:
        return Kafka(backend, *session.start(backend), session)
    except StreamsError as error:
        reason = "; ".join(filter(None, [error.what, error.fix]))
    if demanded or os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextlib.contextmanager
def schema_registry(broker: Kafka) -> Iterator[SchemaRegistry]:
    """Connect to the registry of a Kafka."""
    client = Registry(broker.schema_registry_url)
    yield SchemaRegistry(broker.schema_registry_url, client)
    client.close()


@contextlib.contextmanager
def kafka_topic(
    broker: Kafka, test: str, partitions: int = 1, config: Mapping[str, str] | None = None
) -> Iterator[KafkaTopic]:
    """Make a topic for one test, and delete it after it."""
    name = unique(test)
    admin = Admin(broker.settings(Path(os.devnull)))
    spec = TopicSpec(name, partitions, config or {})
    admin.create_topics([spec])
    await_topics(admin, [spec])
    yield KafkaTopic(name, partitions, f"{name}.group", f"{name}.transactions")
    with contextlib.suppress(UnreachableError):
        admin.delete_topics([name])
        broker.leave(f"{name}.group")


class StreamApps:
    """Starts apps for one test, each with names of its own; leaving the block stops them all."""

    def __init__(self, broker: Kafka | None, folder: Path) -> None:
        """Start apps on `broker`, or in memory where there is none."""
        self._broker = broker
        self._folder = folder
        self._started = contextlib.ExitStack()

    def __call__(self, app: App, *, settings: Mapping[str, Any] | None = None, **options: Any) -> Driver:
        """Start an app; `settings` are over its own ones, `options` those of the driver, such as `workers`."""
        if self._broker is None:
            return self._started.enter_context(app.test(settings=settings, **options))
        namespace = f"t{uuid.uuid4().hex[:10]}"
        chosen = self._broker.settings(self._folder / namespace, {**app.settings, **(settings or {})})
        driver = LiveDriver(app, chosen, namespace=namespace, **options)
        self._started.callback(self._broker.leave, *(one.group for one in driver.app.processors.values()))
        return self._started.enter_context(driver)

    def __enter__(self) -> Self:
        """Be used as a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the apps, the last one first."""
        self._started.close()


def unique(test: str) -> str:
    """Make a name for something of a test that nothing else has."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', test).strip('-')[:LONGEST_NAME]}-{uuid.uuid4().hex[:10]}"
