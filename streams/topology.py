"""Processors: a handler bound to its topics, stores and policy, checked before anything starts."""

from __future__ import annotations

import dis
import inspect
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import Any, NamedTuple, Self, TypeVar

from streams.columnar.declared import Batches, check_batches
from streams.errors import UsageError
from streams.failures.policy import Failure, FailurePolicy, as_failure
from streams.failures.waiting_record import WaitingRecord
from streams.idempotency.inbox import Inbox
from streams.state.task_state import Declared
from streams.topic import COMPACTED, Store, Table, Topic, check_topic_name, qualified

V = TypeVar("V")

Handler = Callable[[Any, Any], Any]  # a value or batch, and its context

# Retention goes by the records' own times, which a dead letter keeps: one of an old record would be gone in minutes.
FOR_EVER = "-1"
HEADER_ALLOWANCE = 64 << 10  # a dead letter is its record plus the reason, and so is a record that waits
DEFAULT_CONCURRENCY = 32  # handlers of one worker that run at a time in lanes
DEFAULT_MAX_MESSAGE_BYTES = 1 << 20  # the broker's own default, rounded up


class TopicSpec(NamedTuple):
    """A topic as it has to exist in Kafka."""

    name: str
    partitions: int
    config: Mapping[str, str]


class Runs(Enum):
    """Where a handler runs."""

    IN_STEP = "step"  # in the worker's thread, one record after the other
    IN_THREADS = "threads"  # in lanes, each record in a thread
    IN_LOOP = "loop"  # in lanes, coroutines in one event loop


@dataclass(frozen=True, eq=False)
class Processor:
    """One handler with its input, outputs, state and failure policy; it runs as one consumer group.

    `source` and `outputs` are the topics in Kafka. `stores` and `tables` are the objects that the handler refers to;
    what lies in Kafka for them is told by `changelog` and `table_topic`. `waiting` keeps the records that are tried
    again or parked; None where the policy knows neither. `reply` stands for the topics of whoever asks: their values
    have the model and the subject of this one, which itself does not exist. An `inbox` is around the handler already;
    here it stands for its rows.

    With `batches` the handler takes columns of many records at a time, at most `batch_records`, and not one of them.

    Of a handler that runs in lanes at most `concurrency` calls run at a time in a worker. An `effect` is there for what
    it does outside of Kafka: a replay leaves it out unasked.
    """

    app: str
    name: str
    handler: Handler
    source: Topic[Any]
    outputs: Mapping[type, Topic[Any]]
    stores: tuple[Store[Any, Any], ...]
    tables: tuple[Table[Any, Any], ...]
    on_failure: Failure
    wants_tombstones: bool
    waiting: Store[int, WaitingRecord] | None = None
    reply: Topic[Any] | None = None
    inbox: Inbox | None = None
    runs: Runs = Runs.IN_STEP
    concurrency: int = 1
    effect: bool = False
    namespace: str = ""
    batches: Batches | None = None
    batch_records: int | None = None
    commits: timedelta | None = None

    @property
    def owner(self) -> str:
        """The app with its namespace: what groups, member ids, transactional ids and state folders begin with."""
        return qualified(self.namespace, self.app)

    @property
    def group(self) -> str:
        """The consumer group, which is also the prefix of the processor's own topics."""
        return f"{self.owner}.{self.name}"

    @property
    def dead_letter_topic(self) -> str:
        """Where records go that are given up."""
        return f"{self.group}.dlq"

    @property
    def redrive_topic(self) -> str:
        """Where dead letters come back from, and commands for records that wait."""
        return f"{self.group}.redrive"

    @property
    def writes_dead_letters(self) -> bool:
        """Tell whether its policy may answer with a dead letter, or lets records wait: those may be dropped by hand."""
        letters = any(answer.then is FailurePolicy.DEAD_LETTER for answer in self.on_failure.answers())
        return letters or self.waiting is not None

    @property
    def commit_every(self) -> timedelta | None:
        """Its own commit interval, or the longest that one of its stores asks for; None leaves it to the settings."""
        return self.commits or max((s.commit_every for s in self.stores if s.commit_every is not None), default=None)

    def changelog(self, store: Store[Any, Any]) -> str:
        """Name the changelog topic of one of its stores."""
        return qualified(self.namespace, store.topic) if store.topic else f"{self.group}.{store.name}.changelog"

    def table_topic(self, table: Table[Any, V]) -> Topic[V]:
        """Return the topic behind one of its tables."""
        return table.topic.in_namespace(self.namespace)

    def in_namespace(self, namespace: str, rename: Callable[[Topic[Any]], Topic[Any]]) -> Self:
        """Return this processor over renamed topics; its handler goes on using the same stores and tables."""
        outputs = {model: rename(topic) for model, topic in self.outputs.items()}
        reply = rename(self.reply) if self.reply else None
        return replace(self, namespace=namespace, source=rename(self.source), outputs=outputs, reply=reply)

    @property
    def kept(self) -> tuple[Store[Any, Any], ...]:
        """Its state: the stores and the inbox."""
        return self.stores if self.inbox is None else (*self.stores, self.inbox.store)

    def state(self) -> dict[Declared, str]:
        """Map each store and table to the topic behind it."""
        behind: dict[Declared, str] = {table: self.table_topic(table).name for table in self.tables}
        behind.update(self.changelogs().items())
        return behind

    def changelogs(self) -> dict[Store[Any, Any], str]:
        """Map everything that it keeps, the records that wait included, to its changelog topic."""
        kept = self.kept if self.waiting is None else (*self.kept, self.waiting)
        return {store: self.changelog(store) for store in kept}

    def topics(self) -> Iterator[TopicSpec]:
        """Yield every topic that has to exist for this processor to run."""
        yield _spec(self.source)
        for output in self.outputs.values():
            yield _spec(output)
        for table in self.tables:
            yield _spec(self.table_topic(table))
        for store in self.kept:
            yield TopicSpec(self.changelog(store), self.source.partitions, COMPACTED)
        limit = int(self.source.config.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES)) + HEADER_ALLOWANCE
        roomy = {"max.message.bytes": str(limit)}
        kept = {"retention.ms": FOR_EVER, **roomy}
        if self.writes_dead_letters:
            yield TopicSpec(self.dead_letter_topic, self.source.partitions, kept)
            yield TopicSpec(self.redrive_topic, self.source.partitions, kept)
        if self.waiting is not None:
            yield TopicSpec(self.changelog(self.waiting), self.source.partitions, {**COMPACTED, **roomy})


