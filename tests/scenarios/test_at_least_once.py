"""The same faults without transactions: nothing is lost, the state is exact, and outputs may repeat."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest
from live.app import LARGE, LARGE_STATE, digest
from live.events import Appended, History
from live.kcat import Kcat
from live.workers import Live
from test_failpoints import STATEFUL, STATELESS, STORY, Phase, Phases, Workers, at
from test_rebalance import KEYS, PORTION, churn, decoded
from test_rebalance import Feed as Input

from stories import run as story_run
from stories.expected import FanOut, Social
from stories.read import TopicReader
from stories.social.app import FEED_LENGTH, feed_items, feeds, notifications, post_statistics
from stories.social.events import Feed
from streams import Topic
from streams.failpoints import Failpoint
from streams.settings import Settings

pytestmark = pytest.mark.integration

V = TypeVar("V")
COMMIT_INTERVAL = timedelta(milliseconds=400)  # so long that most kills come between two commits
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PLANS = [
    (at(Failpoint.PRODUCED), at(Failpoint.FLUSHED, 3), at(Failpoint.CHANGELOG_PRODUCED, 3), at(Failpoint.FLUSHED, 4)),
    (at(Failpoint.COMMIT_SENT), at(Failpoint.COMMIT_SENT, 3), at(Failpoint.COMMIT_SENT), at(Failpoint.COMMIT_SENT, 5)),
    (at(Failpoint.COMMITTED), at(Failpoint.POLLED, 2), at(Failpoint.COMMITTED, 3), at(Failpoint.STATE_WRITING, 3)),
    tuple(at(Failpoint.RESTORING, hit) for hit in (1, 1, 1, 2)),
]
PHASES = [
    Phase(dict(zip((*STATELESS, *STATEFUL), plan, strict=True)), wiped=number == 3) for number, plan in enumerate(PLANS)
]


class Judgement(NamedTuple):
    """How many outputs were compared, how many are repetitions, and every way in which they are wrong."""

    outputs: int
    repeated: int
    faults: Counter[str]


def judge(live: Live, kcat: Kcat, feed: Input) -> Judgement:
    """Compare outputs and changelog, as kcat reads them, with what was sent."""
    outputs = [value for _, value in decoded(live, kcat, "appended", Appended)]
    lists = {key: list(value.items) for key, value in decoded(live, kcat, "append.histories.changelog", History)}
    faults: Counter[str] = Counter()
    found: dict[str, dict[int, Appended]] = defaultdict(dict)
    for one in outputs:
        expected = feed.wanted[one.key][: one.size]
        if one.n not in expected or one.n != expected[-1] or one.digest != digest(expected):
            faults["wrong state"] += 1
        else:
            found[one.key].setdefault(one.n, one)
    for key, wanted in feed.wanted.items():
        faults["lost"] += len(set(wanted) - set(found[key]))
        faults["disorder"] += list(found[key]) != wanted
        faults["wrong list"] += lists.get(key) != wanted
    dead = kcat.count(live.app.processors["append"].dead_letter_topic)
    faults["dead letters lost"] += max(0, feed.refused - dead)
    repeated = len(outputs) - sum(map(len, feed.wanted.values()))
    return Judgement(len(outputs), repeated, +faults)


@pytest.fixture
def plain(live: Live) -> Live:
    """Have workers promise at least once."""
    changed = {"guarantee": "at_least_once", "commit_interval": COMMIT_INTERVAL}
    live.settings = live.settings.model_copy(update=changed)
    live.environment["STREAMS_GUARANTEE"] = "at_least_once"
    return live


def test_lists_are_exact_while_workers_come_and_go(plain: Live, kcat: Kcat) -> None:
    feed = churn(plain, plain.target, 10.0, seed=3, refusals=[])

    judgement = judge(plain, kcat, feed)

    print(judgement)
    assert judgement.outputs > 1_000
    assert len(feed.wanted) == len(KEYS)
    assert not judgement.faults


def test_a_refused_record_is_found_and_leaves_no_state(plain: Live, kcat: Kcat) -> None:
    """What was sent behind it, before it was found, met a state with it and is told again without it."""
    feed = churn(plain, plain.target, 7.0, seed=4, refusals=[LARGE, LARGE_STATE])

    judgement = judge(plain, kcat, feed)

    print(judgement)
    assert feed.refused == 2
    assert judgement.outputs > 500
    assert not judgement.faults - Counter({"wrong state": judgement.repeated})


def test_a_stop_commits_all_that_was_sent_so_nothing_repeats(plain: Live, kcat: Kcat) -> None:
    plain.deploy("append")
    feed = Input(plain, 5, [])
    for _ in range(2):
        with plain.worker("append") as worker:
            feed.send()
            feed.send()
            worker.await_log("running ")
    with plain.worker("append"):
        plain.settle("append")

    judgement = judge(plain, kcat, feed)

    print(judgement)
    assert judgement == Judgement(4 * PORTION, 0, Counter())


def test_kills_lose_nothing_and_leave_the_state_exact(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story_run, "Supervisor", Workers)
    monkeypatch.setenv("STREAMS_GUARANTEE", "at_least_once")
    phases = Phases(settings, tmp_path, PHASES)

    outcome = phases.run()

    observed = Observed(TopicReader(settings))
    expected: Social = STORY.expect(tmp_path)
    print(f"\n{outcome.figures()}, {phases.died.total()} kills: {dict(sorted(phases.died.items()))}")
    assert phases.died.total() == len(STORY.upstream_first) * len(PHASES)
    assert outcome.verdict.difference.duplicates > 0
    assert list(observed.told.differences(expected.notifications)) == []
    assert list(observed.items.differences(expected.feed_items)) == []
    assert observed.updates == set(expected.updates)
    assert observed.statistics == expected.statistics
    assert observed.held == observed.feeds
    assert len(observed.held) == len(expected.feeds) > 0


class Observed:
    """What the story's topics hold, each output once; feeds as they are held, and as their items make them."""

    def __init__(self, reader: TopicReader) -> None:
        self.told, self.items = FanOut(), FanOut()
        for post, kind, user in {(one.post_id, one.kind.value, one.user_id) for one in _values(reader, notifications)}:
            self.told.add((post, kind), (user,))
        items = [(one.user_id, (_ms(one.posted_at), one.post_id, one.author_id)) for one in _values(reader, feed_items)]
        fed: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
        for user, (posted_at, post, author) in items:
            fed[user].append((posted_at, post, author))
        for user, (posted_at, post, author) in set(items):
            self.items.add((post, author, posted_at), (user,))
        self.feeds = {user: sorted(entries, reverse=True)[:FEED_LENGTH] for user, entries in fed.items()}
        self.held = {
            value.user_id: [(_ms(entry.posted_at), entry.post_id, entry.author_id) for entry in value.entries]
            for batch in reader.values(feeds.topic or "", Feed)
            for _, value in batch
        }
        updates = [
            (one.author_id, one.day.isoformat(), one.posts, one.words) for one in _values(reader, post_statistics)
        ]
        self.updates = set(updates)
        self.statistics = {(author, day): (posts, words) for author, day, posts, words in sorted(updates)}


def _values(reader: TopicReader, topic: Topic[V]) -> list[V]:
    return [value for batch in reader.values(topic.name, topic.model) for _, value in batch]


def _ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)
