"""Lists that grow in a store while workers join, leave and are killed: judged from the topics alone, by kcat.

Every record appends its number to its key's list and says how long the list is and what its hash is. So one lost, one
repeated, one out of order, or one that met state of another time shows in the outputs. The same judge has to condemn
workers with a known fault.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from typing import NamedTuple, TypeVar

import pytest
from live.app import LARGE, LARGE_STATE, LIMIT, digest
from live.events import Appended, History
from live.kcat import Kcat
from live.workers import PATIENCE, Live

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.record import RawRecord
from streams.supervisor import Job, Supervisor
from streams.topology import TopicSpec

pytestmark = pytest.mark.integration

KEYS = [f"key {number}" for number in range(40)]
TICK = 0.25  # seconds between two portions of records
PORTION = 60
ACT_EVERY = 1.2  # seconds


V = TypeVar("V")


class Judgement(NamedTuple):
    """How many outputs and lists were compared, and every way in which they are wrong."""

    outputs: int
    lists: int
    faults: Counter[str]


class Feed:
    """Records that go in, in portions, and what they have to come to.

    Some records, one text for each, are refused by the broker; that aborts the transactions that they are in.
    """

    def __init__(self, live: Live, seed: int, refusals: Iterable[str]) -> None:
        self._live = live
        self._random = random.Random(seed)
        self._refusals = dict(zip(count(500, 1_000), refusals, strict=False))
        self._sent = 0
        self.wanted: dict[str, list[int]] = defaultdict(list)
        self.refused = 0

    def send(self) -> None:
        """Send one portion."""
        records: list[RawRecord] = []
        for _ in range(PORTION):
            self._sent += 1
            key = self._random.choice(KEYS)
            text = self._refusals.get(self._sent, "")
            records.append(self._live.item(key, self._sent, text))
            if text:
                self.refused += 1
            else:
                self.wanted[key].append(self._sent)
        self._live.send(records)


class Workers:
    """A group whose slots come and go, each under a supervisor of its own."""

    def __init__(self, live: Live, target: str, seed: int) -> None:
        self._job = [Job(target, "append")]
        self._settings = live.settings
        self._random = random.Random(seed)
        self._slots = [self._started() for _ in range(2)]
        self.done: Counter[str] = Counter()

    def act(self) -> None:
        """Kill a worker, let one leave, or let one join."""
        act = self._random.choice([self._kill, self._kill, self._leave if len(self._slots) > 1 else self._join])
        act()
        self.done[act.__name__.strip("_")] += 1

    def poll(self) -> None:
        """Start killed workers again."""
        for slot in self._slots:
            slot.poll(0.0)
            assert slot.failed is None

    def stop(self) -> None:
        """Let all leave."""
        for slot in self._slots:
            slot.stop()

    def _started(self) -> Supervisor:
        slot = Supervisor(self._job, self._settings)
        slot.start()
        return slot

    def _kill(self) -> None:
        for pid in self._random.choice(self._slots).pids():
            with suppress(ProcessLookupError):  # it may have died of the kill before
                os.kill(pid, signal.SIGKILL)

    def _leave(self) -> None:
        self._slots.pop(self._random.randrange(len(self._slots))).stop()

    def _join(self) -> None:
        self._slots.append(self._started())


def churn(live: Live, target: str, seconds: float, *, seed: int, refusals: Iterable[str]) -> Feed:
    """Send records while workers come and go, then let the rest be worked off."""
    changelog = live.topic("append.histories.changelog")
    limited = TopicSpec(changelog, 4, {"cleanup.policy": "compact", "max.message.bytes": LIMIT})
    live.deploy("append", changed={changelog: limited})
    feed, workers = Feed(live, seed, refusals), Workers(live, target, seed)
    began = acted = time.monotonic()
    try:
        while (now := time.monotonic()) < began + seconds:
            feed.send()
            if now > acted + ACT_EVERY:
                workers.act()
                acted = now
            workers.poll()
            time.sleep(max(0.0, now + TICK - time.monotonic()))
        deadline = time.monotonic() + PATIENCE
        while any(live.lag("append").values()):
            assert time.monotonic() < deadline, live.lag("append")
            workers.poll()
            time.sleep(TICK)
    finally:
        workers.stop()
    print(f"\n{target}: {dict(workers.done)}, {sum(map(len, feed.wanted.values()))} records, {feed.refused} refused")
    return feed


def judge(live: Live, kcat: Kcat, feed: Feed) -> Judgement:
    """Compare outputs and changelog, as kcat reads them, with what was sent."""
    outputs = decoded(live, kcat, "appended", Appended)
    lists = {key: list(value.items) for key, value in decoded(live, kcat, "append.histories.changelog", History)}
    faults: Counter[str] = Counter()
    found: dict[str, list[Appended]] = defaultdict(list)
    for _, value in outputs:
        found[value.key].append(value)
    for key, wanted in feed.wanted.items():
        faults += _compare(wanted, found[key])
        faults["wrong list"] += lists.get(key) != wanted
    faults["dead letters"] += kcat.count(live.app.processors["append"].dead_letter_topic) - feed.refused
    return Judgement(len(outputs), len(lists), +faults)


def _compare(wanted: list[int], outputs: Iterable[Appended]) -> Counter[str]:
    listed = list(outputs)
    seen = Counter(one.n for one in listed)
    faults = Counter(
        repeated=(seen - Counter(wanted)).total(),
        lost=(Counter(wanted) - seen).total(),
        disorder=[one.n for one in listed] != sorted(one.n for one in listed),
    )
    for length, one in enumerate(listed, 1):
        faults["wrong state"] += one.size != length or one.digest != digest(wanted[:length])
    return faults


def decoded(live: Live, kcat: Kcat, short: str, model: type[V]) -> list[tuple[str, V]]:
    """Return the keys and values of one of the app's topics, as kcat reads them."""
    topic = live.topic(short)
    codec = Codec(model)
    codec.learn(live.registry.lookup(f"{topic}-value", schema_of(model).text), schema_of(model).text)
    rows = kcat.read(topic)
    values = codec.decode([row.value or b"" for row in rows])
    return [((row.key or b"").decode(), value) for row, value in zip(rows, values, strict=True)]


def test_lists_are_exact_while_workers_come_and_go(live: Live, kcat: Kcat) -> None:
    feed = churn(live, live.target, 30.0, seed=1, refusals=[LARGE, LARGE_STATE] * 2)

    judgement = judge(live, kcat, feed)

    print(judgement)
    assert judgement.outputs > 1_000
    assert judgement.lists == len(KEYS)
    assert not judgement.faults


@pytest.mark.parametrize(
    ("fault", "refusals", "shows"),
    [("keepstate", [LARGE], "wrong state"), ("markearly", [], "lost")],  # tests/unit/test_mutants.py has the others
)
def test_the_judge_condemns_a_worker_with_a_fault(
    fault: str, refusals: list[str], shows: str, live: Live, kcat: Kcat
) -> None:
    feed = churn(live, f"live.faults:{fault}_{live.name}", 8.0, seed=2, refusals=refusals)

    judgement = judge(live, kcat, feed)

    print(judgement)
    assert judgement.outputs > 1_000
    assert judgement.faults[shows]
