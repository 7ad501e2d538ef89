"""Workers that die at every place of the straight path where it matters: nothing is lost, nothing comes out twice.

The processes are those of `streams worker`, with STREAMS_FAILPOINTS in their environment. Every kill leaves a line in
the log, and a scenario in which one is missing fails.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from live.app import LARGE
from live.kcat import Kcat
from live.workers import PATIENCE, Command, Live
from test_rebalance import PORTION, Feed, judge

from stories import run as story_run
from stories.catalog import STORIES
from stories.run import Outcome, StoryRun
from streams import Publisher, Topic
from streams.failpoints import VARIABLE, Failpoint
from streams.settings import Settings

pytestmark = pytest.mark.integration

STORY = STORIES["social"]
BREATH = 0.1  # seconds between two slices of the second half of a portion
SLICES, MORE_SLICES = 6, 40  # more where others join, so that partitions move while records flow
STATELESS, STATEFUL = ("notify", "fan_out"), ("analytics", "feed")
STARTED = "started      group="  # what a worker logs once it may join

Plan = Mapping[str, str]  # processor → what its worker does where
later = random.Random(1)


def at(point: Failpoint, hit: int = 1, action: str = "kill") -> str:
    """Write a rule as STREAMS_FAILPOINTS has it."""
    return f"{point}={action}@{hit}"


def both(point: Failpoint, most: int = 6) -> list[str]:
    """Kill at the first hit, and at some later one."""
    return [at(point), at(point, later.randint(2, most))]


# What the workers without state do, two of them in each round, and those with state.
WITHOUT = [
    *both(Failpoint.POLLED, 3),
    *both(Failpoint.PROCESSED),
    *both(Failpoint.PRODUCED),
    *both(Failpoint.OFFSETS_SENT),
    *both(Failpoint.COMMIT_SENT),
    at(Failpoint.FLUSHED),
    at(Failpoint.PRODUCER_STARTING),
]
WITH = [
    *both(Failpoint.CHANGELOG_PRODUCED),
    *both(Failpoint.COMMITTED),
    *both(Failpoint.STATE_WRITING),
    *both(Failpoint.STATE_WRITTEN),
    at(Failpoint.FLUSHED, 4),
    *(at(Failpoint.COMMIT_SENT, 5, f"kill+{delay}") for delay in ("0.5ms", "2ms", "6ms")),  # while the request is out
]


class Phase(NamedTuple):
    """A part of a story's events, the workers that start for it, and what they do where."""

    plan: Plan
    wiped: bool = False  # they start without local state
    joined: bool = False  # others join them, so that partitions are given up


PHASES = [
    Phase(dict(zip((*STATELESS, *STATEFUL), (*WITHOUT[start : start + 2], *WITH[start : start + 2]), strict=True)))
    for start in range(0, len(WITHOUT), 2)
]
PHASES += [
    Phase(
        {name: at(Failpoint.RESTORING, hit) for name, hit in zip(STORY.upstream_first, (1, 2, 1, 3), strict=True)},
        wiped=True,
    ),
    Phase(
        dict(zip(STORY.upstream_first, [at(Failpoint.REVOKING), at(Failpoint.REVOKED)] * 2, strict=True)), joined=True
    ),
]


class Reached(NamedTuple):
    """One line that a worker left before it did what it was told."""

    point: str
    hit: int
    action: str
    pid: int


def reached(log: str) -> list[Reached]:
    """Find the proofs in a log."""
    lines = re.findall(r"^failpoint (\S+) hit (\d+) in (\d+): (\w+)", log, re.MULTILINE)
    return [Reached(point, int(hit), action, int(pid)) for point, hit, pid, action in lines]


class Workers:
    """`streams worker` as a story's run sees its supervisor: other commands for each phase."""

    newest: Workers
    environment: Mapping[str, str]
    folder: Path
    failed = None

    def __init__(self, *_: Any) -> None:
        Workers.newest = self
        self._commands: list[Command] = []

    def start(self) -> None:
        """Wait for the first phase."""

    def begin(self, plan: Plan) -> None:
        """Start a worker of every processor, to do as planned."""
        rules = ";".join(f"{processor}/{rule}" for processor, rule in plan.items())
        log = self.folder / f"worker-{len(self._commands)}.log"
        environment = {**self.environment, VARIABLE: rules}
        self._commands.append(Command(["worker", STORY.target], environment, log))

    def poll(self, timeout: float) -> None:
        """Wait."""
        time.sleep(timeout)
        assert self._commands[-1].process.poll() is None, self.log()

    def pids(self) -> list[int]:
        """Return one for each processor."""
        return [self._commands[-1].process.pid] * len(STORY.upstream_first)

    def stop(self) -> None:
        """Drain."""
        for command in self._commands:
            if command.process.poll() is None:
                assert command.end(signal.SIGTERM) == 128 + signal.SIGTERM
            command.output.close()

    def log(self) -> str:
        """Return what all of them wrote."""
        return "".join(command.log() for command in self._commands)


