"""Running it: records go in at a steady rate while workers are killed, join and leave, each with proof of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from stories.read import TopicReader
from streams import Publisher
from streams.avro.codec import Codec
from streams.avro.model import schema_of, versions_of
from streams.avro.registry import Registry
from streams.failures.waiting_record import WaitingRecord, WaitingStatus
from streams.kafka.admin import Admin
from streams.record import RawRecord, TopicPartition
from streams.settings import Settings, require
from streams.state.stamps import committed_by_partition, only_committed
from streams.supervisor import Job, Supervisor

from .app import Item, build
from .feed import records
from .judge import Judge, Verdict

MODULE = "tests.scenarios.conservation.app"
STEP = 0.1  # seconds
PATIENCE = 120.0
SETTLING = 300.0
WORKERS = 2


class Churn(NamedTuple):
    """What befell the workers: deaths that were seen, and changes of who owns what."""

    crashes: int
    rebalances: int


class Run:
    """One app on one cluster."""

    def __init__(self, settings: Settings, name: str, folder: Path) -> None:
        self.settings = settings.model_copy(update={"state_dir": folder / name})
        self.app = build(name)
        self.processor = self.app.processors["handle"]
        self._target = f"{MODULE}:{name}"
        self._admin = Admin(settings)
        self._registry = Registry(require(settings.schema_registry_url, "schema_registry_url"))
        self._admin.create_topics(self.app.topics())
        for subject, model in self.app.contracts():
            self._registry.register(subject, versions_of(model), "BACKWARD")
        topic = self.processor.source.name
        self._codec = Codec(Item, self._registry.lookup(f"{topic}-value", schema_of(Item).text))

    def close(self) -> None:
        """Close the connections."""
        self._registry.close()

    def send(self, count: int, *, failures: bool, unknown: bool = True, rate: float | None = None) -> None:
        """Send records, `rate` of them a second at most."""
        publisher, began, sent = Publisher(self.settings), time.monotonic(), 0
        for batch in records(self.processor.source.name, self._codec, count, failures=failures, unknown=unknown):
            publisher.send_raw(batch)
            sent += len(batch)
            if rate is not None:
                time.sleep(max(0.0, began + sent / rate - time.monotonic()))
        publisher.flush()

    def supervisor(self, workers: int) -> Supervisor:
        """Start workers."""
        supervisor = Supervisor([Job(self._target, "handle", workers)], self.settings)
        supervisor.start()
        return supervisor

    def churned(
        self, count: int, *, crashes: int, rebalances: int, seconds: float, tell: Callable[[str], None]
    ) -> Churn:
        """Work off `count` records of which some fail, while workers die, join and leave."""
        feeding = threading.Thread(target=self.send, args=(count,), kwargs={"failures": True, "rate": count / seconds})
        main = self.supervisor(WORKERS)
        feeding.start()
        try:
            self._await(lambda: len(self._owners()) >= WORKERS, [main], "the workers do not join")
            churn = self._churn(main, crashes, rebalances, tell)
            feeding.join()
            self.settle([main], tell)
        finally:
            feeding.join()
            main.stop()
        return churn

    def timed(self, count: int, *, failures: bool) -> float:
        """Return how many seconds one worker takes for `count` records that lie ready, from first to last commit."""
        self.send(count, failures=failures, unknown=False)
        supervisor = self.supervisor(1)
        try:
            self._await(lambda: self.lag() < count, [supervisor], "nothing is committed")
            began, left = time.monotonic(), self.lag()
            self._await(lambda: self.lag() == 0, [supervisor], "the records are not worked off", SETTLING)
            seconds = (time.monotonic() - began) * count / max(1, left)
            self.settle([supervisor], lambda _: None)
        finally:
            supervisor.stop()
        return seconds

    def lag(self) -> int:
        """Return how many records are not committed."""
        source = self.processor.source
        ranges = self._admin.ranges(TopicPartition(source.name, number) for number in range(source.partitions))
        committed = self._admin.committed(self.processor.group)
        return sum(held.end - committed.get(tp, held.start) for tp, held in ranges.items())

    def settle(self, supervisors: list[Supervisor], tell: Callable[[str], None]) -> None:
        """Wait until everything is committed and nothing is tried again any more."""
        self._await(lambda: self.lag() == 0, supervisors, "records are left", SETTLING)
        tell("input worked off")
        self._await(lambda: not self._retrying(), supervisors, "records are still tried again", SETTLING)

    def judge(self) -> Verdict:
        """Read every topic and say what became of the records."""
        processor = self.processor
        (handled,) = processor.outputs.values()
        return Judge(self._registry, processor, repeats=self.settings.guarantee == "at_least_once").judge(
            self._read(processor.source.name),
            self._read(handled.name),
            self._read(processor.dead_letter_topic),
            self._waiting_rows(),
        )

    def _churn(self, main: Supervisor, crashes: int, rebalances: int, tell: Callable[[str], None]) -> Churn:
        random, crashed, moved = Random(1), 0, 0
        guest: Supervisor | None = None
        while crashed < crashes or moved < rebalances:
            if moved < rebalances:
                before = self._owners()
                if guest is None:
                    guest = self.supervisor(1)
                else:
                    guest.stop()
                    guest = None
                if crashed < crashes:  # in the middle of it
                    crashed += self._kill(main, random)
                self._await(lambda was=before: self._moved(was), [main, *([guest] if guest else [])], "nothing moves")
                moved += 1
            if crashed < crashes:
                crashed += self._kill(main, random)
            tell(f"crashes {crashed}, rebalances {moved}, lag {self.lag()}")
        if guest is not None:
            guest.stop()
        return Churn(crashed, moved)

    def _kill(self, supervisor: Supervisor, random: Random) -> int:
        """Kill a worker and wait until another process has taken its place."""
        self._await(lambda: len(supervisor.pids()) == WORKERS, [supervisor], "a worker is missing")
        before, victim = supervisor.restarts, random.choice(supervisor.pids())
        os.kill(victim, signal.SIGKILL)
        self._await(
            lambda: supervisor.restarts > before and victim not in supervisor.pids(), [supervisor], "nobody died"
        )
        time.sleep(random.uniform(0.2, 1.0))
        return 1

    def _owners(self) -> dict[str, tuple[int, ...]]:
        """Return who owns what, if the group agrees on it and everything is owned."""
        if self.processor.group not in self._admin.groups():
            return {}
        group = self._admin.group(self.processor.group)
        owners = {one.instance_id: tuple(tp.partition for tp in one.partitions) for one in group.members}
        whole = sum(map(len, owners.values())) == self.processor.source.partitions
        return owners if group.state == "STABLE" and whole else {}

    def _moved(self, before: dict[str, tuple[int, ...]]) -> bool:
        now = self._owners()
        return bool(now) and now != before

    def _retrying(self) -> int:
        """Count the records that wait for another attempt, or for one that does."""
        assert self.processor.waiting is not None
        topic = self.processor.changelog(self.processor.waiting)
        codec, newest = Codec(WaitingRecord), dict[tuple[int, bytes | None], bytes | None]()
        text = schema_of(WaitingRecord).text
        codec.learn(self._registry.lookup(f"{topic}-value", text), text)
        for one in self._waiting_rows():
            newest[one.partition, one.key] = one.value
        rows = codec.decode([value for value in newest.values() if value is not None])
        parked = {(row.partition, row.key) for row in rows if row.status is WaitingStatus.PARKED}
        return sum((row.partition, row.key) not in parked for row in rows)

    def _waiting_rows(self) -> Iterator[RawRecord]:
        """Return the committed rows of what waits."""
        assert self.processor.waiting is not None
        rows = self._read(self.processor.changelog(self.processor.waiting))
        offsets = self._admin.committed(self.processor.group)
        return only_committed(rows, committed_by_partition(offsets, self.processor.redrive_topic))

    def _await(
        self, met: Callable[[], bool], supervisors: Iterable[Supervisor], otherwise: str, patience: float = PATIENCE
    ) -> None:
        deadline = time.monotonic() + patience
        while not met():
            if time.monotonic() > deadline:
                raise AssertionError(f"{otherwise}: lag {self.lag()}, owners {self._owners()}")
            for supervisor in supervisors:
                supervisor.poll(0.0)
                if supervisor.failed is not None:
                    raise AssertionError(f"a worker failed for good with exit {supervisor.failed}")
            time.sleep(STEP)

    def _read(self, topic: str) -> list[RawRecord]:
        return sorted(
            (record for batch in TopicReader(self.settings).raw(topic) for record in batch),
            key=lambda record: (record.partition, record.offset),
        )
