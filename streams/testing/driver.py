"""`app.test()`: an app on a cluster in memory. The production worker, task, checkpoint and state run over bytes.

Synchronous and deterministic: time passes only where a commit is waited for or `advance` is called, and the order in
which workers take turns comes from the seed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, cast

from streams.avro.codec import Codec
from streams.avro.model import schema_of, versions_of
from streams.duration import duration
from streams.errors import UnknownSchemaError, UsageError
from streams.failpoints import Failpoint
from streams.keys import Key
from streams.policy import FailurePolicy
from streams.record import UNSET, Headers, Record
from streams.settings import Settings
from streams.testing.audit import Audit
from streams.testing.clock import START, VirtualClock
from streams.testing.faults import Fault
from streams.testing.memory import Log, MemoryRegistry
from streams.testing.process import Cluster
from streams.testing.simulation import Simulation
from streams.testing.surface import DeadLetter, dead_letter_of
from streams.topic import Store, Table, Topic
from streams.topology import Processor, TopicSpec

K = TypeVar("K", bound=Key)
V = TypeVar("V")

MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


class Declarations(Protocol):
    """What the driver needs of an app."""

    name: str
    settings: dict[str, Any]
    processors: dict[str, Processor]

    def topics(self) -> list[TopicSpec]:
        """List every topic."""

    def contracts(self) -> Iterator[tuple[str, type[Any]]]:
        """Yield each subject with its model."""

    def select(self, names: Sequence[str]) -> list[Processor]:
        """Return the named processors, or all."""


class MemoryDriver:
    """An app under test on a cluster in memory; a `streams.testing.Driver` with time and faults. Not thread-safe."""

    def __init__(
        self,
        app: Declarations,
        *,
        processors: Sequence[str] = (),
        workers: int = 1,
        seed: int = 0,
        start: datetime = START,
        settings: Mapping[str, Any] | None = None,
        late_markers: int = 0,
        restore_records: int = 5_000,
    ) -> None:
        """Start `workers` workers of every processor, or of the named ones, with `settings` over the app's own.

        `seed` decides the order of turns and where records without a key go. `late_markers` lets transaction markers
        come up to so many turns after their decision; `restore_records` is how much a restore reads in one turn.

        Raises:
            UsageError: the app has no processor, or none of such a name.
        """
        run = {one.name: one for one in app.select(processors)}
        self.seed = seed
        self.clock = VirtualClock(start)
        self._app = app
        self._random = Random(seed)  # noqa: S311 - has to be repeatable, not secret
        chosen = Settings(**{**app.settings, **(settings or {})})
        log = Log(app.topics(), seconds=self.clock.seconds, random=self._random, late_markers=late_markers)
        registry = MemoryRegistry(self.clock.seconds)
        for subject, model in app.contracts():
            for text in versions_of(model):
                registry.register(subject, text)
        self._folder = Path(tempfile.mkdtemp(prefix="streams-", dir=MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None))
        self.cluster = Cluster(log, registry, self.clock, chosen, self._folder, restore_records)
        self._simulation = Simulation(self.cluster, run, workers, self._random)
        self._audit = Audit(self.cluster, self._simulation.runtimes)
        self._codecs: dict[Topic[Any], Codec[Any]] = {}

    def __enter__(self) -> Self:
        """Be used as a block, at whose end the workers are gone."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close.

        Raises:
            AssertionError: a fault was injected that never happened, so the test proves nothing about it.
        """
        waiting = self.disarm()
        self.close()
        if waiting and error is None:
            raise AssertionError(f"injected, but no worker came by: {', '.join(waiting)}")

    def close(self) -> None:
        """Stop everything and delete the state."""
        self._simulation.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # ---- what all drivers share ----

    def send(self, topic: Topic[V] | Table[Any, V], *values: V, timestamp: datetime | None = None) -> None:
        """Append values and work them off; without `timestamp` their time is the clock's.

        Raises:
            EncodeError: a value does not fit the contract; none was sent.
            StreamsError: a processor ended for good, by the policy STOP for instance.
        """
        to = _topic(topic)
        frames = self._codec(to).encode(values)
        at = self.clock.now_ms() if timestamp is None else round(timestamp.timestamp() * 1000)
        for key, frame in zip(map(to.key_of(), values), frames, strict=True):
            self.cluster.log.append(Record(to.name, key, frame, at))
        self.settle()

    def send_raw(
        self,
        topic: Topic[Any] | Table[Any, Any],
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
        partition: int | None = None,
    ) -> None:
        """Append a record as it is and work it off."""
        at = self.clock.now_ms() if timestamp_ms is None else timestamp_ms
        number = UNSET if partition is None else partition
        self.cluster.log.append(Record(_topic(topic).name, key, value, at, number, headers=headers))
        self.settle()

    def delete(self, topic: Topic[Any] | Table[Any, Any], key: Key) -> None:
        """Append a tombstone and work it off."""
        self.send_raw(topic, None, key=_topic(topic).key_codec.encode(key))

    def settle(self) -> None:
        """Let the workers turn until nothing is left that they could do now.

        Raises:
            StreamsError: a processor ended for good, or processors feed each other without end.
        """
        self._simulation.settle()

    def published(self, topic: Topic[V]) -> list[V]:
        """Return the committed values of a topic by partition and offset; tombstones are left out."""
        return [record.value for record in self.records(topic) if record.value is not None]

    def records(self, topic: Topic[V] | Table[Any, V]) -> list[Record[bytes | None, V | None]]:
        """Return the committed records of a topic with decoded values, by partition and offset.

        Raises:
            DecodeError: one is not a frame of the topic's contract.
        """
        self.settle()
        to = _topic(topic)
        codec = self._codec(to)
        return [
            Record(to.name, key, None if value is None else self._decode(codec, value), at, number, offset, headers)
            for _, key, value, at, number, offset, headers in self.cluster.log.committed(to.name)
        ]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """Return what was refused, processor by processor."""
        self.settle()
        return [
            dead_letter_of(record, name)
            for name, processor in self._app.processors.items()
            if processor.on_failure is FailurePolicy.DEAD_LETTER
            for record in self.cluster.log.committed(processor.dead_letter_topic)
        ]

    def store(self, store: Store[K, V]) -> dict[K, V]:
        """Return what the committed changelog of a store says, whoever owns its partitions.

        Raises:
            UsageError: no processor of the app uses the store.
        """
        self.settle()
        for processor in self._app.processors.values():
            if store in processor.stores:
                rows = self._audit.newest(processor.changelog(store))
                codec = Codec(store.model)
                return {cast("K", store.key_codec.decode(key)): self._decode(codec, row) for key, row in rows.items()}
        raise UsageError(f"no processor of app {self._app.name} uses store {store.name}", fix="name it in a handler")

    @property
    def lag(self) -> dict[str, int]:
        """Return how many offsets of its input each processor has not committed."""
        return {name: runtime.lag for name, runtime in self._simulation.runtimes.items()}

    # ---- what was committed, held against what had to be ----

    def assert_no_loss(self, processor: str | None = None) -> int:
        """Check that every committed record left its outputs or dead letter and its state; return how much it compared.

        A replay of each processor over its committed records says what they are, so handlers have to be deterministic.

        Raises:
            AssertionError: something is missing, a state is wrong, or nothing was compared.
        """
        return self._judged(self._audit.loss, processor)

    def assert_no_duplicates(self, processor: str | None = None) -> int:
        """Check that nothing was written more often than it had to be; return how much was compared.

        Raises:
            AssertionError: something was, or nothing was compared.
        """
        return self._judged(self._audit.duplicates, processor)

    def assert_order_per_key(self, processor: str | None = None) -> int:
        """Check that the outputs of a key came in the order of their inputs; return how much was compared.

        Raises:
            AssertionError: they did not, or nothing was compared.
        """
        return self._judged(self._audit.disorder, processor)

    # ---- what only memory can do ----

    def advance(self, by: str | timedelta) -> None:
        """Let time pass ("1m"), so that what waits for it happens."""
        self._simulation.advance(duration(by))

    def learn_schema(self, schema_id: int, text: str) -> None:
        """Let the registry know a schema under an id, so that frames from elsewhere can be decoded."""
        self.cluster.registry.learn(schema_id, text)

    def inject(self, fault: Fault, *, at: Failpoint | None = None, processor: str | None = None, hit: int = 1) -> None:
        """Let a fault happen when a worker comes by a step for the `hit`-th time from now; without `at`, now.

        Raises:
            UsageError: it cannot happen there, or there is no such processor.
        """
        self._simulation.inject(fault, at, processor, hit)

    def disarm(self) -> list[str]:
        """Take back the faults whose step nobody came by, and say which they were."""
        return self._simulation.disarm()

    @property
    def faults(self) -> Counter[str]:
        """Return how often each kind of fault took effect."""
        return Counter(self._simulation.happened)

    def _judged(self, audit: Callable[[str | None], tuple[int, list[str]]], processor: str | None) -> int:
        self.settle()
        compared, wrong = audit(processor)
        where = f"seed {self.seed}, faults {dict(self.faults)}"
        if wrong:
            shown = "\n".join(f"  - {line}" for line in wrong[:5])
            raise AssertionError(f"{len(wrong)} things are wrong ({where}):\n{shown}")
        if not compared:
            raise AssertionError(f"nothing was compared: nothing is committed yet ({where})")
        return compared

    def _codec(self, topic: Topic[V]) -> Codec[V]:
        if topic not in self._codecs:
            registered = self.cluster.registry.register(topic.subject, schema_of(topic.model).text)
            self._codecs[topic] = Codec(topic.model, registered)
        return self._codecs[topic]

    def _decode(self, codec: Codec[V], frame: bytes) -> V:
        try:
            return codec.decode([frame])[0]
        except UnknownSchemaError as unknown:
            text = self.cluster.registry.known(unknown.schema_id)
            if text is None:
                raise
            codec.learn(unknown.schema_id, text)
            return codec.decode([frame])[0]


def _topic(topic: Topic[V] | Table[Any, V]) -> Topic[V]:
    return topic.topic if isinstance(topic, Table) else topic
