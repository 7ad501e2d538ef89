"""Reading the social story's topics back and holding them against what they must come to."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from stories.expected import FanOut, Social
from stories.read import TopicReader, dead_letters
from stories.social.app import app, feed_items, feeds, notifications, post_statistics
from stories.social.events import Feed
from stories.verdict import Difference, Verdict, compare, compare_rows

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def verify(expected: Social, reader: TopicReader) -> Verdict:
    """Compare every output topic with the expectation, record by record."""
    told = _notifications(reader)
    items = _feed_items(reader)
    newest = _feeds(reader)
    updates = Counter(
        (value.author_id, value.day.isoformat(), value.posts, value.words)
        for batch in reader.values(post_statistics.name, post_statistics.model)
        for _, value in batch
    )
    statistics = _last(updates)
    refused = Counter(record.value or b"" for batch in reader.raw(f"{app.name}.load.dlq") for record in batch)
    dead = dead_letters(reader, app)
    differences = [
        _fan_out(expected.notifications, told),
        _fan_out(expected.feed_items, items),
        compare_rows(_hashable(expected.feeds), newest),
        compare(expected.updates, updates),
        compare_rows(expected.statistics, statistics),
        compare(expected.refused, refused),
        Difference(lost=dead),  # each is one that its audience never got
    ]
    figures = {
        "posts": expected.posts,
        "notifications": told.total,
        "feed_items": items.total,
        "feeds": len(newest),
        "feed_entries": sum(map(len, newest.values())),
        "author_days": len(statistics),
        "words": sum(words for _, words in statistics.values()),
        "refused_lines": refused.total(),
        "dead_letters": dead,
    }
    return Verdict(figures, sum(differences, Difference()))


def _notifications(reader: TopicReader) -> FanOut:
    told = FanOut()
    for batch in reader.values(notifications.name, notifications.model):
        for _, value in batch:
            told.add((value.post_id, value.kind.value), (value.user_id,))
    return told


def _feed_items(reader: TopicReader) -> FanOut:
    items = FanOut()
    for batch in reader.values(feed_items.name, feed_items.model):
        for _, value in batch:
            items.add((value.post_id, value.author_id, (value.posted_at - EPOCH) // MILLISECOND), (value.user_id,))
    return items


def _feeds(reader: TopicReader) -> dict[str, tuple[tuple[int, str, str], ...]]:
    """Return the newest feed of everybody: the last record of each key, as a table's reader sees it."""
    newest: dict[bytes | None, Feed] = {}
    for batch in reader.values(feeds.topic or "", Feed):
        newest.update({record.key: value for record, value in batch})
    return {
        feed.user_id: tuple(
            ((entry.posted_at - EPOCH) // MILLISECOND, entry.post_id, entry.author_id) for entry in feed.entries
        )
        for feed in newest.values()
    }


def _last(updates: Counter[tuple[str, str, int, int]]) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the newest state of each author's day: the one with the most posts."""
    last: dict[tuple[str, str], tuple[int, int]] = {}
    for author, day, posts, words in updates:
        last[author, day] = max(last.get((author, day), (0, 0)), (posts, words))
    return last


def _hashable(feeds: dict[str, list[tuple[int, str, str]]]) -> dict[str, tuple[tuple[int, str, str], ...]]:
    return {user: tuple(entries) for user, entries in feeds.items()}


def _fan_out(expected: FanOut, observed: FanOut) -> Difference:
    duplicates = lost = 0
    for post in expected.posts.keys() | observed.posts.keys():
        wanted, found = expected.posts.get(post, (0, 0)), observed.posts.get(post, (0, 0))
        wrong = wanted[0] == found[0] and wanted != found  # as many receivers, but not the same ones
        duplicates += max(0, found[0] - wanted[0]) + wrong
        lost += max(0, wanted[0] - found[0]) + wrong
    return Difference(observed.total, duplicates, lost)
