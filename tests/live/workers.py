"""Worker processes as a team runs them, and what a test has to know of their groups."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from live.app import FLAGS, build
from live.events import Item
from stories.read import TopicReader
from streams.app import App
from streams.avro.codec import Codec
from streams.avro.model import schema_of, versions_of
from streams.avro.registry import Registry
from streams.errors import UnreachableError
from streams.kafka.admin import Admin
from streams.publisher import Publisher
from streams.record import RawRecord, Record, TopicPartition
from streams.settings import Settings
from streams.topic import Topic
from streams.topology import TopicSpec

V = TypeVar("V")

PATIENCE = 90.0  # seconds; how long machines take that have better things to do is nobody's defect
DRAIN = 60.0  # seconds


class Command:
    """One command of the command line as a process of its own; leaving the block ends it with SIGTERM."""

    def __init__(self, arguments: Iterable[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams", *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        assert self.process.stdout
        self.output = self.process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if self.process.poll() is None:
                self.end(signal.SIGTERM)
        finally:
            self.output.close()
        if kind is not None:
            sys.stderr.write(self.log())

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait(DRAIN)

    def wait(self, timeout: float) -> int:
        """Return the exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"did not end within {timeout} s:\n{self.log()}") from None

    def await_log(self, text: str) -> None:
        """Wait until it wrote a text to stderr."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.log():
            assert time.monotonic() < deadline, f"{text!r} is not in its log:\n{self.log()}"
            assert self.process.poll() is None
            time.sleep(0.1)

    def log(self) -> str:
        """Return what it wrote to stderr."""
        return self._log.read_text(errors="replace")


class Live:
    """One test's app on the cluster: its topics, its workers, its records."""

    def __init__(self, settings: Settings, name: str, folder: Path, declare: Callable[[str], App] = build) -> None:
        self.settings = settings
        self.name = name
        self.app = declare(name)
        self.target = f"{declare.__module__}:{name}"
        self.admin = Admin(settings)
        self.registry = Registry(settings.schema_registry_url or "")
        self._folder = folder
        self.flags = folder / "flags"
        self.flags.mkdir()
        self._publisher = Publisher(settings)
        self._commands = 0
        self.environment = {
            "STREAMS_BOOTSTRAP_SERVERS": settings.bootstrap_servers or "",
            "STREAMS_SCHEMA_REGISTRY_URL": settings.schema_registry_url or "",
            "STREAMS_SESSION_TIMEOUT": "6s",
            "STREAMS_TRANSACTION_TIMEOUT": "4s",
            "STREAMS_STATE_DIR": str(settings.state_dir),
            FLAGS: str(self.flags),
        }

    def close(self) -> None:
        """Close the connections to the registry."""
        self.registry.close()

    def topic(self, short: str) -> str:
        """Return the full name of one of the app's topics."""
        return f"{self.name}.{short}"

    def deploy(self, *processors: str, changed: Mapping[str, TopicSpec] | None = None) -> None:
        """Make the topics of processors, some of them `changed`, and register the contracts."""
        specs = {spec.name: spec for one in self.app.select(processors) for spec in one.topics()}
        self.admin.create_topics({**specs, **(changed or {})}.values())
        for subject, model in self.app.contracts():
            if subject.removesuffix("-value") in specs:
                self.registry.register(subject, versions_of(model), "BACKWARD")
        self.codec = Codec(Item, self.registry.lookup(self.topic("items-value"), schema_of(Item).text))

    def item(self, key: str, n: int, text: str = "") -> RawRecord:
        """Make an item's record."""
        (frame,) = self.codec.encode([Item(key=key, n=n, text=text)])
        return Record(self.topic("items"), key.encode(), frame, n)

    def send(self, records: Iterable[RawRecord]) -> None:
        """Send records and wait until they are acknowledged."""
        self._publisher.send_raw(records)
        self._publisher.flush()

    def publish(self, topic: Topic[V], values: Iterable[V]) -> None:
        """Send values by their topic's contract."""
        self._publisher.send(topic, values)
        self._publisher.flush()

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Command:
        """Start a command."""
        self._commands += 1
        log = self._folder / f"command-{self._commands}.log"
        return Command(arguments, {**self.full_environment(), **(environment or {})}, log)

    def full_environment(self) -> dict[str, str]:
        """Return the environment of a command on this cluster."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **self.environment}

    def worker(self, *processors: str, more: Iterable[str] = ()) -> Command:
        """Start `streams worker` for some processors."""
        chosen = [argument for name in processors for argument in ("--processor", name)]
        return self.run("worker", self.target, *chosen, *more)

    def lag(self, processor: str) -> dict[int, int]:
        """Return how far a processor's group is behind in each partition of its input."""
        source = self.app.processors[processor].source
        ranges = self.admin.ranges(TopicPartition(source.name, number) for number in range(source.partitions))
        committed = self.admin.committed(f"{self.name}.{processor}")
        return {tp.partition: held.end - committed.get(tp, held.start) for tp, held in ranges.items()}

    def settle(self, processor: str, timeout: float = PATIENCE) -> None:
        """Wait until a processor has committed all that its input holds; a broker that was away is asked again."""
        deadline = time.monotonic() + timeout
        behind: object = "nobody knows how much"
        while behind:
            assert time.monotonic() < deadline, f"{processor} is behind by {behind}"
            with contextlib.suppress(UnreachableError):
                behind = {partition: left for partition, left in self.lag(processor).items() if left}
            time.sleep(0.1 if behind else 0)

    def read(self, topic: str) -> list[RawRecord]:
        """Return every committed record of a topic in the order of its partitions."""
        return sorted(
            (record for batch in TopicReader(self.settings).raw(topic) for record in batch),
            key=lambda record: (record.partition, record.offset),
        )

    def items(self, topic: str) -> list[Item]:
        """Return the items of a topic in the order of its partitions."""
        codec = Codec(Item)
        schema_id = self.registry.lookup(f"{topic}-value", schema_of(Item).text)
        codec.learn(schema_id, schema_of(Item).text)
        return codec.decode([record.value or b"" for record in self.read(topic)])
