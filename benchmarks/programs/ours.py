"""The suite's work as an app of the toolkit: typed models in and out, run by its worker until SIGTERM.

It reads its job as JSON from stdin. `build` is what a team would write.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.events import ActivePowerRecord, Audience, Count, Headline, Post, Stored
from streams import DEAD_LETTER, App, BatchContext, Context, Topic, assembly
from streams.logs import configure_logs
from streams.settings import Settings

PASSING = {1: {"p1"}, 10: {"p1", "p10"}, 50: {"p1", "p10", "p50"}}  # the first tag, by percent


def build(name: str, source: str, output: str, kind: str, options: Mapping[str, Any], partitions: int) -> App:
    """Declare the app of a kind of work; its group is `<name>.work`."""
    app = App(name)
    KINDS[kind](app, source, output, options, partitions)
    return app


def _map(app: App, source: str, output: str, _options: Mapping[str, Any], partitions: int) -> None:
    posts, headlines = _posts_to_headlines(app, source, output, partitions)

    @app.processor(posts, to=headlines, on_failure=DEAD_LETTER)
    def work(post: Post, _ctx: Context) -> Headline | None:
        return _headline(post, post.post_id) if post.audience is Audience.PUBLIC else None


def _fan_out(app: App, source: str, output: str, options: Mapping[str, Any], partitions: int) -> None:
    posts, headlines = _posts_to_headlines(app, source, output, partitions)
    copies = range(options["copies"])

    @app.processor(posts, to=headlines)
    def work(post: Post, _ctx: Context) -> Iterator[Headline]:
        for copy in copies:
            yield _headline(post, f"{post.post_id}-{copy}")


def _filter(app: App, source: str, output: str, options: Mapping[str, Any], partitions: int) -> None:
    posts = app.topic(source, Post, key="author", partitions=partitions)
    passed = app.topic(output, Post, key="author", partitions=partitions)
    marks = PASSING[options["percent"]]

    @app.processor(posts, to=passed)
    def work(post: Post, _ctx: Context) -> Post | None:
        return post if post.tags[0] in marks else None


def _convert(app: App, source: str, output: str, _options: Mapping[str, Any], partitions: int) -> None:
    measured = app.topic(source, ActivePowerRecord, key="identifier", partitions=partitions)
    stored = app.topic(output, Stored, key="identifier", partitions=partitions)

    @app.processor(measured, to=stored)
    def work(power: ActivePowerRecord, _ctx: Context) -> Stored:
        document = {"identifier": power.identifier, "timestamp": power.timestamp, "valueInW": power.valueInW}
        return Stored(identifier=power.identifier, document=json.dumps(document))


def _count(app: App, source: str, output: str, _options: Mapping[str, Any], partitions: int) -> None:
    """Count in a store whose changelog is the output: others follow it as a table."""
    posts = app.topic(source, Post, key="author", partitions=partitions)
    counts = app.store("counts", str, Count, topic=output)

    @app.processor(posts)
    def work(post: Post, ctx: Context) -> None:
        before = ctx.get(counts, post.author)
        ctx.put(counts, post.author, Count(author=post.author, posts=before.posts + 1 if before else 1))


def _group(app: App, source: str, output: str, _options: Mapping[str, Any], partitions: int) -> None:
    """The same by columns, those of the store too."""
    posts = app.topic(source, Post, key="author", partitions=partitions)
    counts = app.store("counts", str, Count, topic=output)

    @app.batch(posts)
    def work(batch: pa.RecordBatch, ctx: BatchContext) -> None:
        found = batch["author"].value_counts()
        authors = found.field("values")
        before = pc.fill_null(ctx.get_columns(counts, authors)["posts"], 0)
        rows = pa.record_batch({"author": authors, "posts": pc.add(before, found.field("counts"))})
        ctx.put_columns(counts, authors, rows)


KINDS: Mapping[str, Callable[[App, str, str, Mapping[str, Any], int], None]] = {
    "map": _map,
    "poison": _map,
    "fan_out": _fan_out,
    "filter": _filter,
    "convert": _convert,
    "count": _count,
    "group": _group,
}


def _posts_to_headlines(app: App, source: str, output: str, partitions: int) -> tuple[Topic[Post], Topic[Headline]]:
    return (
        app.topic(source, Post, key="author", partitions=partitions),
        app.topic(output, Headline, key="author", partitions=partitions),
    )


def _headline(post: Post, post_id: str) -> Headline:
    return Headline(post_id=post_id, author=post.author, text=post.text, posted_at=post.posted_at)


def main() -> None:
    job = json.load(sys.stdin)
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    settings = Settings(**job["toolkit"])
    configure_logs(settings.log_format, settings.log_level)
    gc.freeze()  # as the supervisor does for every worker
    gc.set_threshold(50_000, 20, 20)
    app = build(
        job["name"], job["source"]["topic"], job["output"]["topic"], job["kind"], job["options"], job["partitions"]
    )
    [processor] = app.select([])
    assembly.run_worker(processor, settings, lambda: bool(told))


if __name__ == "__main__":
    main()
