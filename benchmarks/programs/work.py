"""The work itself on dicts, the same for every contender in Python: a frame in, frames out under the same key."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from wire import Contract

Transform = Callable[[bytes], list[bytes]]
PASSING = {1: {"p1"}, 10: {"p1", "p10"}, 50: {"p1", "p10", "p50"}}  # the first tag, by percent


def contracts(job: Mapping[str, Any]) -> tuple[Contract, Contract]:
    """Return those of the input and of the output."""
    source, output = (Contract(job[name]["schema"], job[name]["id"]) for name in ("source", "output"))
    return source, output


def transform(job: Mapping[str, Any]) -> Transform:
    """Return the work of a stateless kind; a broken frame raises."""
    source, output = contracts(job)
    decode, encode, options = source.decode, output.encode, job["options"]

    def map_half(frame: bytes) -> list[bytes]:
        post = decode(frame)
        return [encode(headline(post))] if post["audience"] == "PUBLIC" else []

    def passing(frame: bytes) -> list[bytes]:
        return [frame] if decode(frame)["tags"][0] in marks else []  # what passes is not encoded again

    def fan_out(frame: bytes) -> list[bytes]:
        one = headline(decode(frame))
        post_id = one["post_id"]
        return [encode({**one, "post_id": f"{post_id}-{copy}"}) for copy in range(copies)]

    def convert(frame: bytes) -> list[bytes]:
        power = decode(frame)
        return [encode({"identifier": power["identifier"], "document": json.dumps(power)})]

    marks, copies = PASSING.get(options.get("percent", 0), set()), options.get("copies", 0)
    kinds = {"map": map_half, "poison": map_half, "filter": passing, "fan_out": fan_out, "convert": convert}
    return kinds[job["kind"]]


def headline(post: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a post is mapped to."""
    return {
        "post_id": post["post_id"],
        "author": post["author"],
        "text": post["text"],
        "posted_at": post["posted_at"],
    }
