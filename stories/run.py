"""Running a story: topics, contracts, workers, events, kills on the way, and the verdict."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from stories.catalog import Story
from stories.publish import dead_letter_topic
from stories.read import TopicReader
from stories.verdict import Verdict
from streams import Publisher
from streams.avro.model import versions_of
from streams.avro.registry import Registry
from streams.errors import StreamsError, UsageError
from streams.kafka.admin import Admin
from streams.record import TopicPartition
from streams.settings import Settings, require
from streams.supervisor import Job, Supervisor

POLL = 0.25  # seconds
EMPTY_WITHIN = 10.0  # seconds beyond a session
STUCK_AFTER = 120.0  # seconds without any progress


class Progress(NamedTuple):
    """Where one processor stands."""

    processor: str
    done: int
    lag: int


class Outcome(NamedTuple):
    """How a run ended: the verdict, and what it took."""

    verdict: Verdict
    kills: int
    seconds: float

    def figures(self) -> dict[str, int | float]:
        """Return everything as one flat object."""
        return {
            **self.verdict.figures,
            **self.verdict.difference._asdict(),
            "kills": self.kills,
            "seconds": round(self.seconds, 1),
        }


class StoryRun:
    """One story on one cluster, from empty topics to the verdict."""

    def __init__(
        self, story: Story, settings: Settings, directory: Path, *, kills: int = 0, workers: int = 1, seed: int = 1
    ) -> None:
        """Read the story's files from `directory`; send `kills` SIGKILLs to workers while there is work left."""
        self._story = story
        self._settings = settings
        self._directory = directory
        self._kills = kills
        self._workers = workers
        self._random = random.Random(seed)  # noqa: S311 - which worker dies, not a secret
        self._admin = Admin(settings)
        self._partitions = {
            name: [TopicPartition(p.source.name, number) for number in range(p.source.partitions)]
            for name in story.upstream_first
            for p in story.app.select([name])
        }
        self.killed: list[int] = []

    def prepare(self, *, reset: bool) -> None:
        """Make the topics and register the contracts.

        Raises:
            UsageError: some topics are there already, and `reset` does not allow to delete them.
        """
        specs = [*self._story.app.topics(), dead_letter_topic(self._story.name)]
        existing = [spec.name for spec in specs if spec.name in self._admin.topics()]
        if existing and not reset:
            raise UsageError(
                f"the cluster has {len(existing)} topics of story {self._story.name} already, {existing[0]} for one",
                fix="--reset deletes them and starts over",
            )
        self._delete(existing)
        self._admin.create_topics(specs)
        registry = Registry(require(self._settings.schema_registry_url, "schema_registry_url"))
        for subject, model in self._story.app.contracts():
            registry.register(subject, versions_of(model), "BACKWARD")

    def run(self, show: Callable[[str, list[Progress]], None]) -> Outcome:
        """Send the files through the workers, wait until everything is done, and read it all back.

        Raises:
            StreamsError: a worker failed for good, or nothing moves any more.
        """
        publisher = Publisher(self._settings)
        show("loading tables", [])
        self._story.publish_tables(self._directory, publisher)
        publisher.flush()
        show("computing what must come out", [])
        expected = self._story.expect(self._directory)
        jobs = [Job(self._story.target, name, self._workers) for name in self._story.upstream_first]
        supervisor = Supervisor(jobs, self._settings)
        began = time.monotonic()
        try:
            supervisor.start()
            self._story.publish_events(self._directory, publisher)
            publisher.flush()
            self._wait(supervisor, show)
            seconds = time.monotonic() - began
        finally:
            supervisor.stop()
        show("verifying", [])
        return Outcome(self._story.verify(expected, TopicReader(self._settings)), len(self.killed), seconds)

    def progress(self) -> list[Progress]:
        """Ask where every processor stands, upstream first, so that a lag of 0 everywhere means done."""
        return [self._stands(name, partitions) for name, partitions in self._partitions.items()]

    def _wait(self, supervisor: Supervisor, show: Callable[[str, list[Progress]], None]) -> None:
        moved_at, moved_to = time.monotonic(), -1
        while True:
            supervisor.poll(POLL)
            if supervisor.failed is not None:
                raise StreamsError(
                    f"a worker of story {self._story.name} ended with exit {supervisor.failed}", fix="its log is above"
                )
            stands = self.progress()
            show("running", stands)
            done, lag = sum(one.done for one in stands), sum(one.lag for one in stands)
            self._kill(supervisor, stands, done, lag)
            complete = len(supervisor.pids()) == self._workers * len(stands)
            if lag == 0 and len(self.killed) >= self._kills and complete:
                return
            if done != moved_to:
                moved_at, moved_to = time.monotonic(), done
            if time.monotonic() - moved_at > STUCK_AFTER:
                raise StreamsError(f"nothing moved for {STUCK_AFTER:g} s: {stands}", fix="look at the workers' log")

    def _kill(self, supervisor: Supervisor, stands: list[Progress], done: int, lag: int) -> None:
        """Kill one busy worker for each equal part of the work that is done; whatever is left over at the end."""
        while len(self.killed) < self._kills and (
            lag == 0 or done * (self._kills + 1) >= (len(self.killed) + 1) * (done + lag)
        ):
            busy = [one.processor for one in stands if one.lag or not lag]
            alive = [pid for name in busy for pid in supervisor.pids(name) if pid not in self.killed]
            if not alive:
                return
            pid = self._random.choice(alive)
            os.kill(pid, signal.SIGKILL)
            self.killed.append(pid)
            if lag:
                return

    def _stands(self, name: str, partitions: list[TopicPartition]) -> Progress:
        committed: Mapping[TopicPartition, int] = self._admin.committed(f"{self._story.name}.{name}")
        ranges = self._admin.ranges(partitions)
        at = {tp: committed.get(tp, held.start) for tp, held in ranges.items()}
        done = sum(at[tp] - held.start for tp, held in ranges.items())
        return Progress(name, done, sum(held.end - at[tp] for tp, held in ranges.items()))

    def _delete(self, names: list[str]) -> None:
        if not names:
            return
        self._admin.delete_topics(names)
        groups = [f"{self._story.name}.{name}" for name in self._story.upstream_first]
        self._await_empty(groups)
        self._admin.delete_groups(groups)
        deadline = time.monotonic() + 30
        while any(name in self._admin.topics() for name in names) and time.monotonic() < deadline:
            time.sleep(POLL)

    def _await_empty(self, groups: list[str]) -> None:
        """Wait for the members of an earlier run: the broker keeps static ones for a session after they left."""
        deadline = time.monotonic() + self._settings.session_timeout.total_seconds() + EMPTY_WITHIN
        while time.monotonic() < deadline:
            states = self._admin.groups()
            if all(states.get(group, "EMPTY") == "EMPTY" for group in groups):
                return
            time.sleep(POLL)
