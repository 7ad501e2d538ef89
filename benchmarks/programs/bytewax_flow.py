"""The suite's work with bytewax, at least once: its recovery store keeps the offsets. The job comes as JSON from stdin.

Its sink flushes after every batch, so batches are ten times its default.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from work import contracts, transform

BATCH = 10_000
Batch = list[KafkaSourceMessage]


def flow_of(job: dict[str, Any]) -> Dataflow:
    """Return the dataflow: source, work, sink."""
    flow, servers = Dataflow("work"), [job["servers"]]
    source = KafkaSource(servers, [job["source"]["topic"]], add_config=job["fetch"], batch_size=BATCH)
    read = op.input("source", flow, source)
    if job["kind"] == "count":
        keyed = op.key_on("key", read, lambda message: message.key.decode())
        made = op.map("value", op.stateful_map("work", keyed, _counter(job)), lambda pair: pair[1])
    else:
        made = op.flat_map_batch("work", read, _batched(job))
    op.output("sink", made, KafkaSink(servers, None, add_config=job["send"]))
    return flow


def _batched(job: dict[str, Any]) -> Any:
    work, topic, dead_letters = transform(job), job["output"]["topic"], job["dead_letters"]

    def frames(messages: Batch) -> Iterable[KafkaSinkMessage]:
        for message in messages:
            try:
                made = work(message.value)
            except (EOFError, ValueError, IndexError):
                yield KafkaSinkMessage(message.key, message.value, dead_letters)
                continue
            for frame in made:
                yield KafkaSinkMessage(message.key, frame, topic, timestamp=message.timestamp[1])

    return frames


def _counter(job: dict[str, Any]) -> Any:
    source, output = contracts(job)
    decode, encode, topic = source.decode, output.encode, job["output"]["topic"]

    def count(before: int | None, message: KafkaSourceMessage) -> tuple[int, KafkaSinkMessage]:
        posts = (before or 0) + 1
        value = encode({"author": decode(message.value)["author"], "posts": posts})
        return posts, KafkaSinkMessage(message.key, value, topic, timestamp=message.timestamp[1])

    return count


def main() -> None:
    job = json.load(sys.stdin)
    store = Path(job["state"])
    init_db_dir(store, 1)
    cli_main(flow_of(job), recovery_config=RecoveryConfig(store))


if __name__ == "__main__":
    main()
