"""An app under test on a real cluster: production workers in threads, judged by what is committed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from streams.app import App
from streams.avro.codec import Codec
from streams.avro.model import versions_of
from streams.avro.registry import Registry
from streams.errors import StreamsError, UnknownSchemaError, UnreachableError, UsageError
from streams.failures.waiting_record import WaitingRecord
from streams.kafka import config
from streams.kafka.admin import Admin, Range
from streams.kafka.consumer import Reader
from streams.kafka.snapshot import read_through
from streams.keys import Key
from streams.publisher import Publisher
from streams.record import UNSET, Headers, RawRecord, Record, TopicPartition
from streams.settings import Settings, require
from streams.testing.surface import DeadLetter, dead_letter_of
from streams.testing.threads import WorkerThreads
from streams.testing.unfinished import tried_again
from streams.topic import Store, Table, Topic
from streams.topology import Processor, TopicSpec

K = TypeVar("K", bound=Key)
V = TypeVar("V")

PATIENCE = 60.0  # seconds
MOST_PATIENCES = 10  # in all: what feeds itself may move for ever
POLL = 0.05
CREATED_WITHIN = 10.0
QUICK: Mapping[str, str] = {"session_timeout": "6s", "transaction_timeout": "4s"}  # the least that brokers allow


def await_topics(admin: Admin, specs: Iterable[TopicSpec]) -> None:
    """Wait until brokers know new topics and lead their partitions: they answer the creation earlier.

    Raises:
        StreamsError: that takes longer than 10 s.
    """
    wanted = {spec.name: [TopicPartition(spec.name, number) for number in range(spec.partitions)] for spec in specs}
    deadline = time.monotonic() + CREATED_WITHIN
    while True:
        try:
            if wanted.keys() <= admin.topics().keys():
                admin.ranges(partition for partitions in wanted.values() for partition in partitions)
                return
        except StreamsError:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            raise StreamsError(
                f"the topics {', '.join(wanted)} were made and do not appear", fix="look at the broker's log"
            )
        time.sleep(POLL)


class Stand(NamedTuple):
    """Where a processor's group stands in one partition of its input."""

    committed: int
    end: int


_IN_MEMORY = frozenset(
    {
        "advance",
        "assert_no_duplicates",
        "assert_no_loss",
        "assert_order_per_key",
        "clock",
        "disarm",
        "faults",
        "inject",
        "learn_schema",
    }
)


