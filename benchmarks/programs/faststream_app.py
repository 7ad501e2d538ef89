"""The suite's work with FastStream over confluent-kafka, at least once. The job comes as JSON from stdin.

Batches in, and the confirmations of a batch awaited together: one by one would be a round trip for each record.
"""

import asyncio
import json
import sys
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker, KafkaMessage
from work import transform

MOST = 1_000


async def _as_it_came(message: KafkaMessage) -> Any:
    return message.body


def build(job: dict[str, Any]) -> FastStream:
    """Return the application."""
    send, fetch = job["send"], job["fetch"]
    broker = KafkaBroker(
        job["servers"],
        partitioner=send["partitioner"],
        linger_ms=send["linger.ms"],
        compression_type=send["compression.type"],
        enable_idempotence=True,
        acks="all",
        decoder=_as_it_came,
        config={**fetch, **{name: send[name] for name in ("batch.size", "queue.buffering.max.messages")}},
        logger=None,
    )
    work, topic, dead_letters = transform(job), job["output"]["topic"], job["dead_letters"]

    @broker.subscriber(
        job["source"]["topic"],
        group_id=job["group"],
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        batch=True,
        max_records=MOST,
        polling_interval=0.02,
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )
    async def handle(_bodies: Any, message: KafkaMessage) -> None:
        waiting = []
        for raw in message.raw_message:
            key, timestamp = raw.key(), raw.timestamp()[1]
            try:
                frames, target = work(raw.value()), topic
            except (EOFError, ValueError, IndexError):
                frames, target = [raw.value()], dead_letters
            for frame in frames:
                confirmed = await broker.publish(frame, target, key=key, timestamp_ms=timestamp, no_confirm=True)
                waiting.append(confirmed)
        await asyncio.gather(*waiting)

    return FastStream(broker)


def main() -> None:
    asyncio.run(build(json.load(sys.stdin)).run())


if __name__ == "__main__":
    main()
