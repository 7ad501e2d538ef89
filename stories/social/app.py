"""A post reaches notifications, news feeds and analytics at the same time, each at its own pace."""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from stories.social import events_v1
from stories.social.events import (
    Feed,
    FeedEntry,
    FeedItem,
    Followers,
    Notification,
    PostPublished,
    PostStatistics,
)
from streams import DEAD_LETTER, App, Context, Topic

FEED_LENGTH = 100

app = App("social")

posts = app.topic("social.posts", PostPublished, key="author_id")
followers = app.table("social.followers", Followers, key="user_id")
notifications = app.topic("social.notifications", Notification, key="user_id")
feed_items = app.topic("social.feed-items", FeedItem, key="user_id")
post_statistics = app.topic("social.post-statistics", PostStatistics, key="author_id")

# Feeds are large and change often: rarer commits write each of them once for many changes.
feeds = app.store("feeds", str, Feed, topic="social.feeds", commit_every="2s")
statistics = app.store("statistics", str, PostStatistics)

# The same topic, seen by a reader that has not moved to version 2 of the contract yet.
old_posts = Topic(posts.name, events_v1.PostPublished, key="author_id")


@app.processor(posts, to=notifications, on_failure=DEAD_LETTER)
def notify(post: PostPublished, ctx: Context) -> Iterator[Notification]:
    """Tell every friend of the author."""
    if row := ctx.get(followers, post.author_id):
        for friend in row.friend_ids:
            yield Notification(user_id=friend, post_id=post.post_id, kind="post")


@app.processor(posts, to=feed_items, on_failure=DEAD_LETTER)
def fan_out(post: PostPublished, ctx: Context) -> Iterator[FeedItem]:
    """Send the post to the feed of every friend of the author."""
    if row := ctx.get(followers, post.author_id):
        for friend in row.friend_ids:
            yield FeedItem(user_id=friend, post_id=post.post_id, author_id=post.author_id, posted_at=post.posted_at)


@app.processor(feed_items, on_failure=DEAD_LETTER)
def feed(item: FeedItem, ctx: Context) -> None:
    """Keep the newest 100 posts of a person, by (posted_at, post_id)."""
    before = ctx.get(feeds, item.user_id) or Feed(user_id=item.user_id)
    age = (item.posted_at, item.post_id)
    place = bisect_left(before.entries, True, key=lambda entry: (entry.posted_at, entry.post_id) < age)
    if place == FEED_LENGTH:
        return
    entry = _entry(item.post_id, item.author_id, item.posted_at)
    entries = (*before.entries[:place], entry, *before.entries[place:])[:FEED_LENGTH]
    ctx.put(feeds, item.user_id, before.model_copy(update={"entries": entries}))


@lru_cache(maxsize=1_000)
def _entry(post_id: str, author_id: str, posted_at: datetime) -> FeedEntry:
    """Make the entry of a post once for all its readers: models are immutable, so feeds may share it."""
    return FeedEntry(post_id=post_id, author_id=author_id, posted_at=posted_at)


@app.processor(old_posts, to=post_statistics, on_failure=DEAD_LETTER)
def analytics(post: events_v1.PostPublished, ctx: Context) -> PostStatistics:
    """Count posts and words of each author and day (UTC); a word is what `str.split()` gives."""
    day = post.posted_at.date()
    key = f"{post.author_id}/{day}"
    before = ctx.get(statistics, key) or PostStatistics(author_id=post.author_id, day=day, posts=0, words=0)
    after = PostStatistics(
        author_id=post.author_id,
        day=day,
        posts=before.posts + 1,
        words=before.words + len(post.text.split()),
    )
    ctx.put(statistics, key, after)
    return after
