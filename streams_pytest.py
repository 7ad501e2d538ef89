"""The pytest plugin `straightstream`: Kafka for tests, in memory, embedded, in a container, or at an address.

This module stands outside the package `streams` and imports nothing of it until a test asks for a fixture: every
pytest run of an environment loads it. `-p no:straightstream` turns it off.

Brokers belong to one process: to this one, or under xdist to the controller, which its workers ask over a socket. So a
worker that is done, or killed, takes no broker from the others.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

NAMES: Final = ("memory", "embedded", "container")
VARIABLE: Final = "STREAMS_TEST_KAFKA"
REGISTRY_VARIABLE: Final = "STREAMS_SCHEMA_REGISTRY_URL"
MARKERS: Final = (
    "kafka(*backends): run the test on each of these: memory, embedded, container",
    "kafka_topic(partitions=1, config=None): how the topic of the fixture kafka_topic is made",
)
PLUGIN: Final = "straightstream-session"
FIXTURE: Final = "kafka_backend"
_ADDRESS: Final = re.compile(r"[^\s,:/]+:\d{1,5}(,[^\s,:/]+:\d{1,5})*")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("kafka", "Kafka for tests (straightstream)")
    described = (
        f"{', '.join(NAMES)} or HOST:PORT; else ${VARIABLE}, else the ini key kafka, else a container if possible"
    )
    group.addoption("--kafka", metavar="BACKEND", help=described)
    group.addoption("--schema-registry-url", metavar="URL", help=f"beside HOST:PORT; else ${REGISTRY_VARIABLE}")
    parser.addini("kafka", "the backend of tests that need Kafka, as --kafka")


def pytest_configure(config: pytest.Config) -> None:
    """Check what was asked for."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    config.pluginmanager.register(Session(config), PLUGIN)


class Session:
    """The session's choice of a backend, and the way to its brokers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.backend, self._by = _chosen(config)
        self._registry_url = config.getoption("schema_registry_url") or os.environ.get(REGISTRY_VARIABLE)
        _check(self.backend, self._registry_url)
        self._brokers: Any = None
        self._making = threading.Lock()
        self._door: Door | None = None
        self._caught: Sigterm | None = None

    @property
    def brokers(self) -> Any:
        """The session's brokers; the runtime is imported when they are first asked for."""
        with self._making:
            if self._brokers is None:
                door = getattr(self._config, "workerinput", {}).get(PLUGIN)
                self._brokers = Remote(*door) if door else self._own()
        return self._brokers

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Multiply tests that name their backends; an explicit choice leaves one."""
        marker = metafunc.definition.get_closest_marker("kafka")
        if marker is None:
            return
        wrong = [name for name in marker.args if name not in NAMES]
        where = metafunc.definition.nodeid
        if wrong or not marker.args:
            raise pytest.Collector.CollectError(
                f"{where}: mark.kafka takes {', '.join(NAMES)}, not {wrong or 'nothing'}"
            )
        if FIXTURE not in metafunc.fixturenames:
            raise pytest.Collector.CollectError(
                f"{where}: mark.kafka without a fixture of Kafka; use stream_app or kafka"
            )
        metafunc.parametrize(FIXTURE, self._runs_on(marker.args), indirect=True, scope="session")

    def pytest_report_header(self) -> str | None:
        """Tell of an explicit choice."""
        return f"kafka: {self.backend} ({self._by})" if self.backend else None

    def pytest_report_collectionfinish(self, items: list[pytest.Item]) -> str | None:
        """Tell of the choice that was left to us, if a test needs it."""
        if self.backend or self._config.getoption("collectonly") or not any(map(_needs_default, items)):
            return None
        backend, why = self.brokers.default()
        return f"kafka: {backend}, because {why}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of xdist where to ask."""
        if self._door is None:
            self._door = Door(lambda: self.brokers)
            self._caught = Sigterm()
        node.workerinput[PLUGIN] = self._door.address

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Tell what workers of xdist had started."""
        if self._door is not None and self._brokers is not None:
            for name, at in self._brokers.started().items():
                terminalreporter.write_line(f"kafka: {name} at {at.bootstrap_servers}, shared by all workers")

    def pytest_unconfigure(self) -> None:
        """Stop what was started, after Ctrl-C and failures too."""
        if self._brokers is not None:
            self._brokers.stop()
        if self._door is not None:
            self._door.close()
        if self._caught is not None:
            self._caught.restore()

    def _own(self) -> Any:
        if self._caught is None:
            self._caught = Sigterm()
        backends = import_module("streams.testing.backends")
        return backends.Brokers(backends.Choice(self.backend, self._by, self._registry_url))

    def _runs_on(self, named: tuple[str, ...]) -> list[Any]:
        """Return the backends of a marked test; an address stands for any real Kafka."""
        if self.backend is None:
            return list(named)
        real = self.backend not in NAMES and set(named) & {"embedded", "container"}
        if self.backend in named or real:
            return [self.backend]
        reason = f"runs on {', '.join(named)} only, and {self._by} chose {self.backend}"
        return [pytest.param(self.backend, marks=pytest.mark.skip(reason=reason))]


class Sigterm:
    """Lets SIGTERM end the session as Ctrl-C does, with everything stopped; by default the process is just gone."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        in_main = threading.current_thread() is threading.main_thread()
        self._ours = in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if self._ours:
            signal.signal(signal.SIGTERM, self._end)

    def restore(self) -> None:
        """Take the default back."""
        if self._ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a fork of a test
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        pytest.exit("SIGTERM", returncode=128 + number)


