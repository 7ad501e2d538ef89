"""`app.test()`: an app on a cluster in memory. The production worker, task, checkpoint and state run over bytes.

Synchronous and deterministic: time passes only where a commit is waited for or `advance` is called, and the order in
which workers take turns comes from the seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, cast

from streams.avro.codec import Codec
from streams.avro.model import versions_of
from streams.breaker import Dependency
from streams.duration import duration
from streams.errors import UsageError
from streams.failpoints import Failpoint
from streams.failures.waiting_record import WaitingRecord
from streams.keys import Key
from streams.record import UNSET, Headers, RawRecord, Record
from streams.requests.replies import request_headers
from streams.settings import given_settings
from streams.testing.asking import Asker, replying
from streams.testing.audit import Audit
from streams.testing.clock import START, VirtualClock
from streams.testing.faults import Fault
from streams.testing.folder import Folder
from streams.testing.judge import Verdict, checked
from streams.testing.memory import Log, MemoryRegistry
from streams.testing.process import Cluster
from streams.testing.simulation import Simulation
from streams.testing.surface import DeadLetter, dead_letter_of
from streams.testing.topics import Topics
from streams.topic import Store, Table, Topic
from streams.topology import Processor, TopicSpec

K = TypeVar("K", bound=Key)
V = TypeVar("V")


class Declarations(Protocol):
    """What the driver needs of an app."""

    name: str
    namespace: str
    settings: dict[str, Any]
    processors: dict[str, Processor]
    dependencies: dict[str, Dependency]

    def topics(self) -> list[TopicSpec]:
        """List every topic."""

    def contracts(self) -> Iterator[tuple[str, type[Any]]]:
        """Yield each subject with its model."""

    def select(self, names: Sequence[str]) -> list[Processor]:
        """Return the named processors, or all."""


class MemoryDriver:
    """An app under test on a cluster in memory; a `streams.testing.Driver` with time and faults. Not thread-safe.

    The log shows warnings alone, unless the test configures structlog.
    """

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
        auto_advance: bool = True,
    ) -> None:
        """Start `workers` workers of every processor, or of the named ones, with `settings` over the app's own.

        `seed` decides the order of turns and where records without a key go. `late_markers` lets transaction markers
        come up to so many turns after their decision; `restore_records` is how much a restore reads in one turn. With
        `auto_advance` time passes until every retry is decided; without it they wait for `advance`.

        Raises:
            UsageError: the app has no processor, or none of such a name; an option or a setting cannot be used.
        """
        _check_options(workers=(workers, 1), late_markers=(late_markers, 0), restore_records=(restore_records, 1))
        run = {one.name: one for one in app.select([processors] if isinstance(processors, str) else processors)}
        chosen = given_settings({**app.settings, **(settings or {})})
        self.seed = seed
        self.clock = VirtualClock(start)
        self._app = app
        self._random = Random(seed)  # noqa: S311 - has to be repeatable, not secret
        log = Log(app.topics(), seconds=self.clock.seconds, random=self._random, late_markers=late_markers)
        registry = MemoryRegistry(self.clock.seconds)
        for subject, model in app.contracts():
            for text in versions_of(model):
                registry.register(subject, text)
        self._folder = Folder()
        self.cluster = Cluster(log, registry, self.clock, chosen, self._folder.path, restore_records, self._random)
        self._simulation = Simulation(self.cluster, run, workers, self._random, auto_advance=auto_advance)
        self._audit = Audit(self.cluster, self._simulation.runtimes)
        self._topics = Topics(app.namespace, log, registry)
        self._asker = Asker(log)
        for dependency in app.dependencies.values():
            dependency.reset(self.clock.seconds)
        self._closed = False

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
        """Stop everything and delete the state; what reads or writes is refused from then on."""
        self._closed = True
        for dependency in self._app.dependencies.values():
            dependency.reset()
        try:
            self._simulation.close()
        finally:
            self._folder.remove()

    # ---- what all drivers share ----

    def send(
        self,
        topic: Topic[V] | Table[Any, V],
        *values: V,
        timestamp: datetime | None = None,
        ids: Sequence[str] | None = None,
    ) -> None:
        """Append values and work them off; without `timestamp` their time is the clock's.

        `ids` are their event ids; without them they get new ones where the topic is declared with `event_ids=True`.

        Raises:
            EncodeError: a value does not fit the contract; none was sent.
            UsageError: there is no such topic, a value is too large for it, or an id is missing; none was sent.
            StreamsError: a processor ended for good, by the policy STOP for instance.
        """
        at = self.clock.now_ms() if timestamp is None else round(timestamp.timestamp() * 1000)
        self._append(self._topics.records(self._topics.named(topic), values, at, ids, self._random))

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
        """Append a record as it is and work it off.

        Raises:
            UsageError: the app has no such topic or partition, the record is too large, or is not of bytes.
            StreamsError: a processor ended for good.
        """
        at = self.clock.now_ms() if timestamp_ms is None else timestamp_ms
        number = UNSET if partition is None else partition
        headers = tuple(headers)
        for given in (key, value, *(value for _, value in headers)):
            if not isinstance(given, bytes | None):
                raise UsageError(f"{given!r} is not bytes", fix="encode it, or send a value with `send`")
        self._append([Record(self._topics.named(topic).name, key, value, at, number, headers=headers)])

    def delete(self, topic: Topic[Any] | Table[Any, Any], key: Key) -> None:
        """Append a tombstone and work it off.

        Raises:
            UsageError: the key is not one of the topic's; otherwise as `send_raw`.
        """
        to = self._topics.named(topic)
        try:
            encoded = to.key_codec.encode(key)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{key!r} is no key of {topic.name}", fix=f"give {to.key_codec.type.__name__}") from error
        self.send_raw(topic, None, key=encoded)

    def ask(self, requests: Topic[V], value: V, *, timeout: str | timedelta = "10s") -> Any:
        """Send a request as a `Requester` does, work it off, and return the reply; time passes where it takes any.

        Raises:
            ReplyTimeoutError: none came.
            UsageError: no processor of the app replies to requests of this topic.
        """
        to = self._topics.named(requests)
        reply = replying(self._app.processors.values(), to)
        (frame,) = self._topics.codec(to).encode([value])
        asked = self._asker.question(to.name)
        headers = request_headers(asked)
        self._append([Record(to.name, to.key_of()(value), frame, self.clock.now_ms(), headers=headers)])
        return self._topics.decode(self._topics.codec(reply), self._asker.reply(asked, self.advance, duration(timeout)))

    def settle(self) -> None:
        """Let the workers turn until nothing is left that they could do now.

        Raises:
            StreamsError: a processor ended for good, or processors feed each other without end.
            UsageError: the driver is closed, or a handler calls it.
        """
        self._check_usable()
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
        to = self._topics.named(topic)
        codec = self._topics.codec(to)
        return [
            Record(
                topic.name,
                key,
                None if value is None else self._topics.decode(codec, value),
                at,
                number,
                offset,
                headers,
            )
            for _, key, value, at, number, offset, headers in self.cluster.log.committed(to.name)
        ]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """Return what was refused, processor by processor."""
        self.settle()
        return [
            self._own(dead_letter_of(record, name))
            for name, processor in self._app.processors.items()
            if processor.writes_dead_letters
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
                return {
                    cast("K", store.key_codec.decode(key)): self._topics.decode(codec, row) for key, row in rows.items()
                }
        raise UsageError(f"no processor of app {self._app.name} uses store {store.name}", fix="name it in a handler")

    @property
    def lag(self) -> dict[str, int]:
        """Return how many offsets of its input each processor has not committed."""
        return {name: runtime.lag for name, runtime in self._simulation.runtimes.items()}

    @property
    def waiting(self) -> list[WaitingRecord]:
        """Return the records that wait or are parked now, by processor, partition and offset."""
        return [
            row
            for processor in self._app.processors.values()
            if processor.waiting is not None
            for _, row in sorted(self._audit.waiting(processor).items())
        ]

    # ---- what was committed, held against what had to be ----

    def assert_no_loss(self, processor: str | None = None) -> int:
        """Check that every committed record left its outputs or dead letter and its state; return how much it compared.

        A replay of each processor over its committed records says what they are, so handlers have to be deterministic.

        Raises:
            AssertionError: something is missing, a state is wrong, nothing was compared, or a handler is not so.
            UsageError: no such processor runs.
        """
        return self._judged(self._audit.loss, processor)

    def assert_no_duplicates(self, processor: str | None = None) -> int:
        """Check that nothing was written more often than it had to be; return how much was compared.

        `at_least_once` may write more than once after a failure: with faults, this says whether it did.

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
        """Let time pass ("1m"), so that what waits for it happens.

        Raises:
            UsageError: it is not a positive duration, or the clock's years end at 9999.
            StreamsError: as `settle`.
        """
        self._check_usable()
        if not isinstance(by, str | timedelta):
            raise UsageError(f"{by!r} has no unit", fix='write for example "100ms", "2s" or "1m"')
        length = duration(by)
        try:
            self.clock.now() + length
        except OverflowError as error:
            raise UsageError(f"{by!r} goes beyond the year 9999", fix="write a shorter one") from error
        self._simulation.advance(length)

    def learn_schema(self, schema_id: int, text: str) -> None:
        """Let the registry know a schema under an id, so that frames from elsewhere can be decoded.

        Teach it before such a frame is refused: `assert_no_loss` decodes with what is known when it is asked.
        """
        self.cluster.registry.learn(schema_id, text)

    def inject(self, fault: Fault, *, at: Failpoint | None = None, processor: str | None = None, hit: int = 1) -> None:
        """Let a fault happen when a worker comes by a step for the `hit`-th time from now; without `at`, now.

        Raises:
            UsageError: it cannot happen there, or there is no such processor, or no worker of it runs now.
        """
        self._check_usable()
        self._simulation.inject(fault, at, processor, hit)

    def disarm(self) -> list[str]:
        """Take back the faults whose step nobody came by, and say which they were."""
        return self._simulation.disarm()

    @property
    def faults(self) -> Counter[str]:
        """Return how often each kind of fault took effect."""
        return Counter(self._simulation.happened)

    def _judged(self, audit: Callable[[str | None], Verdict], processor: str | None) -> int:
        self.settle()
        where = f"seed {self.seed}, faults {dict(self.faults)}, {self.cluster.settings.guarantee}"
        return checked(audit(processor), where)

    def _check_usable(self) -> None:
        if self._closed:
            raise UsageError("the driver is closed", fix="use it inside its `with` block")
        busy = self._simulation.busy()
        if busy is not None:
            raise UsageError(
                f"the handler of {busy} calls the driver that runs it", fix="call it in the test, before or after"
            )

    def _append(self, records: Sequence[RawRecord]) -> None:
        """Append all of them or, where the broker would refuse one, none; then work them off."""
        self._check_usable()
        self._topics.check(records)
        for record in records:
            self.cluster.log.append(record)
        self.settle()

    def _own(self, letter: DeadLetter) -> DeadLetter:
        """Call the topic that a dead letter came from as the app does."""
        topic = letter.topic.removeprefix(f"{self._app.namespace}.")
        return letter._replace(topic=topic, record=letter.record._replace(topic=topic))


def _check_options(**options: tuple[int, int]) -> None:
    for name, (given, least) in options.items():
        if given < least:
            raise UsageError(f"a test cannot run with {name}={given}", fix=f"give {least} or more")
