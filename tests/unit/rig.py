"""Workers over the Kafka in memory, and the judge of what they committed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from chaos import Chaos, NoLookup

from streams.app import App
from streams.avro.codec import Codec
from streams.avro.model import AvroModel
from streams.context import Context
from streams.errors import AbortedError, StreamsError
from streams.failures.policy import FailurePolicy
from streams.record import RawRecord, Record, TopicPartition
from streams.state.backend import Backend
from streams.state.restore import Restorer
from streams.state.task_state import TaskState
from streams.task import Task
from streams.testing.faults import ProcessDied
from streams.testing.memory import Group, Log, MemoryConsumer, MemoryProducer, MemoryReader, Outcome, Transaction
from streams.topology import Processor
from streams.worker import Worker

PARTITIONS = 2
SLOTS = 2
COMMIT_INTERVAL = 0.5
TICK = 0.01  # seconds that pass whenever somebody looks at the clock
MOST_ROUNDS = 500

LARGE, LARGE_STATE, RAISES, BAD_OUTPUT, BAD_STATE = 1_000, 2_000, 3_000, 4_000, 5_000  # n from here on is one of these
ALL_KINDS = ("ok", "ok", "ok", "large", "large-state", "raises", "bad-output", "bad-state", "junk", "tombstone")


class Item(AvroModel):
    __avro_name__: ClassVar[str] = "t.Item"
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        (
            '{"type":"record","name":"Item","namespace":"t","fields":'
            '[{"name":"key","type":"string"},{"name":"n","type":"long"}]}'
        ),
    )
    key: str
    n: int


class Appended(AvroModel):
    __avro_name__: ClassVar[str] = "t.Appended"
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        (
            '{"type":"record","name":"Appended","namespace":"t","fields":'
            '[{"name":"key","type":"string"},{"name":"n","type":"long"},{"name":"size","type":"long"}]}'
        ),
    )
    key: str
    n: int
    size: int


class Items(AvroModel):
    __avro_name__: ClassVar[str] = "t.Items"
    __avro_versions__: ClassVar[tuple[str, ...]] = (
        (
            '{"type":"record","name":"Items","namespace":"t","fields":'
            '[{"name":"items","type":{"type":"array","items":"long"}}]}'
        ),
    )
    items: tuple[int, ...]


app = App("t")
inputs = app.topic("in", Item, key="key", partitions=PARTITIONS)
out = app.topic("out", Appended, key="key", partitions=PARTITIONS)
lists = app.store("lists", str, Items)


@app.processor(inputs, to=out, on_failure=FailurePolicy.DEAD_LETTER)
def append(item: Item, ctx: Context) -> Iterator[Appended]:
    """Append to the list of the key; some items cause every kind of failure, after they have left their traces."""
    before = ctx.get(lists, item.key)
    items = (*(before.items if before else ()), item.n)
    ctx.put(lists, item.key, Items(items=items))
    yield Appended(key=item.key, n=item.n, size=len(items))
    if item.n >= BAD_STATE:
        ctx.put(lists, item.key, Items.model_construct(items=("no number",)))
    elif item.n >= BAD_OUTPUT:
        yield Appended.model_construct(key=item.key, n="no number", size=0)
    elif item.n >= RAISES:
        raise ValueError(item.n)


PROCESSOR: Processor = app.processors["append"]
CHANGELOG = PROCESSOR.changelog(lists)
DEAD_LETTERS = PROCESSOR.dead_letter_topic
CODECS: Mapping[str, Codec[Any]] = {
    "in": Codec(Item, 1),
    "out": Codec(Appended, 2),
    CHANGELOG: Codec(Items, 3),
}


def produce(
    log: Log, records: Iterable[tuple[str, bytes | None, bytes | None]], outcome: Outcome | None = None
) -> None:
    """Write records from outside, in a transaction that ends with `outcome` if one is given."""
    transaction = None if outcome is None else Transaction()
    for topic, key, value in records:
        log.append(Record(topic, key, value, 1_700_000_000_000), transaction)
    if transaction is not None and outcome is not None:
        log.decide(transaction, outcome)


class JudgeError(AssertionError):
    """What is committed is not what exactly once allows."""


def refused_by_broker(record: RawRecord) -> bool:
    """Play a broker to which some outputs and some changelog rows are too large."""
    if record.topic == "out":
        return bool(LARGE <= CODECS["out"].decode([record.value])[0].n < LARGE_STATE)
    if record.topic == CHANGELOG and record.value is not None:
        return any(LARGE_STATE <= n < RAISES for n in CODECS[CHANGELOG].decode([record.value])[0].items)
    return False


class Slot:
    """One worker process: what it holds, and how it dies."""

    def __init__(self, rig: Rig, number: int) -> None:
        self.rig = rig
        self.chaos = rig.chaos
        self.folder = rig.folder / f"slot-{number}"
        self.states: list[TaskState] = []
        self.consumer = MemoryConsumer(rig.group, self.chaos.call)
        self.producer = MemoryProducer(
            rig.log, self.folder.name, self.chaos.call, timeout=rig.transaction_timeout, takes=rig.takes
        )
        self.reader = MemoryReader(rig.log, most=1)  # so that a restore takes several polls
        self.worker = Worker(
            self.consumer,
            self.producer,
            Restorer(self.reader, rig.log.bounds),
            rig.lookup,
            self._open_task,
            loops=False,
            poll_records=5,
            commit_interval=COMMIT_INTERVAL,
            commit_records=20,
            stable_timeout=1.0,
            keeps={rig.processor.dead_letter_topic},
            examine=lambda: rig.examine(),  # noqa: PLW0108 - a test sets another one later
            clock=rig.clock,
            now_ms=lambda: 0,
        )
        self.consumer.listener = self.worker
        if not rig.cautious:
            self.worker._narrowing._most = None  # as after the first few transactions

    def _open_task(self, partition: TopicPartition) -> Task:
        behind = self.rig.processor.state()
        backend = Backend(self.folder / f"part-{partition.partition}", behind.values(), boot_id="one")
        sources = {declared: TopicPartition(topic, partition.partition) for declared, topic in behind.items()}
        codecs = {declared: self.rig.codecs[topic] for declared, topic in behind.items()}
        state = TaskState(backend, sources, codecs)
        self.states.append(state)
        return Task(self.rig.processor, self.rig.codecs, state)

    def kill(self) -> None:
        """Be gone at once, as by SIGKILL; only the lock on the files has to be given back by hand."""
        for state in self.states:
            with suppress(Exception):
                state._backend.release()
        self.rig.group.leave(self.consumer)

    def shut(self, *, failed: bool) -> None:
        """End as `run_worker` ends: by a signal after a drain, or because of an error."""
        if failed:
            self.worker.fail()
        else:
            self.worker.drain()
        self.consumer.close()
        self.worker.close()
        with suppress(StreamsError, AbortedError):
            self.producer.abort()


class Rig:
    """Two slots over one log, and the actions that befall them."""

    def __init__(
        self,
        folder: Path,
        processor: Processor = PROCESSOR,
        codecs: Mapping[str, Codec[Any]] = CODECS,
        refuses: Callable[[RawRecord], bool] | None = refused_by_broker,
        lookup: Any = None,
    ) -> None:
        self.folder = folder
        self.processor = processor
        self.codecs = codecs
        self.takes = lambda record: refuses is None or not refuses(record)
        self.lookup = lookup or NoLookup()
        self.examine: Callable[[], None] = lambda: None
        self.log = Log(processor.topics(), seconds=lambda: self.now)
        self.group = Group(self.log, processor.group, processor.source.name)
        self.chaos = Chaos()
        self.now = 0.0
        self.transaction_timeout = float("inf")
        self.cautious = False
        self.slots: dict[int, Slot] = {}
        self.sent = 0
        self.expected: dict[str, list[int]] = defaultdict(list)
        self.refused: Counter[bytes | None] = Counter()
        self.deaths: Counter[str] = Counter()

    def clock(self) -> float:
        self.now += TICK
        return self.now

    def produce(self, kinds: list[tuple[str, str]], outcome: Outcome | None = None) -> None:
        """Write items of the given keys and kinds to the input; only committed ones count."""
        rows = []
        for key, kind in kinds:
            self.sent += 1
            value = self._value(key, kind)
            rows.append(("in", key.encode(), value))
            if outcome is Outcome.ABORTED or kind == "tombstone":
                continue
            if kind == "ok":
                self.expected[key].append(self.sent)
            else:
                self.refused[value] += 1
        produce(self.log, rows, outcome)

    def _value(self, key: str, kind: str) -> bytes | None:
        if kind == "tombstone":
            return None
        if kind == "junk":
            return b"junk" + bytes([self.sent % 256])
        base = {
            "ok": 0,
            "large": LARGE,
            "large-state": LARGE_STATE,
            "raises": RAISES,
            "bad-output": BAD_OUTPUT,
            "bad-state": BAD_STATE,
        }[kind]
        return self.codecs["in"].encode([Item(key=key, n=base + self.sent)])[0]

    def start(self, number: int) -> Slot:
        """Start a slot's worker unless it runs."""
        if number not in self.slots:
            self.slots[number] = Slot(self, number)
        return self.slots[number]

    def run(self, number: int, times: int = 1) -> None:
        """Let a worker turn its loop; what kills it, kills it."""
        for _ in range(times):
            slot = self.slots.get(number)
            if slot is None:
                return
            self._survive(number, slot.worker.run_once)

    def stop(self, number: int) -> None:
        """Stop a worker by a signal."""
        slot = self.slots.get(number)
        if slot is not None and self._survive(number, lambda: slot.shut(failed=False)):
            del self.slots[number]

    def crash(self, number: int) -> None:
        """Kill a worker."""
        slot = self.slots.pop(number, None)
        if slot is not None:
            slot.kill()

    def _survive(self, number: int, action: Callable[[], None]) -> bool:
        slot = self.slots[number]
        try:
            action()
        except ProcessDied:
            self.deaths["crash"] += 1
            self.crash(number)
        except StreamsError as error:
            self.deaths[type(error).__name__] += 1
            del self.slots[number]
            try:
                slot.shut(failed=True)
            except ProcessDied:
                slot.kill()
        else:
            return True
        return False

    def spread(self, seed: int = 0) -> None:
        """Give every partition that nobody owns to a living worker."""
        living = list(self.slots.values()) or [self.start(0)]
        for index, (partition, owner) in enumerate(self.group.owner.items()):
            if owner is None:
                self.group.assign([partition], living[(seed + index) % len(living)].consumer)

    def settle(self) -> None:
        """Let everything be worked off without further trouble.

        Raises:
            JudgeError: it does not end.
        """
        self.chaos.disarm()
        self.time_out_transactions()
        for _ in range(MOST_ROUNDS):
            self.spread()
            for number in list(self.slots):
                self.run(number)
            if self.lag() == 0:
                return
        raise JudgeError(f"INV-10: {self.lag()} offsets are never committed; deaths: {dict(self.deaths)}")

    def time_out_transactions(self) -> None:
        """Roll back what dead workers left open, as the broker does after a while."""
        for name, producer in self.log.producers.items():
            if name not in {slot.folder.name for slot in self.slots.values()}:
                producer.fence()

    @property
    def offsets(self) -> dict[TopicPartition, int]:
        """Return what the group has committed."""
        return self.log.offsets.get(self.processor.group, {})

    def lag(self) -> int:
        """Count the offsets of the input that are not committed."""
        return self.log.lag(self.processor.group, self.processor.source.name)

    def judge(self) -> int:
        """Compare what is committed with what was sent; return how much was compared.

        Raises:
            JudgeError: something is lost, twice, out of order, or the local state is not what its changelog says.
        """
        for number in list(self.slots):
            self.stop(number)
        expected = {key: ns for key, ns in self.expected.items() if ns}
        outputs: dict[str, list[int]] = defaultdict(list)
        for record in self.log.committed("out"):
            value = CODECS["out"].decode([record.value])[0]
            outputs[value.key].append(value.n)
        _same("outputs", outputs, expected)
        _same("state", {key.decode(): value for key, value in self.folded(10**9).items()}, expected)
        _same("dead letters", Counter(record.value for record in self.log.committed(DEAD_LETTERS)), self.refused)
        return len(expected) + sum(self.refused.values()) + self.judge_local()

    def folded(self, position: int, number: int | None = None) -> dict[bytes, list[int]]:
        """Return what the committed changelog says below a position."""
        rows: dict[bytes, list[int]] = {}
        for record in self.log.committed(CHANGELOG):
            if record.offset < position and number in {None, record.partition}:
                rows[record.key or b""] = list(CODECS[CHANGELOG].decode([record.value])[0].items)
        return rows

    def judge_local(self) -> int:
        """Compare every local store that nobody has open with its changelog (INV-3)."""
        compared = 0
        for path in sorted(self.folder.glob("slot-*/part-*")):
            backend = Backend(path, [CHANGELOG], boot_id="one")
            rows = {key: list(CODECS[CHANGELOG].decode([value])[0].items) for key, value in stored(backend, CHANGELOG)}
            number = int(path.name.removeprefix("part-"))
            _same(f"INV-3: local store {path.name}", rows, self.folded(backend.position(CHANGELOG) or 0, number))
            backend.close()
            compared += len(rows)
        return compared


def stored(backend: Backend, name: str) -> list[tuple[bytes, bytes]]:
    """Return the rows of a backend; keys are short here, so they are stored as they are, behind a tag."""
    with backend._env.begin() as transaction:
        return [(bytes(key)[1:], bytes(value)) for key, value in transaction.cursor(db=backend._databases[name])]


def _same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise JudgeError(f"{what}: found {found}, expected {expected}")
