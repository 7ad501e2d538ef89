"""Apps of a shape, many processors or many partitions, whose workers `benchmarks/processes.py` starts."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.events import Audience, Count, Headline, Post
from streams import App, Context, Topic

PROCESSORS = 30
PARTITIONS = 1_000


def _map(app: App, posts: Topic[Post], headlines: Topic[Headline], name: str) -> None:
    def handler(post: Post, _ctx: Context) -> Headline | None:
        if post.audience is not Audience.PUBLIC:
            return None
        return Headline(post_id=post.post_id, author=post.author, text=post.text, posted_at=post.posted_at)

    _add(app, posts, handler, name, to=headlines)


def _count(app: App, posts: Topic[Post], name: str) -> None:
    counts = app.store(f"{name}-counts", str, Count)

    def handler(post: Post, ctx: Context) -> None:
        before = ctx.get(counts, post.author)
        ctx.put(counts, post.author, Count(author=post.author, posts=before.posts + 1 if before else 1))

    _add(app, posts, handler, name)


def _add(
    app: App, posts: Topic[Post], handler: Callable[..., object], name: str, to: Topic[Headline] | None = None
) -> None:
    handler.__name__ = name
    app.processor(posts, to=to)(handler)


def _many() -> App:
    """Declare thirty processors of one topic; every third one keeps state."""
    app = App("many")
    posts, headlines = app.topic("many.posts", Post, key="author"), app.topic("many.headlines", Headline, key="author")
    for number in range(PROCESSORS):
        if number % 3:
            _map(app, posts, headlines, f"map_{number}")
        else:
            _count(app, posts, f"count_{number}")
    return app


def _wide(name: str, *, stateful: bool) -> App:
    """Declare one processor of a topic of a thousand partitions."""
    app = App(name)
    posts = app.topic(f"{name}.posts", Post, key="author", partitions=PARTITIONS)
    if stateful:
        _count(app, posts, "count")
    else:
        headlines = app.topic(f"{name}.headlines", Headline, key="author", partitions=PARTITIONS)
        _map(app, posts, headlines, "work")
    return app


many = _many()
wide = _wide("wide", stateful=False)
deep = _wide("deep", stateful=True)