class Phases(Publisher):
    """One run of the story; each portion of its events comes with the next phase."""

    def __init__(self, settings: Settings, folder: Path, phases: Sequence[Phase]) -> None:
        self._folder = folder
        self._phases = iter(phases)
        self._portions = len(phases) // 2  # of each producer, the old one and the new one
        STORY.write_sample(folder, 1)
        Workers.folder, Workers.environment = folder, environment_of(settings)
        self._run = StoryRun(replace(STORY, publish_events=self._publish), settings, folder)
        self.died: Counter[str] = Counter()

    def run(self) -> Outcome:
        """Run the story on topics of its own."""
        self._run.prepare(reset=True)
        return self._run.run(lambda _phase, _stands: None)

    def send(self, topic: Topic[Any], values: Iterable[Any], *, timestamp_ms: int | None = None) -> None:
        """Send events, in portions."""
        assert timestamp_ms is None
        listed = list(values)
        size = -(-len(listed) // self._portions)
        for start in range(0, len(listed), size):
            self._pass(next(self._phases), topic, listed[start : start + size])

    def send_raw(self, records: Iterable[Any]) -> None:
        """Send bad lines."""
        self._publisher.send_raw(records)

    def _publish(self, folder: Path, publisher: Publisher) -> int:
        self._publisher = publisher
        return STORY.publish_events(folder, self)

    def _pass(self, phase: Phase, topic: Topic[Any], values: list[Any]) -> None:
        workers = Workers.newest
        before = len(workers.log())
        workers.stop()
        for part in (self._folder / "state").glob("*/*/slot-*/part-*") if phase.wiped else ():
            shutil.rmtree(part)
        workers.begin(phase.plan)
        half = len(values) // 2
        self._publisher.send(topic, values[:half])
        self._publisher.flush()
        if phase.joined:
            self._wait()
            started = workers.log().count(STARTED) + len(STORY.upstream_first)
            workers.begin({})
            while workers.log().count(STARTED) < started:
                workers.poll(0.1)
        self._trickle(topic, values[half:], MORE_SLICES if phase.joined else SLICES)
        self._wait()
        self._check(phase, workers.log()[before:])

    def _trickle(self, topic: Topic[Any], values: list[Any], slices: int) -> None:
        size = -(-len(values) // slices)
        for start in range(0, len(values), size):
            self._publisher.send(topic, values[start : start + size])
            self._publisher.flush()
            time.sleep(BREATH)

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while any(stands.lag or not stands.done for stands in self._run.progress()):
            assert time.monotonic() < deadline, Workers.newest.log()
            Workers.newest.poll(0.1)

    def _check(self, phase: Phase, log: str) -> None:
        """See that every worker died where it had to, and came back."""
        died = Counter(f"{one.point}={one.hit}" for one in reached(log) if one.action == "kill")
        assert died == Counter(re.sub(r"=kill.*@", "=", rule) for rule in phase.plan.values()), log
        assert log.count("worker ended, starting it again") == len(phase.plan), log
        self.died += died


def environment_of(settings: Settings) -> dict[str, str]:
    """Have a command use what the tests use."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "STREAMS_BOOTSTRAP_SERVERS": settings.bootstrap_servers or "",
        "STREAMS_SCHEMA_REGISTRY_URL": settings.schema_registry_url or "",
        "STREAMS_SESSION_TIMEOUT": f"{settings.session_timeout.total_seconds():g}s",
        "STREAMS_TRANSACTION_TIMEOUT": f"{settings.transaction_timeout.total_seconds():g}s",
        "STREAMS_STATE_DIR": str(settings.state_dir),
    }


def test_kills_at_every_place_lose_and_repeat_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story_run, "Supervisor", Workers)
    phases = Phases(settings, tmp_path, PHASES)

    outcome = phases.run()

    print(f"\n{outcome.figures()}, {phases.died.total()} kills: {dict(sorted(phases.died.items()))}")
    assert outcome.verdict.holds, outcome.figures()
    assert phases.died.total() == sum(len(phase.plan) for phase in PHASES) > 0


def failing(live: Live, rule: str) -> Command:
    """Start a worker of the lists' processor, to do as planned."""
    environment = {VARIABLE: rule, "STREAMS_TRANSACTION_TIMEOUT": "5500ms"}
    return live.run("worker", live.target, "--processor", "append", environment=environment)


@pytest.mark.parametrize("hit", [1, 2])
def test_a_kill_while_a_transaction_is_rolled_back_loses_and_repeats_nothing(hit: int, live: Live, kcat: Kcat) -> None:
    live.deploy("append")
    feed = Feed(live, 1, [LARGE])  # an output of it is refused, so its transaction is
    with failing(live, at(Failpoint.ABORTING, hit)) as command:
        for _ in range(10):
            feed.send()
        live.settle("append")

    judgement = judge(live, kcat, feed)

    print(judgement)
    assert [(one.point, one.hit) for one in reached(command.log())] == [(Failpoint.ABORTING, hit)]
    assert feed.refused == 1
    assert judgement.outputs > 500
    assert not judgement.faults


def test_a_commit_that_a_replaced_owner_finishes_late_is_in_what_the_next_one_restores(live: Live, kcat: Kcat) -> None:
    """The owner stops with its offsets sent and its commit not; it goes on once its partitions have been given away."""
    live.deploy("append")
    feed = Feed(live, 1, [])
    with failing(live, at(Failpoint.COMMIT_SENT, 5, "sleep:1s")) as first:
        feed.send()
        feed.send()
        first.await_log("failpoint commit-sent")
        [stopped] = reached(first.log())
        os.kill(stopped.pid, signal.SIGSTOP)
        feed.send()
        session = live.settings.session_timeout.total_seconds()
        with failing(live, at(Failpoint.OFFSETS_KNOWN, 1, "sleep:2s")) as second:
            time.sleep(session + 0.5)
            os.kill(stopped.pid, signal.SIGCONT)
            second.await_log("failpoint offsets-known")
            for _ in range(4):
                feed.send()
            live.settle("append")

    judgement = judge(live, kcat, feed)

    print(judgement, "rolled back" if "worker ended" in first.log() else "committed")
    assert judgement.outputs == 7 * PORTION
    assert not judgement.faults