class LiveDriver:
    """Runs an app on the cluster that the settings name; the same calls as a driver in memory has.

    Topics are made and contracts registered at the start, and deleted by `close`. Workers run from the first event
    on. Rows that are sent to a table are there for every event sent after them, and for none sent before: the workers
    are done with what came before, and begin again after it. Not thread-safe.
    """

    def __init__(
        self,
        app: App,
        settings: Settings,
        *,
        namespace: str = "",
        processors: Sequence[str] = (),
        workers: int = 1,
        patience: float = PATIENCE,
    ) -> None:
        """Deploy `app` in `namespace`; run `workers` of each processor, or of the named ones.

        `patience` is how long `settle` waits for anything to move, in seconds.

        Raises:
            UsageError: a topic exists already.
            StreamsError: Kafka or the registry does not answer or refuses something.
        """
        self._app = app.in_namespace(namespace) if namespace else app
        self._settings = settings
        self._patience = patience
        self._processors = self._app.select(processors)
        self._threads = WorkerThreads(self._processors, settings, workers)
        self._tables = {one.table_topic(table).name for one in self._processors for table in one.tables}
        self._specs = {spec.name: spec for spec in self._app.topics()}
        self._physical: dict[Topic[Any], Topic[Any]] = {}
        self._codecs: dict[tuple[str, type[Any]], Codec[Any]] = {}
        self._admin = Admin(settings)
        self._check_absent()
        self._registry = Registry(require(settings.schema_registry_url, "schema_registry_url"))
        self._publisher = Publisher(settings, timeout=patience)
        self._reader = Reader(config.reader(settings, f"{self._app.name}-test"))
        self._closed = False
        self._rows_seen = 0  # of what waits; they move while records are tried again
        self._deploy()

    @property
    def app(self) -> App:
        """The app as it lies in Kafka: the given one in its namespace."""
        return self._app

    def send(
        self,
        topic: Topic[V] | Table[Any, V],
        *values: V,
        timestamp: datetime | None = None,
        ids: Sequence[str] | None = None,
    ) -> None:
        """Append values, encoded by their contract, and return when they are acknowledged; each has an event id.

        Raises:
            EncodeError: a value does not fit the contract; none was sent.
            UsageError: the app has no such topic, or there are not as many ids as values.
            StreamsError: Kafka refuses a record, or a worker ended.
        """
        physical = self._named(topic)
        self._prepare(physical)
        at = None if timestamp is None else round(timestamp.timestamp() * 1000)
        self._publisher.send(physical, values, timestamp_ms=at, ids=ids)
        self._publisher.flush()

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
        """Append one record as it is, and return when it is acknowledged; without `partition` the key decides."""
        physical = self._named(topic)
        self._prepare(physical)
        at = time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms
        where = UNSET if partition is None else partition
        self._publisher.send_raw([Record(physical.name, key, value, at, where, headers=headers)])
        self._publisher.flush()

    def delete(self, topic: Topic[Any] | Table[Any, Any], key: Key) -> None:
        """Append a tombstone, and return when it is acknowledged."""
        self.send_raw(topic, None, key=self._named(topic).key_codec.encode(key))

    def settle(self) -> None:
        """Return once every processor has committed all that its input holds and tries nothing again, down every chain.

        Raises:
            StreamsError: nothing moved for as long as the driver's patience, or it took ten times as long in all; or a
                worker ended.
        """
        last = time.monotonic() + MOST_PATIENCES * self._patience
        deadline, done = time.monotonic() + self._patience, -1
        before: Mapping[Processor, Mapping[TopicPartition, Stand]] | None = None
        while True:
            self._threads.check()
            stands = self._all_stands(deadline)
            behind = {one.name: found for one, at in stands.items() if (found := self._behind(one, at))}
            # Ends that did not move while all of them were reached: so nothing was on its way between processors.
            waiting = {} if behind else self._waiting()
            if not behind and not waiting and stands == before:
                return
            if behind:
                self._threads.start()
            moved = sum(stand.committed for at in stands.values() for stand in at.values()) + self._rows_seen
            if moved != done:
                deadline, done = min(last, time.monotonic() + self._patience), moved
            if time.monotonic() > deadline:
                raise self._unsettled(behind or waiting)
            before = None if behind or waiting else stands
            time.sleep(POLL if behind or waiting else 0)

    def published(self, topic: Topic[V]) -> list[V]:
        """Return the committed values of a topic by partition, then offset; tombstones are left out."""
        return [record.value for record in self.records(topic) if record.value is not None]

    def records(self, topic: Topic[V] | Table[Any, V]) -> list[Record[bytes | None, V | None]]:
        """Return the committed records of a topic, with decoded values, by partition, then offset."""
        physical = self._named(topic)
        self.settle()
        return [record._replace(topic=topic.name) for record in self._decoded(physical.name, physical.model)]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The records that were refused, by processor, partition and offset of the dead letter."""
        self.settle()
        refusing = [one for one in self._processors if one.writes_dead_letters]
        return [
            self._own(dead_letter_of(record, one.name))
            for one in refusing
            for record in self._read(one.dead_letter_topic)
        ]

    def store(self, store: Store[K, V]) -> dict[K, V]:
        """Return what the committed changelog of a store says, over all partitions.

        Raises:
            UsageError: no processor of the app uses the store.
        """
        owner = next((one for one in self._app.processors.values() if store in one.stores), None)
        if owner is None:
            raise UsageError(
                f"no processor of app {self._app.name} uses store {store.name}", fix="refer to it in a handler"
            )
        self.settle()
        records = self._decoded(owner.changelog(store), store.model)
        newest = {store.key_codec.decode(record.key or b""): record.value for record in records}
        return {key: value for key, value in newest.items() if value is not None}  # type: ignore[misc] # of one store

    @property
    def lag(self) -> dict[str, int]:
        """How many records each processor is behind now."""
        return {one.name: sum(self._behind(one, self._stands(one)).values()) for one in self._processors}

    def close(self) -> None:
        """Drain the workers and delete the topics and contracts; raise what ended a worker and was not raised yet.

        Groups are left without offsets: their members are gone for the broker only after `session_timeout`.
        """
        if self._closed:
            return
        self._closed = True
        with contextlib.ExitStack() as resources:
            resources.callback(self._registry.close)
            resources.callback(self._reader.close)
            resources.callback(self._delete)
            self._threads.stop()
        self._threads.check()

    def __getattr__(self, name: str) -> Any:
        if name in _IN_MEMORY:
            raise UsageError(
                f"a driver on a real Kafka has no `{name}`: time, faults and verdicts are in memory",
                fix='mark the test @pytest.mark.kafka("memory")',
            )
        raise AttributeError(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_absent(self) -> None:
        existing = sorted(self._specs.keys() & self._admin.topics().keys())
        if existing:
            raise UsageError(
                f"topic {existing[0]} exists already",
                where=f"bootstrap_servers {self._settings.bootstrap_servers}",
                fix="give the driver a namespace of its own, or delete what an earlier run left",
            )

    def _deploy(self) -> None:
        try:
            self._admin.create_topics(self._specs.values())
            for subject, model in self._app.contracts():
                self._registry.register(subject, versions_of(model), "BACKWARD")
            await_topics(self._admin, self._specs.values())
        except BaseException:
            self.close()
            raise

    def _delete(self) -> None:
        with contextlib.suppress(UnreachableError):
            if left := self._specs.keys() & self._admin.topics().keys():
                self._admin.delete_topics(left)
            for subject, _ in self._app.contracts():
                self._registry.delete(subject)

    def _named(self, topic: Topic[V] | Table[Any, V]) -> Topic[V]:
        """Return a topic of the app as it lies in Kafka."""
        declared = topic.topic if isinstance(topic, Table) else topic
        if declared not in self._physical:
            physical = declared.in_namespace(self._app.namespace)
            if physical.name not in self._specs:
                raise UsageError(
                    f"app {self._app.name} has no topic {declared.name}", fix="declare it, or give the app that has it"
                )
            self._physical[declared] = physical
        return self._physical[declared]

    def _prepare(self, topic: Topic[Any]) -> None:
        """Have the workers run before an event comes, and do nothing while a table changes."""
        self._threads.check()
        if topic.name not in self._tables:
            self._threads.start()
        elif self._threads.running:
            self.settle()
            self._threads.stop()

    def _stands(self, processor: Processor) -> dict[TopicPartition, Stand]:
        source = processor.source
        ranges = self._admin.ranges(TopicPartition(source.name, number) for number in range(source.partitions))
        committed = self._admin.committed(processor.group)
        return {tp: Stand(committed.get(tp, held.start), held.end) for tp, held in ranges.items()}

    def _all_stands(self, deadline: float) -> dict[Processor, dict[TopicPartition, Stand]]:
        """Ask until the deadline: a broker that comes back refuses for a moment what it will answer."""
        while True:
            try:
                return {one: self._stands(one) for one in self._processors}
            except StreamsError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(POLL)

    def _behind(self, processor: Processor, stands: Mapping[TopicPartition, Stand]) -> dict[TopicPartition, int]:
        behind = {tp: stand.end - stand.committed for tp, stand in stands.items() if stand.committed < stand.end}
        if behind and processor.source in processor.outputs.values():  # it leaves the last transaction marker behind
            spans = {tp: Range(*stands[tp]) for tp in behind}
            unread = [record.origin for batch in read_through(self._reader, spans) for record in batch]
            behind = {tp: unread.count(tp) for tp in behind if tp in unread}
        return behind

    def _waiting(self) -> dict[str, dict[TopicPartition, int]]:
        """Count the records that are tried again, or stand behind one that is; what is parked stays."""
        found: dict[str, dict[TopicPartition, int]] = {}
        self._rows_seen = 0
        for processor in self._processors:
            if processor.waiting is None:
                continue
            records = self._decoded(processor.changelog(processor.waiting), WaitingRecord)
            self._rows_seen += len(records)
            if tried := tried_again(records):
                found[processor.name] = tried
        return found

    def _unsettled(self, behind: Mapping[str, Mapping[TopicPartition, int]]) -> StreamsError:
        told = [
            f"  - {name}: {tp.topic}[{tp.partition}] {count} behind"
            for name, at in behind.items()
            for tp, count in at.items()
        ]
        return StreamsError(
            f"not settled with a patience of {self._patience:g} s:\n" + ("\n".join(told) or "  - records keep coming"),
            fix="the workers' log says what they wait for; a driver with more patience waits longer",
        )

    def _read(self, name: str) -> list[RawRecord]:
        spans = self._admin.ranges(TopicPartition(name, number) for number in range(self._specs[name].partitions))
        records = [record for batch in read_through(self._reader, spans) for record in batch]
        return sorted(records, key=lambda record: (record.partition, record.offset))

    def _decoded(self, name: str, model: type[V]) -> list[Record[bytes | None, V | None]]:
        records = self._read(name)
        codec = self._codecs.setdefault((name, model), Codec(model))
        frames = [record.value for record in records if record.value is not None]
        values = iter(self._values(codec, frames))
        return [_with(record, None if record.value is None else next(values)) for record in records]

    def _values(self, codec: Codec[V], frames: list[bytes]) -> list[V]:
        while True:
            try:
                return codec.decode(frames)
            except UnknownSchemaError as unknown:
                codec.learn(unknown.schema_id, self._registry.schema(unknown.schema_id))

    def _own(self, letter: DeadLetter) -> DeadLetter:
        topic = letter.topic.removeprefix(f"{self._app.namespace}.")
        return letter._replace(topic=topic, record=letter.record._replace(topic=topic))


def _with(record: RawRecord, value: V | None) -> Record[bytes | None, V | None]:
    topic, key, _, timestamp_ms, partition, offset, headers = record
    return Record(topic, key, value, timestamp_ms, partition, offset, headers)