def build_processor(
    app: str,
    handler: Handler,
    source: Topic[Any],
    *,
    to: Topic[Any] | Sequence[Topic[Any]] | None,
    uses: Iterable[Declared],
    on_failure: Failure | FailurePolicy,
    reply: type[Any] | None = None,
    inbox: Inbox | None = None,
    blocking: bool = False,
    concurrency: int | None = None,
    effect: bool = False,
    batches: Batches | None = None,
    batch_records: int | None = None,
    commits: timedelta | None = None,
) -> Processor:
    """Check a handler against its declaration and bind them.

    Raises:
        UsageError: what is declared contradicts itself; the message names the processor.
    """
    name = handler.__name__
    policy = as_failure(on_failure)
    runs = _runs(name, handler, blocking=blocking, effect=effect)
    used = _used(handler, uses)
    parameters = _check_signature(name, handler)
    event = _hint(handler, parameters[0])
    outputs = [] if to is None else [to] if isinstance(to, Topic) else list(to)
    if batches is None:
        _check_event(name, event, source)
    else:
        check_batches(name, handler, event, source, outputs, batches, batch_records)
    reply_ = None if reply is None else Topic(f"{app}.{name}.reply", reply, None)
    processor = Processor(
        app=app,
        name=name,
        handler=handler if inbox is None else inbox.around(handler),
        source=source,
        outputs=_routes(name, outputs),
        stores=tuple(u for u in used if isinstance(u, Store)),
        tables=tuple(u for u in used if isinstance(u, Table)),
        on_failure=policy,
        wants_tombstones=type(None) in typing.get_args(event),
        waiting=_waiting(app, name, policy),
        reply=reply_,
        inbox=inbox,
        runs=runs,
        concurrency=_concurrency(name, runs, concurrency),
        effect=effect,
        batches=batches,
        batch_records=batch_records,
        commits=commits,
    )
    _routes(name, [*outputs, *filter(None, [processor.reply])])
    if inbox is not None:
        inbox.check(name, source)
    _check_tables(processor)
    _check_topics(processor)
    return processor


def _waiting(app: str, name: str, policy: Failure) -> Store[int, WaitingRecord] | None:
    waits = any(one.retry is not None or one.then is FailurePolicy.PARK for one in policy.answers())
    return Store("waiting", int, WaitingRecord, f"{app}.{name}.waiting") if waits else None


def _spec(topic: Topic[Any]) -> TopicSpec:
    return TopicSpec(topic.name, topic.partitions, topic.config)


def _routes(name: str, outputs: list[Topic[Any]]) -> dict[type, Topic[Any]]:
    routes: dict[type, Topic[Any]] = {}
    for topic in outputs:
        other = routes.setdefault(topic.model, topic)
        if other is not topic:
            raise UsageError(
                f"processor {name}: {other.name} and {topic.name} both take {topic.model.__name__}",
                fix="give each output topic a model of its own",
            )
    return routes


