"""The suite's work with Quix Streams. The job comes as JSON from stdin; SIGTERM ends it.

Bytes in, bytes out, and fastavro in between: its Avro (de)serializer is Confluent's, which costs more. The work is one
function and not several operators, since each operator is a call more.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from quixstreams import Application, State
from work import contracts, transform


def main() -> None:
    job = json.load(sys.stdin)
    app = Application(
        job["servers"],
        consumer_group=job["group"],
        auto_offset_reset="earliest",
        commit_interval=job["commit_interval_ms"] / 1000,
        consumer_extra_config=job["fetch"],
        producer_extra_config=job["send"],
        processing_guarantee=job["guarantee"].replace("_", "-"),
        state_dir=job["state"],
        loglevel="WARNING",
    )
    source, output, dead = (
        app.topic(name, value_deserializer="bytes", value_serializer="bytes")
        for name in (job["source"]["topic"], job["output"]["topic"], job["dead_letters"])
    )
    frames = app.dataframe(source)
    if job["kind"] == "count":
        frames.apply(_counter(job), stateful=True).to_topic(output)
    elif job["kind"] == "poison":
        tried = frames.apply(_guarded(job))
        tried.filter(lambda pair: pair[0] is None).apply(lambda pair: pair[1]).to_topic(dead)
        tried.filter(lambda pair: pair[0]).apply(lambda pair: pair[0], expand=True).to_topic(output)
    else:
        frames.apply(transform(job), expand=True).to_topic(output)
    app.run()


def _counter(job: dict[str, Any]) -> Any:
    source, output = contracts(job)
    decode, encode = source.decode, output.encode

    def count(frame: bytes, state: State) -> bytes:
        posts = state.get("posts", 0) + 1
        state.set("posts", posts)
        return encode({"author": decode(frame)["author"], "posts": posts})

    return count


def _guarded(job: dict[str, Any]) -> Any:
    work = transform(job)

    def attempt(frame: bytes) -> tuple[list[bytes] | None, bytes]:
        try:
            return work(frame), frame
        except (EOFError, ValueError, IndexError):
            return None, frame

    return attempt


if __name__ == "__main__":
    main()