class Door:
    """Where the workers of xdist ask the controller; each call has a connection and a thread of its own."""

    def __init__(self, brokers: Callable[[], Any]) -> None:
        self._brokers = brokers
        key = secrets.token_bytes(32)
        self._listener = Listener(family="AF_UNIX", authkey=key)
        self.address = (self._listener.address, key)
        threading.Thread(target=self._serve, name="straightstream-door", daemon=True).start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                caller = self._listener.accept()
            except EOFError:  # a worker that died while it asked
                continue
            except OSError:
                return
            threading.Thread(target=self._answer, args=(caller,), daemon=True).start()

    def _answer(self, caller: Connection[Any, Any]) -> None:
        with caller:
            method, arguments = caller.recv()
            answer: tuple[Any, Exception | None]
            try:
                answer = getattr(self._brokers(), method)(*arguments), None
            except Exception as error:  # noqa: BLE001 - the worker raises it
                answer = None, error
            caller.send(answer)


class Remote:
    """The brokers of the controller, as a worker of xdist sees them."""

    def __init__(self, address: str, key: bytes) -> None:
        self._address = address
        self._key = key

    def default(self) -> tuple[str, str]:
        """Return the backend of tests that name none, and why."""
        return self._ask("default")  # type: ignore[no-any-return] # whatever the controller sent

    def start(self, backend: str) -> Any:
        """Have a backend run, and return where it is."""
        return self._ask("start", backend)

    def act(self, backend: str, action: str, server: str) -> None:
        """Do something to a server of a backend."""
        self._ask("act", backend, action, server)

    def leave(self, backend: str, groups: list[str]) -> None:
        """Hand over groups whose tests are done with them."""
        self._ask("leave", backend, groups)

    def stop(self) -> None:
        """Leave that to the controller."""

    def _ask(self, *request: Any) -> Any:
        with Client(self._address, authkey=self._key) as controller:
            controller.send((request[0], request[1:]))
            answer, error = controller.recv()
        if error is not None:
            raise error
        return answer


@pytest.fixture(scope="session")
def kafka_backend(request: pytest.FixtureRequest) -> str:
    """The name of the backend that the test runs on: memory, embedded, container, or HOST:PORT."""
    return getattr(request, "param", None) or str(_session(request).brokers.default()[0])


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest, kafka_backend: str) -> Any:
    """A Kafka with a schema registry, one for the whole session: `streams.testing.plugin.Kafka`."""
    session = _session(request)
    return _give().kafka(session.brokers, kafka_backend, demanded=kafka_backend == session.backend)


@pytest.fixture(scope="session")
def schema_registry(kafka: Any) -> Iterator[Any]:
    """The session's schema registry: `streams.testing.plugin.SchemaRegistry`."""
    with _give().schema_registry(kafka) as found:
        yield found


@pytest.fixture
def kafka_topic(request: pytest.FixtureRequest, kafka: Any) -> Iterator[Any]:
    """A fresh topic of this test, with names for its clients: `streams.testing.plugin.KafkaTopic`."""
    marker = request.node.get_closest_marker("kafka_topic")
    with _give().kafka_topic(kafka, request.node.name, **(marker.kwargs if marker else {})) as topic:
        yield topic


@pytest.fixture
def stream_app(request: pytest.FixtureRequest, kafka_backend: str, tmp_path: Path) -> Iterator[Any]:
    """A factory of drivers: what it is called with is an app, and shares no name with one of another test."""
    broker = None if kafka_backend == "memory" else request.getfixturevalue("kafka")
    with _give().StreamApps(broker, tmp_path / "state") as start:
        yield start


def _give() -> Any:
    return import_module("streams.testing.plugin")


def _session(request: pytest.FixtureRequest) -> Session:
    found = request.config.pluginmanager.get_plugin(PLUGIN)
    assert isinstance(found, Session)
    return found


def _needs_default(item: pytest.Item) -> bool:
    named = getattr(item, "callspec", None)
    return FIXTURE in getattr(item, "fixturenames", ()) and (named is None or FIXTURE not in named.params)


def _chosen(config: pytest.Config) -> tuple[str | None, str]:
    """Return what was asked for, and by what."""
    asked = {
        "--kafka": config.getoption("kafka"),
        VARIABLE: os.environ.get(VARIABLE),
        "the ini key kafka": config.getini("kafka"),
    }
    return next(((str(backend), by) for by, backend in asked.items() if backend), (None, ""))


def _check(backend: str | None, registry_url: str | None) -> None:
    if backend is None or backend in NAMES:
        return
    if not _ADDRESS.fullmatch(backend):
        raise pytest.UsageError(f"there is no Kafka {backend!r} for tests; use {', '.join(NAMES)} or HOST:PORT")
    if not registry_url:
        raise pytest.UsageError(
            f"Kafka at {backend} needs its schema registry: --schema-registry-url or {REGISTRY_VARIABLE}"
        )
