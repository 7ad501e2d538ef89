"""The suite's work with Faust (faust-streaming). The job comes as JSON from stdin; SIGTERM ends it."""

from __future__ import annotations

import json
import sys
from typing import Any

import faust
from work import contracts, transform


def build(job: dict[str, Any]) -> faust.App:
    """Return the application."""
    send = job["send"]
    app = faust.App(
        job["group"],
        broker=f"kafka://{job['servers']}",
        store="memory://",
        datadir=job["state"],
        processing_guarantee=job["guarantee"],
        topic_partitions=job["partitions"],
        topic_disable_leader=True,
        broker_commit_interval=job["commit_interval_ms"] / 1000,
        broker_commit_every=10_000,
        producer_linger=send["linger.ms"] / 1000,
        producer_compression_type=send["compression.type"],
        producer_max_batch_size=262_144,
        stream_buffer_maxsize=16_384,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )
    source, output, dead = (
        app.topic(name, key_serializer="raw", value_serializer="raw", key_type=bytes, value_type=bytes)
        for name in (job["source"]["topic"], job["output"]["topic"], job["dead_letters"])
    )
    if job["kind"] == "count":
        _count(app, job, source, output)
    else:
        _transform(app, job, source, output, dead)
    return app


def _transform(app: faust.App, job: dict[str, Any], source: Any, output: Any, dead: Any) -> None:
    work = transform(job)

    @app.agent(source)
    async def handle(stream: Any) -> None:
        async for event in stream.events():
            try:
                frames = work(event.value)
            except (EOFError, ValueError, IndexError):
                await dead.send(key=event.key, value=event.value)
                continue
            for frame in frames:
                await output.send(key=event.key, value=frame, timestamp=event.message.timestamp)


def _count(app: faust.App, job: dict[str, Any], source: Any, output: Any) -> None:
    contract, counted = contracts(job)
    counts = app.Table("counts", default=int, partitions=job["partitions"])

    @app.agent(source)
    async def handle(stream: Any) -> None:
        async for event in stream.events():
            author = contract.decode(event.value)["author"]
            counts[author] += 1
            await output.send(key=event.key, value=counted.encode({"author": author, "posts": counts[author]}))


def main() -> None:
    faust.Worker(build(json.load(sys.stdin)), loglevel="warning").execute_from_commandline()


if __name__ == "__main__":
    main()
