"""The same work as an app, run by the toolkit's worker; only its clients are watched, call by call.

It reads its job as JSON from stdin and prints what it measured.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

from events import Audience, Headline, Post
from meter import Meter

from streams import App, Context, assembly
from streams.kafka.consumer import GroupConsumer
from streams.kafka.producer import TransactionalProducer
from streams.logs import configure_logs
from streams.record import Polled, TopicPartition
from streams.settings import Settings

SOURCE = "posts"


def build(name: str, output: str) -> App:
    """Declare the app under a name of its own, so that each run is a new group."""
    app = App(name)
    posts = app.topic(SOURCE, Post, key="author")
    headlines = app.topic(output, Headline, key="author")

    @app.processor(posts, to=headlines)
    def headline(post: Post, _ctx: Context) -> Headline | None:
        if post.audience is not Audience.PUBLIC:
            return None
        return Headline(post_id=post.post_id, author=post.author, text=post.text, posted_at=post.posted_at)

    return app


def watched(meter: Meter) -> dict[str, Any]:
    """Return the worker's clients under their own names, telling the meter of polls and commits."""

    class WatchedConsumer(GroupConsumer):
        def poll(self, most: int, timeout: float) -> Polled:
            polled = super().poll(most, timeout)
            if polled.records:
                meter.polled()
            return polled

    class WatchedProducer(TransactionalProducer):
        def commit(self, offsets: Mapping[TopicPartition, int], group: Any) -> None:
            super().commit(offsets, group)
            meter.committed({tp.partition: at for tp, at in offsets.items()})

    return {"GroupConsumer": WatchedConsumer, "TransactionalProducer": WatchedProducer}


def main() -> None:
    job = json.load(sys.stdin)
    meter = Meter({int(partition): end for partition, end in job["ends"].items()})
    settings = Settings(**job["settings"])
    configure_logs(settings.log_format, settings.log_level)
    gc.freeze()  # as the supervisor does for every worker
    gc.set_threshold(50_000, 20, 20)
    [processor] = build(job["app"], job["output"]).select([])
    with patch.multiple(assembly, **watched(meter)):
        assembly.run_worker(processor, settings, lambda: meter.done)
    print(json.dumps(meter.report()))


if __name__ == "__main__":
    main()