def _runs(name: str, handler: Handler, *, blocking: bool, effect: bool) -> Runs:
    if not (inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler)):
        return Runs.IN_THREADS if blocking or effect else Runs.IN_STEP
    if blocking:
        raise UsageError(
            f"processor {name} is async and declared blocking=True",
            fix="write a plain def, or leave blocking=True out and await what blocks",
        )
    return Runs.IN_LOOP


def _concurrency(name: str, runs: Runs, given: int | None) -> int:
    if given is not None and runs is Runs.IN_STEP:
        raise UsageError(
            f"processor {name} has concurrency={given}, but handles one record after the other",
            fix="write async def, or declare it blocking=True",
        )
    if given is not None and given < 1:
        raise UsageError(f"processor {name}: concurrency={given}", fix="give 1 or more")
    return 1 if runs is Runs.IN_STEP else given or DEFAULT_CONCURRENCY


def _check_signature(name: str, handler: Handler) -> list[str]:
    parameters = list(inspect.signature(handler).parameters)
    if len(parameters) != 2:  # noqa: PLR2004 - the value and the context
        raise UsageError(
            f"processor {name} takes {len(parameters)} parameters",
            fix=f"write def {name}(event, ctx: Context)",
        )
    return parameters


def _hint(handler: Handler, parameter: str) -> Any:
    """Return what a parameter is annotated with; None where that says nothing."""
    alone = types.SimpleNamespace(__annotations__={parameter: getattr(handler, "__annotations__", {}).get(parameter)})
    try:
        return typing.get_type_hints(alone, getattr(handler, "__globals__", {})).get(parameter)
    except (NameError, TypeError):  # a hint that only a type checker can resolve
        return None


def _check_event(name: str, event: Any, source: Topic[Any]) -> None:
    """Refuse a handler whose event is annotated as something else than what its input holds."""
    expected = [
        kind for kind in typing.get_args(event) or (event,) if isinstance(kind, type) and kind is not type(None)
    ]
    if expected and not any(issubclass(source.model, kind) for kind in expected):
        raise UsageError(
            f"processor {name} expects {expected[0].__name__}, but {source.name} holds {source.model.__name__}",
            fix=f"write def {name}(event: {source.model.__name__}, ctx: Context)",
        )


def _used(handler: Handler, uses: Iterable[Declared]) -> list[Declared]:
    """Find the stores and tables that the handler refers to by name, in the order of their names."""
    found: dict[Declared, None] = dict.fromkeys(uses)
    seen: set[types.FunctionType] = set()
    waiting = [handler]
    while waiting:
        function = waiting.pop()
        if not isinstance(function, types.FunctionType) or function in seen:
            continue
        seen.add(function)
        for value in _referenced(function):
            if isinstance(value, Store | Table):
                found[value] = None
            elif isinstance(value, types.FunctionType) and value.__module__ == handler.__module__:
                waiting.append(value)
    return sorted(found, key=lambda declared: declared.name)


def _referenced(function: types.FunctionType) -> Iterator[object]:
    """Yield the globals and enclosed variables that a function's code names, nested functions included."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # the name gets its value later
            yield cell.cell_contents
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        names = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}  # no attributes
        yield from (function.__globals__[name] for name in names if name in function.__globals__)


def _check_topics(processor: Processor) -> None:
    for spec in processor.topics():
        check_topic_name(spec.name)
    changelogs = Counter(processor.changelogs().values())
    changelogs.update(changelogs.keys() & {topic.name for topic in _others(processor)})
    shared = sorted(name for name, count in changelogs.items() if count > 1)
    if shared:
        raise UsageError(
            f"processor {processor.name}: topic {shared[0]} is the changelog of a store and something else too",
            fix="give each store a topic of its own",
        )


def _others(processor: Processor) -> Iterator[Topic[Any]]:
    yield processor.source
    yield from processor.outputs.values()
    yield from map(processor.table_topic, processor.tables)


def _check_tables(processor: Processor) -> None:
    for table in processor.tables:
        if table.topic.partitions != processor.source.partitions:
            raise UsageError(
                f"processor {processor.name}: table {table.name} has {table.topic.partitions} partitions, its input "
                f"{processor.source.name} has {processor.source.partitions}; a key would not find its row",
                fix="declare both with the same number of partitions",
            )
        if table.topic.key_codec.type is not processor.source.key_codec.type:
            raise UsageError(
                f"processor {processor.name}: table {table.name} is keyed by {table.topic.key_codec.type.__name__}, "
                f"its input {processor.source.name} by {processor.source.key_codec.type.__name__}",
                fix="key both by the same type",
            )
