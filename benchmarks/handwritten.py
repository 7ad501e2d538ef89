"""The loop that a careful programmer writes with confluent-kafka and fastavro: dicts in and out, exactly once.

It leaves out what the worker does besides: a record that does not decode ends it, an aborted transaction ends it,
another version of the schema ends it. It reads its job as JSON from stdin and prints what it measured.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from io import BytesIO
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from meter import Meter

BATCH = 500  # 100 to 5,000 make no difference here
WAIT = 0.02  # seconds; `consume` waits for a full batch or so long
TIMEOUT = 10.0
HEADER = 5  # bytes: 0 and the schema's id


class Loop:
    """One consumer, one producer, one transaction every `interval` seconds."""

    def __init__(self, job: dict[str, Any], meter: Meter) -> None:
        self._source, self._output = job["source"], job["output"]
        self._interval = job["commit_interval"]
        self._post, self._headline = parse_schema(job["post_schema"]), parse_schema(job["headline_schema"])
        self._expected = b"\0" + job["post_id"].to_bytes(4, "big")
        self._header = b"\0" + job["headline_id"].to_bytes(4, "big")
        self._meter = meter
        self._positions: dict[int, int] = {}
        self._producer = Producer(job["producer"])
        self._producer.init_transactions(TIMEOUT)
        self._consumer = Consumer(job["consumer"])

    def run(self) -> None:
        """Read until everything is committed."""
        self._consumer.subscribe([self._source], on_assign=_from_the_beginning)
        since = 0.0
        while not self._meter.done:
            messages = [m for m in self._consumer.consume(BATCH, WAIT) if _is_record(m)]
            if messages:
                self._meter.polled()
                if not self._positions:
                    self._producer.begin_transaction()
                    since = time.monotonic()
                self._map(messages)
                self._producer.poll(0)
            if self._positions and time.monotonic() - since >= self._interval:
                self._commit()
        self._consumer.close()

    def _map(self, messages: list[Message]) -> None:
        produce, positions = self._producer.produce, self._positions
        output, post_schema, headline_schema = self._output, self._post, self._headline
        expected, header = self._expected, self._header
        for message in messages:
            value = message.value()
            if value[:HEADER] != expected:
                raise ValueError(f"another schema: {value[:HEADER]!r}")
            post: Any = schemaless_reader(BytesIO(value[HEADER:]), post_schema)
            if post["audience"] == "PUBLIC":
                headline = {
                    "post_id": post["post_id"],
                    "author": post["author"],
                    "text": post["text"],
                    "posted_at": post["posted_at"],
                }
                out = BytesIO()
                out.write(header)
                schemaless_writer(out, headline_schema, headline)
                timestamp = message.timestamp()[1]
                # by position, with None for both names of the callback: keywords make it half as fast
                produce(output, out.getvalue(), post["author"].encode(), -1, None, None, timestamp)
            positions[message.partition()] = message.offset() + 1

    def _commit(self) -> None:
        offsets = [TopicPartition(self._source, partition, at) for partition, at in self._positions.items()]
        self._producer.send_offsets_to_transaction(offsets, self._consumer.consumer_group_metadata(), TIMEOUT)
        self._producer.commit_transaction(TIMEOUT)
        self._meter.committed(self._positions)
        self._positions.clear()


def _from_the_beginning(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    consumer.incremental_assign([TopicPartition(tp.topic, tp.partition, OFFSET_BEGINNING) for tp in partitions])


def _is_record(message: Message) -> bool:
    """Drop the ends of partitions, which the client settings in common report; any other error is one."""
    error = message.error()
    if error is None:
        return True
    if error.name() != "_PARTITION_EOF":
        raise RuntimeError(error.str())
    return False


def main() -> None:
    job = json.load(sys.stdin)
    meter = Meter({int(partition): end for partition, end in job["ends"].items()})
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # as the worker does
    Loop(job, meter).run()
    print(json.dumps(meter.report()))


if __name__ == "__main__":
    main()
