"""`App`: the one object that declares topics, tables, stores and processors. It connects to nothing."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, Self, TypeVar

from streams.breaker import Dependency
from streams.columnar.context import BatchContext
from streams.columnar.declared import Batches
from streams.context import Context
from streams.duration import duration
from streams.errors import UsageError
from streams.failures.policy import DEFAULT, Failure, FailurePolicy
from streams.idempotency.inbox import Inbox
from streams.keys import Key
from streams.state.task_state import Declared
from streams.testing.driver import MemoryDriver
from streams.topic import COMPACTED, DEFAULT_PARTITIONS, MOST_NAME_LENGTH, Store, Table, Topic, qualified
from streams.topology import Processor, TopicSpec, build_processor

K = TypeVar("K", bound=Key)
V = TypeVar("V")
R = TypeVar("R")

BATCH_RECORDS = 5_000  # of a batch, unless the processor says otherwise

_LEGAL_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


class App:
    """Declarations of one application; workers, tests and the command line take it from here."""

    def __init__(
        self,
        name: str,
        *,
        settings: Mapping[str, Any] | None = None,
        on_failure: Failure | FailurePolicy = DEFAULT,
    ) -> None:
        """Name the application; the name is the prefix of its groups and own topics.

        `settings` are the defaults of `streams.settings.Settings`, beaten by file, environment and command line.
        `on_failure` answers the failures of processors that say nothing else: by default what a handler raises is
        retried, and records that fail for good become dead letters.
        """
        if not _LEGAL_NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot name an app", fix="use lower-case letters, digits and hyphens")
        self.name = name
        self.namespace = ""
        self.settings = dict(settings or {})
        self.processors: dict[str, Processor] = {}
        self.dependencies: dict[str, Dependency] = {}
        self._on_failure = on_failure
        self._topics: dict[str, Topic[Any]] = {}
        self._stores: dict[str, Store[Any, Any]] = {}
        self._tables: dict[str, Table[Any, Any]] = {}

    def topic(
        self,
        name: str,
        model: type[V],
        *,
        key: str | None = None,
        partitions: int = DEFAULT_PARTITIONS,
        config: Mapping[str, str] | None = None,
        event_ids: bool | None = None,
    ) -> Topic[V]:
        """Declare a topic of one model; `key` names the field that orders and distributes its records.

        With `event_ids`, processors give what they write to it an id that stays the same whenever they write it again:
        the header `streams.event.id`. If nothing is said they do so under `at_least_once`.

        Raises:
            UsageError: the name is taken or illegal, or the key field does not exist or cannot be a key.
        """
        return self._declare(Topic(name, model, key, partitions, dict(config or {}), event_ids))

    def table(self, name: str, model: type[V], *, key: str, partitions: int = DEFAULT_PARTITIONS) -> Table[Any, V]:
        """Follow a compacted topic as a table; handlers read the rows of their own partition."""
        table: Table[Any, V] = Table(self._declare(Topic(name, model, key, partitions, dict(COMPACTED))))
        self._tables[name] = table
        return table

    def store(
        self,
        name: str,
        key_type: type[K],
        model: type[V],
        *,
        topic: str | None = None,
        commit_every: str | timedelta | None = None,
    ) -> Store[K, V]:
        """Declare keyed state of one processor; `topic` gives its changelog a public name.

        `commit_every` ("2s") makes commits rarer where values are large and change often.
        """
        self._check_open()
        if name in self._stores:
            raise UsageError(f"app {self.name} has two stores {name}", fix="rename one")
        every = duration(commit_every) if commit_every is not None else None
        store = Store(name, key_type, model, topic, every)
        self._stores[name] = store
        return store

    def dependency(
        self,
        name: str,
        *,
        failures: int = 5,
        open_for: str | timedelta = "30s",
        concurrency: int | None = None,
        ignore: tuple[type[Exception], ...] = (),
    ) -> Dependency:
        """Declare something outside that handlers call, `with` it: a circuit breaker, and a bulkhead of `concurrency`.

        `failures` calls in a row that raise open the circuit, exceptions of `ignore` not counted; `open_for` later one
        call is the probe. While it is open the records that need it are held, in their order.

        Raises:
            UsageError: the name is taken or illegal, or a number cannot be used.
        """
        self._check_open()
        if name in self.dependencies:
            raise UsageError(f"app {self.name} has two dependencies {name}", fix="declare it once and share it")
        made = Dependency(name, failures=failures, open_for=open_for, concurrency=concurrency, ignore=ignore)
        self.dependencies[name] = made
        return made

    def processor(
        self,
        source: Topic[V],
        *,
        to: Topic[Any] | Sequence[Topic[Any]] | None = None,
        uses: Iterable[Declared] = (),
        on_failure: Failure | FailurePolicy | None = None,
        reply: type[Any] | None = None,
        inbox: Inbox | None = None,
        blocking: bool = False,
        concurrency: int | None = None,
        commit_every: str | timedelta | None = None,
    ) -> Callable[[Callable[[V, Context], R]], Callable[[V, Context], R]]:
        """Make a function the handler of every record of `source`; what it returns or yields goes to `to`.

        Several outputs are told apart by their model. The stores and tables that the function names are found by
        themselves; `uses` adds what it reaches in other ways. Raising is answered by `on_failure`. A value of the model
        `reply` goes to whoever asked with a `Requester`, in the same transaction. With an `inbox`, events that were
        dealt with before are passed over.

        An `async def`, and a function that is declared `blocking`, runs in lanes: records of a key in their order, of
        different keys beside each other, at most `concurrency` (32) at a time in each worker.

        `commit_every` ("20ms", "2s") is how long a commit may wait; else its stores say so, or the settings.

        Raises:
            UsageError: the declaration contradicts itself.
        """
        return self._register(
            source,
            to=to,
            uses=uses,
            on_failure=on_failure,
            reply=reply,
            inbox=inbox,
            blocking=blocking,
            concurrency=concurrency,
            commit_every=commit_every,
        )

    def effect(
        self,
        source: Topic[V],
        *,
        to: Topic[Any] | Sequence[Topic[Any]] | None = None,
        uses: Iterable[Declared] = (),
        on_failure: Failure | FailurePolicy | None = None,
        inbox: Inbox | None = None,
        concurrency: int | None = None,
        commit_every: str | timedelta | None = None,
    ) -> Callable[[Callable[[V, Context], R]], Callable[[V, Context], R]]:
        """Make a function do something outside of Kafka for every record of `source`: an e-mail, a payment, a call.

        It runs in lanes, after the record was committed by whoever wrote it and before its own offset is: at least
        once, so give the outside `ctx.idempotency_key`. A replay leaves it out unless asked. What it returns or yields
        goes to `to` once it is done; the rest is as for `processor`.

        Raises:
            UsageError: the declaration contradicts itself.
        """
        options = {"to": to, "uses": uses, "inbox": inbox, "concurrency": concurrency, "effect": True}
        return self._register(source, on_failure=on_failure, commit_every=commit_every, **options)

    def batch(
        self,
        source: Topic[Any],
        *,
        to: Topic[Any] | None = None,
        uses: Iterable[Declared] = (),
        on_failure: Failure | FailurePolicy | None = None,
        as_polars: bool = False,
        records: int = BATCH_RECORDS,
        commit_every: str | timedelta | None = None,
    ) -> Callable[[Callable[[Any, BatchContext], Any]], Callable[[Any, BatchContext], Any]]:
        """Make a function the handler of batches of `source`: a `pyarrow.RecordBatch`, or a `polars.DataFrame`.

        It has a column for each field, and rows of one partition in their order, at most `records` of them. What the
        function returns, a RecordBatch, Table or DataFrame with the columns of `to`, becomes one record for each row.
        If it raises, or a row does not fit, it is called with each half of the batch, and so on, until a record fails
        alone; that one is answered by `on_failure`. So what it does for a record must not depend on which others are in
        the batch: see docs/columnar.md. Tombstones are left out.

        Raises:
            UsageError: the declaration contradicts itself, a model has no columns, or pyarrow or polars is missing.
        """
        batches = Batches.POLARS if as_polars else Batches.ARROW
        options = {"to": to, "uses": uses, "batches": batches, "batch_records": records}
        return self._register(source, on_failure=on_failure, commit_every=commit_every, **options)

    def in_namespace(self, namespace: str) -> Self:
        """Return a copy whose topics, groups, subjects and ids in Kafka begin with `<namespace>.`.

        So several of them share a cluster and nothing else: tests, or previews of a change. Handlers go on using the
        stores and tables of this app. Topics that the app only reads are renamed too; somebody has to fill them.

        Raises:
            UsageError: the name is illegal, a topic's name gets too long, or this is such a copy already.
        """
        self._check_open()
        if not _LEGAL_NAME.fullmatch(namespace):
            raise UsageError(f"{namespace!r} cannot name a namespace", fix="use lower-case letters, digits and hyphens")
        longest = max((spec.name for spec in self.topics()), key=len, default="")
        if len(qualified(namespace, longest)) > MOST_NAME_LENGTH:
            raise UsageError(
                f"in namespace {namespace} the name of topic {longest} is {len(qualified(namespace, longest))} "
                f"characters long, Kafka takes {MOST_NAME_LENGTH}",
                fix="use a shorter name for the namespace or for the topic",
            )
        rename = cache(lambda topic: topic.in_namespace(namespace))  # one topic stays one, wherever it is used
        inside = copy.copy(self)
        inside.namespace = namespace
        inside._topics = {  # noqa: SLF001 - of the same class
            rename(topic).name: rename(topic) for topic in self._topics.values()
        }
        inside.processors = {name: p.in_namespace(namespace, rename) for name, p in self.processors.items()}
        return inside

    def test(self, **options: Any) -> MemoryDriver:
        """Run the app on a cluster in memory, for a test; `options` are those of `streams.testing.MemoryDriver`."""
        return MemoryDriver(self, **options)

    def topics(self) -> list[TopicSpec]:
        """List every topic that has to exist, each once."""
        specs = {topic.name: TopicSpec(topic.name, topic.partitions, topic.config) for topic in self._topics.values()}
        for processor in self.processors.values():
            for spec in processor.topics():
                specs.setdefault(spec.name, spec)
        return sorted(specs.values())

    def declared_topics(self) -> dict[str, Topic[Any]]:
        """Return the declared topics by name, those behind tables too."""
        return dict(self._topics)

    def contracts(self) -> Iterator[tuple[str, type[Any]]]:
        """Yield each subject with the model of its values: what has to be registered at deploy (INV-8)."""
        contracts: dict[str, type[Any]] = {topic.subject: topic.model for topic in self._topics.values()}
        for processor in self.processors.values():
            for store, topic in processor.changelogs().items():
                contracts.setdefault(f"{topic}-value", store.model)
            if processor.reply is not None:
                contracts.setdefault(processor.reply.subject, processor.reply.model)
        yield from sorted(contracts.items())

    def select(self, names: Sequence[str]) -> list[Processor]:
        """Return the named processors, or all.

        Raises:
            UsageError: the app has no such processor, or none at all.
        """
        if not self.processors:
            raise UsageError(f"app {self.name} has no processor", fix="decorate a function with @app.processor(topic)")
        for name in names:
            if name not in self.processors:
                known = ", ".join(sorted(self.processors))
                raise UsageError(f"app {self.name} has no processor {name!r}", fix=f"use one of {known}")
        return [self.processors[name] for name in names] if names else list(self.processors.values())

    def _register(
        self,
        source: Topic[Any],
        *,
        on_failure: Failure | FailurePolicy | None,
        commit_every: str | timedelta | None,
        **options: Any,
    ) -> Callable[[Callable[..., R]], Callable[..., R]]:
        commits = None if commit_every is None else duration(commit_every)

        def register(handler: Callable[..., R]) -> Callable[..., R]:
            policy = self._on_failure if on_failure is None else on_failure
            self._add(build_processor(self.name, handler, source, on_failure=policy, commits=commits, **options))
            return handler

        return register

    def _check_open(self) -> None:
        if self.namespace:
            raise UsageError(
                f"app {self.name} in namespace {self.namespace} is a copy that takes no declarations",
                fix="declare on the app itself, before in_namespace",
            )

    def _declare(self, topic: Topic[V]) -> Topic[V]:
        self._check_open()
        if topic.name in self._topics:
            raise UsageError(f"app {self.name} declares topic {topic.name} twice", fix="declare it once and share it")
        self._topics[topic.name] = topic
        return topic

    def _add(self, processor: Processor) -> None:
        self._check_open()
        if processor.name in self.processors:
            raise UsageError(f"app {self.name} has two processors {processor.name}", fix="rename one function")
        for other in self.processors.values():
            shared = set(other.stores) & set(processor.stores)
            if shared:
                store = shared.pop()
                raise UsageError(
                    f"store {store.name} belongs to processor {other.name}, {processor.name} uses it too",
                    fix=f"follow its changelog there: app.table({other.changelog(store)!r}, …)",
                )
            twice = {other.changelog(s) for s in other.stores} & {processor.changelog(s) for s in processor.stores}
            if twice:
                raise UsageError(
                    f"stores of processors {other.name} and {processor.name} have the same changelog {twice.pop()}",
                    fix="give each store a topic of its own",
                )
        self.processors[processor.name] = processor
