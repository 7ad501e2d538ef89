"""What `benchmarks/flat_memory.py` runs for minutes: half of the posts mapped, and all counted by author."""

from __future__ import annotations

from benchmarks.events import Audience, Count, Headline, Post
from streams import App, Context

KEPT = {"retention.bytes": str(64 << 20), "segment.bytes": str(16 << 20)}  # in each partition, at least

app = App("flat")
posts = app.topic("flat.posts", Post, key="author", config=KEPT)
headlines = app.topic("flat.headlines", Headline, key="author", config=KEPT)
counts = app.store("counts", str, Count)


@app.processor(posts, to=headlines)
def map_half(post: Post, _ctx: Context) -> Headline | None:
    if post.audience is not Audience.PUBLIC:
        return None
    return Headline(post_id=post.post_id, author=post.author, text=post.text, posted_at=post.posted_at)


@app.processor(posts)
def count(post: Post, ctx: Context) -> None:
    before = ctx.get(counts, post.author)
    ctx.put(counts, post.author, Count(author=post.author, posts=before.posts + 1 if before else 1))
