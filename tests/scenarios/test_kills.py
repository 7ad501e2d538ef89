"""Both stories, with workers killed while records flow: every record comes out once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from live.kcat import Kcat

from stories import run as story_run
from stories.catalog import STORIES, Story
from stories.expected import Shipments, Social
from stories.run import StoryRun
from streams import Publisher, Topic
from streams.settings import Settings
from streams.supervisor import Job, Supervisor

pytestmark = pytest.mark.integration

ROUNDS = int(os.environ.get("KILL_ROUNDS", "10"))
KILLS = 4  # in each round
SLICES = 16  # portions that the events of a round are sent in; a kill comes between two of them
COMMIT_INTERVAL = timedelta(milliseconds=400)  # so long that most kills come while a transaction is open
PAUSE = 0.3  # seconds at most, between a slice and a kill
PATIENCE = 120.0  # seconds


class Kill(NamedTuple):
    """One SIGKILL: whose worker, and how many records its group had not committed once it was dead."""

    processor: str
    pid: int
    lag: int


class Watched(Supervisor):
    """The supervisor of the round, reachable by its test."""

    newest: Watched

    def __init__(self, jobs: list[Job], settings: Settings) -> None:
        super().__init__(jobs, settings)
        Watched.newest = self


class Round:
    """One run of a story, whose events are sent in slices with kills between them."""

    def __init__(self, story: Story, settings: Settings, directory: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self._at = set(self._random.sample(range(1, SLICES), KILLS))
        self._slice = 0
        self.kills: list[Kill] = []
        self._processors = story.upstream_first
        self._publish = story.publish_events
        self._run = StoryRun(replace(story, publish_events=self._publish_slowly), settings, directory)

    def run(self) -> story_run.Outcome:
        """Run the story on topics of its own."""
        self._run.prepare(reset=True)
        return self._run.run(lambda _phase, _stands: None)

    def send(self, publisher: Publisher, topic: Topic[Any], values: list[Any]) -> None:
        """Send one slice; the first one is waited for, so that every worker runs when the first kill comes."""
        publisher.send(topic, values)
        publisher.flush()
        if self._slice == 0:
            self._wait()
        self._slice += 1
        time.sleep(self._random.uniform(0.0, PAUSE))
        if self._slice in self._at:
            self._kill()
        Watched.newest.poll(0.0)

    def _publish_slowly(self, directory: Path, publisher: Publisher) -> int:
        return self._publish(directory, _Slices(self, publisher))

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while any(stands.lag or not stands.done for stands in self._run.progress()):
            assert time.monotonic() < deadline
            Watched.newest.poll(0.1)

    def _kill(self) -> None:
        """Kill a running worker, by turns of the processors."""
        before = Counter(kill.processor for kill in self.kills)
        running = [name for name in self._processors if Watched.newest.pids(name)]
        fewest = min(before[name] for name in running)
        processor = self._random.choice([name for name in running if before[name] == fewest])
        (pid,) = Watched.newest.pids(processor)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # a busy broker let its transaction run out: it has ended, and is started again
            self._kill()
        else:
            lag = next(stands.lag for stands in self._run.progress() if stands.processor == processor)
            self.kills.append(Kill(processor, pid, lag))


class _Slices(Publisher):
    """Sends what it is given in slices."""

    def __init__(self, round_: Round, publisher: Publisher) -> None:
        self._round = round_
        self._publisher = publisher

    def send(self, topic: Topic[Any], values: Iterable[Any], *, timestamp_ms: int | None = None) -> None:
        """Send events."""
        assert timestamp_ms is None
        listed = list(values)
        size = -(-1_000 // SLICES)
        for start in range(0, len(listed), size):
            self._round.send(self._publisher, topic, listed[start : start + size])

    def send_raw(self, records: Iterable[Any]) -> None:
        """Send bad lines."""
        self._publisher.send_raw(records)


@pytest.fixture(scope="module")
def kills() -> Iterator[list[Kill]]:
    """Collect the kills of all rounds, and judge them."""
    collected: list[Kill] = []
    yield collected
    idle = sum(kill.lag == 0 for kill in collected)
    print(f"\n{len(collected)} kills, {idle} of them without lag: {Counter(kill.processor for kill in collected)}")
    assert idle <= len(collected) // 2


@pytest.mark.parametrize(
    ("name", "seed"), [("social" if seed % 2 else "shipments", seed) for seed in range(1, ROUNDS + 1)]
)
def test_killed_workers_lose_and_repeat_nothing(
    name: str,
    seed: int,
    settings: Settings,
    kcat: Kcat,
    kills: list[Kill],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = STORIES[name]
    monkeypatch.setattr(story_run, "Supervisor", Watched)
    story.write_sample(tmp_path, seed)
    round_ = Round(story, settings.model_copy(update={"commit_interval": COMMIT_INTERVAL}), tmp_path, seed)

    outcome = round_.run()

    expected = _counts(story.expect(tmp_path))
    seen = {topic: kcat.count(topic) for topic in expected}
    print(f"\n{story.name} {seed}: {outcome.figures()}, by kcat {sum(seen.values())} records, {round_.kills}")
    assert outcome.verdict.holds, outcome.figures()
    assert seen == expected
    assert sum(seen.values()) > 0
    assert len(round_.kills) == KILLS <= Watched.newest.restarts
    assert not any(Path(f"/proc/{kill.pid}").exists() for kill in round_.kills)
    kills += round_.kills


def _counts(expected: Social | Shipments) -> dict[str, int]:
    """Say how many records each output topic must hold."""
    if isinstance(expected, Shipments):
        return {topic: records.total() for topic, records in expected.topics.items()}
    return {
        "social.notifications": expected.notifications.total,
        "social.feed-items": expected.feed_items.total,
        "social.post-statistics": expected.updates.total(),
    }
