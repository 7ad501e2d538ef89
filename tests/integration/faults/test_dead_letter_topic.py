"""A topic that a worker needs is missing, forbidden, too small or away: it says so, ends, and loses nothing.

All faults are tried at the same time, each with an app of its own and its worker in a thread: what takes long is
waiting.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)
from live.app import PREFIX, RAISE
from live.events import Item
from live.workers import Live

from streams.assembly import run_worker
from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.errors import FencedError, IncompatibleError, StreamsError
from streams.failures.waiting_record import WaitingRecord
from streams.record import RawRecord
from streams.settings import Settings
from streams.testing.plugin import Kafka
from streams.topology import Processor

pytestmark = pytest.mark.integration

KEYS = [f"key {number}" for number in range(8)]
ENDS = 90.0  # seconds until a worker ends that looks every 10, on a machine that is busy
EO, ALO = "exactly_once", "at_least_once"

Name = Callable[[Processor], str]


class Cluster:
    """What a test does to topics behind the worker's back."""

    def __init__(self, servers: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": servers})

    def delete(self, topic: str) -> None:
        self._admin.delete_topics([topic])[topic].result()

    def forbid(self, topic: str, operation: AclOperation = AclOperation.WRITE) -> None:
        """Deny it to everybody; what is left has to be allowed, once there is a rule for the topic."""
        rules = [(AclOperation.ALL, AclPermissionType.ALLOW), (operation, AclPermissionType.DENY)]
        bindings = [AclBinding(*_place(topic), "User:ANONYMOUS", "*", *rule) for rule in rules]
        try:
            for answer in self._admin.create_acls(bindings).values():
                answer.result()
        except KafkaException as raised:
            if raised.args[0].code() == KafkaError.SECURITY_DISABLED:
                pytest.skip("NOT TRIED: this Kafka has no authorizer")
            raise

    def allow(self, topic: str) -> None:
        rules = AclBindingFilter(*_place(topic), None, None, AclOperation.ANY, AclPermissionType.ANY)
        for answer in self._admin.delete_acls([rules]).values():
            assert answer.result()

    def limit(self, topic: str, most: int) -> None:
        entry = ConfigEntry("max.message.bytes", str(most), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for answer in self._admin.incremental_alter_configs([resource]).values():
            answer.result()


def _place(topic: str) -> tuple[ResourceType, str, ResourcePatternType]:
    return ResourceType.TOPIC, topic, ResourcePatternType.LITERAL


def dead_letters(processor: Processor) -> str:
    return processor.dead_letter_topic


def waiting(processor: Processor) -> str:
    assert processor.waiting is not None
    return processor.changelog(processor.waiting)


def redrive(processor: Processor) -> str:
    return processor.redrive_topic


def output(processor: Processor) -> str:
    [topic] = processor.outputs.values()
    return topic.name


@dataclass(frozen=True)
class Case:
    """A fault of one topic of a processor, and what its worker has to say."""

    fault: str
    topic: Name
    processor: str
    guarantee: str
    told: str

    def __str__(self) -> str:
        return f"{self.topic.__name__} {self.fault} {self.guarantee}"


MISSING, FORBIDDEN = "{topic} does not exist", "{topic} is forbidden to this user: grant WRITE on it"
SMALL = "raise max.message.bytes of {topic}"
CASES = [
    Case("deleted", dead_letters, "copy", EO, MISSING),
    Case("forbidden", dead_letters, "copy", EO, FORBIDDEN),
    Case("forbidden", dead_letters, "copy", ALO, FORBIDDEN),
    Case("too small", dead_letters, "copy", EO, SMALL),
    Case("deleted", waiting, "park", ALO, MISSING),
    Case("forbidden", waiting, "park", EO, FORBIDDEN),
    Case("too small", waiting, "park", EO, SMALL),
    Case("deleted", redrive, "copy", EO, MISSING),
    Case("unreadable", redrive, "copy", EO, "Kafka forbids reading {topic}"),
    Case("deleted", output, "copy", EO, MISSING),
    Case("forbidden", output, "copy", EO, FORBIDDEN),
]


@dataclass
class Trial:
    """One case with its app: how its worker ended, and what lies in Kafka in the end."""

    case: Case
    live: Live
    settings: Settings
    sent: list[RawRecord] = field(default_factory=list)
    ended: StreamsError | None = None
    took: float = 0.0
    fenced: int = 0

    @property
    def processor(self) -> Processor:
        return self.live.app.processors[self.case.processor]

    @property
    def topic(self) -> str:
        return self.case.topic(self.processor)

    def send(self, *texts: str) -> None:
        """Send one record a key for each text."""
        for text in texts:
            records = [self.live.item(key, len(self.sent), text) for key in KEYS]
            self.live.send(records)
            self.sent += records

    @contextlib.contextmanager
    def worker(self) -> Iterator[threading.Thread]:
        """Run a worker during the block; `ended` is what ends it before."""
        stopping = threading.Event()
        thread = threading.Thread(target=self._work, args=[stopping])
        thread.start()
        try:
            yield thread
        finally:
            stopping.set()
            thread.join()

    def _work(self, stopping: threading.Event) -> None:
        """Be a worker, and the next one after exit 5, as under a supervisor: a busy machine may keep it waiting."""
        began = time.monotonic()
        while self.ended is None and not stopping.is_set():
            try:
                run_worker(self.processor, self.settings, stopping.is_set)
            except FencedError:
                self.fenced += 1
            except StreamsError as error:
                self.ended = error
        self.took = time.monotonic() - began

    def again(self) -> Trial:
        """Return one that is told of another worker of the same app."""
        return replace(self, ended=None)

    def spoil(self, cluster: Cluster) -> None:
        act: dict[str, Callable[[], None]] = {
            "deleted": lambda: cluster.delete(self.topic),
            "forbidden": lambda: cluster.forbid(self.topic),
            "unreadable": lambda: cluster.forbid(self.topic, AclOperation.READ),
            "too small": lambda: cluster.limit(self.topic, 100),
        }
        act[self.case.fault]()

    def mend(self, cluster: Cluster) -> None:
        """Do what the message says."""
        act: dict[str, Callable[[], None]] = {
            "deleted": lambda: self.live.deploy(self.case.processor),
            "too small": lambda: cluster.limit(self.topic, 2 << 20),
        }
        act.get(self.case.fault, lambda: cluster.allow(self.topic))()


@pytest.fixture(scope="module")
def trials(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Trial]]:
    """Let every case happen to a worker that runs; mend it as it was told to, and let a new worker work it off."""
    cluster, found = Cluster(kafka.bootstrap_servers), {}
    with contextlib.ExitStack() as resources:
        for case in CASES:
            folder = tmp_path_factory.mktemp("trial")
            settings = kafka.settings(folder / "state", {"guarantee": case.guarantee})
            live = Live(settings, f"{PREFIX}{uuid.uuid4().hex[:8]}", folder)
            resources.callback(live.close)
            live.deploy(case.processor)
            found[str(case)] = Trial(case, live, settings)
        _break_all(list(found.values()), cluster)
        _work_off(list(found.values()), cluster)
        yield found


def _break_all(trials: list[Trial], cluster: Cluster) -> None:
    with contextlib.ExitStack() as workers:
        for trial in trials:
            trial.send("")
        running = [workers.enter_context(trial.worker()) for trial in trials]
        for trial in trials:
            trial.live.settle(trial.case.processor, ENDS)
        for trial in trials:
            trial.spoil(cluster)
            trial.send("", RAISE, "")
        deadline = time.monotonic() + ENDS
        for thread in running:
            thread.join(max(0.0, deadline - time.monotonic()))


def _work_off(trials: list[Trial], cluster: Cluster) -> None:
    for trial in trials:
        trial.mend(cluster)
    with contextlib.ExitStack() as workers:
        for trial in trials:
            workers.enter_context(trial.again().worker())
        for trial in trials:
            trial.live.settle(trial.case.processor, ENDS)


@pytest.fixture(params=map(str, CASES))
def trial(request: pytest.FixtureRequest, trials: dict[str, Trial]) -> Trial:
    return trials[request.param]


def test_it_ends_with_exit_4_and_says_what_to_mend(trial: Trial) -> None:
    assert isinstance(trial.ended, IncompatibleError)
    assert trial.ended.exit_code == 4
    assert trial.case.told.format(topic=trial.topic) in str(trial.ended)
    assert trial.ended.fix
    print(f"{trial.case}: exit {trial.ended.exit_code} {trial.took:.1f} s after its start, {trial.fenced} times 5")


def test_after_it_was_mended_everything_is_worked_off(trial: Trial) -> None:
    live, sent = trial.live, Counter(map(identity, trial.sent))
    failing = [record for record in trial.sent if decoded(live, record).text == RAISE]
    if trial.case.processor == "park":
        kept = still_waiting(live, waiting(trial.processor))
        expected = Counter(map(identity, trial.sent[2 * len(KEYS) :]))  # what failed, and what is behind it
        assert live.read(trial.processor.dead_letter_topic) == []
    else:
        kept = Counter(map(identity, live.read(trial.processor.dead_letter_topic)))
        expected = Counter(map(identity, failing))
    assert kept == expected, "each once, byte by byte"

    first = sent - Counter(map(identity, trial.sent[len(KEYS) :]))
    given = Counter(identity(live.item(one.key, one.n, one.text)) for one in live.items(output(trial.processor)))
    wanted = sent - expected - (first if trial.case.fault == "deleted" and trial.case.topic is output else Counter())
    assert given.keys() == wanted.keys()
    assert trial.case.guarantee == ALO or given == wanted
    assert sum(kept.values()) == (16 if trial.case.processor == "park" else 8)
    print(f"{trial.case}: {sum(wanted.values())} outputs and {sum(kept.values())} kept records compared")


def identity(record: RawRecord) -> tuple[bytes | None, bytes | None]:
    return record.key, record.value


def decoded(live: Live, record: RawRecord) -> Item:
    [item] = live.codec.decode([record.value or b""])
    return item


def still_waiting(live: Live, topic: str) -> Counter[tuple[bytes | None, bytes | None]]:
    """Return the records that wait, as they were read."""
    codec = Codec(WaitingRecord)
    codec.learn(live.registry.lookup(f"{topic}-value", schema_of(WaitingRecord).text), schema_of(WaitingRecord).text)
    last = {(row.partition, row.key): row.value for row in live.read(topic)}
    rows = codec.decode([value for value in last.values() if value is not None])
    return Counter((row.key, row.value) for row in rows)


def test_what_is_wrong_at_the_start_is_told_all_at_once(live: Live, kafka: Kafka) -> None:
    cluster = Cluster(kafka.bootstrap_servers)
    live.deploy("park")
    processor = live.app.processors["park"]
    live.send([live.item("a", 0)])
    cluster.delete(redrive(processor))
    cluster.forbid(dead_letters(processor))
    cluster.limit(waiting(processor), 300)
    cluster.forbid(output(processor), AclOperation.DESCRIBE)
    with live.worker("park") as worker:
        assert worker.wait(ENDS) == 4
        told = worker.log()
    assert MISSING.format(topic=redrive(processor)) in told
    assert FORBIDDEN.format(topic=dead_letters(processor)) in told
    assert f"{waiting(processor)} takes records of up to 300 bytes" in told
    assert f"{output(processor)} is forbidden to this user: grant DESCRIBE, DESCRIBE_CONFIGS, WRITE on it" in told
    assert sum(live.lag("park").values()) == 1

    live.deploy("park")
    for topic in (dead_letters(processor), output(processor)):
        cluster.allow(topic)
    cluster.limit(waiting(processor), 2 << 20)
    with live.worker("park"):
        live.settle("park")
    assert [item.n for item in live.items(output(processor))] == [0]
