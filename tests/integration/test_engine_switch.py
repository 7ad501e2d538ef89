"""A group changes its engine in mid-stream, and Faust's workers come and go: nothing is lost, keys keep their order."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from live import stateless
from live.app import PREFIX
from live.stateless import SLOW
from live.workers import PATIENCE, Live

from streams.settings import Settings
from streams.supervisor import Job, Supervisor
from streams.testing.plugin import Kafka

pytestmark = pytest.mark.integration

KEYS = [f"key {number}" for number in range(20)]


@pytest.fixture
def started(kafka: Kafka, tmp_path: Path) -> Iterator[Live]:
    settings = kafka.settings(tmp_path / "state")
    live = Live(settings, f"{PREFIX}{uuid.uuid4().hex[:8]}", tmp_path, stateless.build)
    live.deploy("copy")
    yield live
    live.close()


def send(live: Live, numbers: range) -> None:
    live.send(live.item(KEYS[n % len(KEYS)], n, SLOW) for n in numbers)


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def behind(live: Live) -> int:
    return sum(live.lag("copy").values())


def progressed(live: Live, before: int) -> bool:
    return behind(live) < before - 60


def judge(live: Live, count: int) -> int:
    """Hold the copies against what was sent; return how many came twice."""
    found: dict[bytes | None, list[int]] = defaultdict(list)
    copies = live.read(live.topic("copies"))
    for record in copies:
        found[record.key].append(record.timestamp_ms)
    assert {n for numbers in found.values() for n in numbers} == set(range(1, count + 1)), "nothing is lost"
    assert len(found) == len(KEYS)
    for key, numbers in found.items():
        firsts = list(dict.fromkeys(numbers))
        assert firsts == sorted(firsts), key
    return len(copies) - count


def test_a_group_changes_its_engine_and_back(started: Live) -> None:
    count = 900
    send(started, range(1, count + 1))
    left = behind(started)
    assert left == count
    for engine in ("native", "faust"):
        with started.worker("copy", more=["--engine", engine]) as worker:
            wait_for(partial(progressed, started, left))
            assert worker.end(signal.SIGTERM) == 143
        left = behind(started)
        assert left > 100, "the other one begins in mid-stream"
    with started.worker("copy"):
        started.settle("copy")
    assert judge(started, count) == 0, "all of them ended in good order"


def test_faust_workers_come_and_go(started: Live) -> None:
    settings = Settings(**{**started.settings.model_dump(exclude={"guarantee"}), "engine": "faust"})
    supervisor = Supervisor([Job(started.target, "copy", workers=2)], settings)
    count, kills = 1_000, 0
    supervisor.start()
    try:
        for first in range(1, count + 1, 250):
            send(started, range(first, first + 250))
            wait_for(lambda: supervisor.poll(0.1) or behind(started) < 150)
            if kills < 2:
                os.kill(supervisor.pids()[kills], signal.SIGKILL)
                kills += 1
                supervisor.poll(1)
        wait_for(lambda: supervisor.poll(0.1) or behind(started) == 0)
    finally:
        supervisor.stop()
    assert (supervisor.restarts, supervisor.failed) == (2, None)
    judge(started, count)
