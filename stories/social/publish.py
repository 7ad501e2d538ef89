"""Sending the social story's files: friendships first, then the posts, the older half by an old producer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stories.files import BadLine
from stories.publish import publish
from stories.social import events, events_v1
from stories.social.app import app, followers, old_posts, posts
from stories.social.load import POSTS, FollowersRow, PostRow
from stories.social.load import followers as load_followers
from stories.social.load import posts as load_posts
from streams import Publisher

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TAG = re.compile(r"#(\w+)")
LINK = re.compile(r"https?://")


def publish_tables(directory: Path, publisher: Publisher) -> int:
    """Send who follows whom; return how many lines were refused."""
    return publish(publisher, app.name, load_followers(directory), followers.topic, _followers)


def publish_events(directory: Path, publisher: Publisher) -> int:
    """Send the posts in the order of the file; return how many lines were refused."""
    older = sum(1 for _ in load_posts(directory)) // 2
    rows = load_posts(directory)
    refused = publish(publisher, app.name, _first(rows, older), old_posts, _old_post)
    return refused + publish(publisher, app.name, rows, posts, _post)


def _first(rows: Iterator[PostRow | BadLine], count: int) -> Iterator[PostRow | BadLine]:
    for _ in range(count):
        yield next(rows)


def _followers(row: FollowersRow) -> Iterator[events.Followers]:
    yield events.Followers(user_id=row.user_id, friend_ids=tuple(row.friend_ids))


def _old_post(row: PostRow) -> Iterator[events_v1.PostPublished]:
    yield events_v1.PostPublished(
        post_id=row.post_id,
        author_id=row.author_id,
        posted_at=EPOCH + timedelta(milliseconds=row.posted_at_ms),
        text=row.text,
        kind=events_v1.PostKind(_kind(row.text)),
    )


def _post(row: PostRow) -> Iterator[events.PostPublished]:
    yield events.PostPublished(
        post_id=row.post_id,
        author_id=row.author_id,
        posted_at=EPOCH + timedelta(milliseconds=row.posted_at_ms),
        text=row.text,
        kind=events.PostKind(_kind(row.text)),
        tags=tuple(TAG.findall(row.text)),
        origin=events.Origin(source=POSTS, line=row.line_number),
    )


def _kind(text: str) -> str:
    return "link" if LINK.search(text) else "text"
