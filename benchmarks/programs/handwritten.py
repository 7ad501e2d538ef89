"""The loops that a careful programmer writes with confluent-kafka and fastavro: dicts in and out, one for each work.

They leave out what a worker does besides: other versions of a schema, an aborted transaction, a rebalance end them.
The job comes as JSON from stdin; SIGTERM ends it.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition
from fastavro import schemaless_reader, schemaless_writer
from pyruhvro import deserialize_array
from wire import HEADER
from work import PASSING, contracts

BATCH = 500  # 100 to 5,000 make no difference
COLUMNS_BATCH = 5_000
WAIT = 0.02  # seconds; `consume` waits for a full batch or so long
TIMEOUT = 10.0
Step = Callable[[list[Message]], None]


class Loop:
    """One consumer, one producer, a commit every interval; in a transaction if the guarantee wants it."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.stopped = False
        self._source, self._interval = job["source"]["topic"], job["commit_interval_ms"] / 1000
        self._exactly_once = job["guarantee"] == "exactly_once"
        self.producer = Producer(job["producer"])
        if self._exactly_once:
            self.producer.init_transactions(TIMEOUT)
        self._consumer = Consumer(job["consumer"])
        self._positions: dict[int, int] = {}
        self._batch = COLUMNS_BATCH if job["kind"] == "group" else BATCH
        self._step, self._before_commit = STEPS[job["kind"]](self.producer, job)

    def run(self) -> None:
        """Work until it is stopped."""
        self._consumer.subscribe([self._source], on_assign=_from_the_beginning)
        since = 0.0
        while not self.stopped:
            messages = [message for message in self._consumer.consume(self._batch, WAIT) if _is_record(message)]
            if messages:
                if not self._positions:
                    since = time.monotonic()
                    if self._exactly_once:
                        self.producer.begin_transaction()
                self._step(messages)
                for message in messages:
                    self._positions[message.partition()] = message.offset() + 1
                self.producer.poll(0)
            if self._positions and time.monotonic() - since >= self._interval:
                self._commit()
        self._consumer.close()

    def _commit(self) -> None:
        self._before_commit()
        offsets = [TopicPartition(self._source, partition, at) for partition, at in self._positions.items()]
        if self._exactly_once:
            self.producer.send_offsets_to_transaction(offsets, self._consumer.consumer_group_metadata(), TIMEOUT)
            self.producer.commit_transaction(TIMEOUT)
        else:
            if self.producer.flush(TIMEOUT):
                raise RuntimeError("not everything was taken")
            self._consumer.commit(offsets=offsets, asynchronous=False)
        self._positions.clear()


def _map(producer: Producer, job: dict[str, Any]) -> tuple[Step, Callable[[], None]]:
    source, output = contracts(job)
    produce, topic, dead_letters = producer.produce, job["output"]["topic"], job["dead_letters"]
    post_schema, headline_schema, expected, header = source.schema, output.schema, source.header, output.header

    def step(messages: list[Message]) -> None:
        for message in messages:
            value = message.value()
            if value[:HEADER] != expected:
                raise ValueError(f"another schema: {value[:HEADER]!r}")
            try:
                post: Any = schemaless_reader(BytesIO(value[HEADER:]), post_schema)
            except (EOFError, ValueError, IndexError):
                produce(dead_letters, value, message.key())
                continue
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
                # by position, with None for both names of the callback: keywords make it half as fast
                produce(topic, out.getvalue(), message.key(), -1, None, None, message.timestamp()[1])

    return step, _nothing


def _filter(producer: Producer, job: dict[str, Any]) -> tuple[Step, Callable[[], None]]:
    source, _ = contracts(job)
    produce, topic, schema, marks = producer.produce, job["output"]["topic"], source.schema, PASSING
    passing = marks[job["options"]["percent"]]

    def step(messages: list[Message]) -> None:
        for message in messages:
            value = message.value()
            post: Any = schemaless_reader(BytesIO(value[HEADER:]), schema)
            if post["tags"][0] in passing:  # what passes goes on as it came
                produce(topic, value, message.key(), -1, None, None, message.timestamp()[1])

    return step, _nothing


def _fan_out(producer: Producer, job: dict[str, Any]) -> tuple[Step, Callable[[], None]]:
    source, output = contracts(job)
    produce, topic, copies = producer.produce, job["output"]["topic"], range(job["options"]["copies"])
    post_schema, headline_schema, header = source.schema, output.schema, output.header

    def step(messages: list[Message]) -> None:
        for message in messages:
            post: Any = schemaless_reader(BytesIO(message.value()[HEADER:]), post_schema)
            key, timestamp, post_id = message.key(), message.timestamp()[1], post["post_id"]
            headline = {"author": post["author"], "text": post["text"], "posted_at": post["posted_at"]}
            for copy in copies:
                headline["post_id"] = f"{post_id}-{copy}"
                out = BytesIO()
                out.write(header)
                schemaless_writer(out, headline_schema, headline)
                produce(topic, out.getvalue(), key, -1, None, None, timestamp)

    return step, _nothing


def _convert(producer: Producer, job: dict[str, Any]) -> tuple[Step, Callable[[], None]]:
    source, output = contracts(job)
    produce, topic = producer.produce, job["output"]["topic"]
    power_schema, stored_schema, header = source.schema, output.schema, output.header

    def step(messages: list[Message]) -> None:
        for message in messages:
            power: Any = schemaless_reader(BytesIO(message.value()[HEADER:]), power_schema)
            out = BytesIO()
            out.write(header)
            stored = {"identifier": power["identifier"], "document": json.dumps(power)}
            schemaless_writer(out, stored_schema, stored)
            produce(topic, out.getvalue(), message.key(), -1, None, None, message.timestamp()[1])

    return step, _nothing


def _count(producer: Producer, job: dict[str, Any]) -> tuple[Step, Callable[[], None]]:
    """Count in a dict; it could be restored from its output, but is not."""
    source, _ = contracts(job)
    schema = source.schema
    counts: dict[str, int] = {}
    changed: set[str] = set()

    def step(messages: list[Message]) -> None:
        for message in messages:
            post: Any = schemaless_reader(BytesIO(message.value()[HEADER:]), schema)
            author = post["author"]
            counts[author] = counts.get(author, 0) + 1
            changed.add(author)

    return step, _publisher(producer, job, counts, changed)


def _group(producer: Producer, job: dict[str, Any]) -> tuple[Step, Callable[[], None]]:
    """The same by columns: pyruhvro decodes a batch, Arrow counts it."""
    source, text = contracts(job)[0], job["source"]["schema"]
    header = source.header
    counts: dict[str, int] = {}
    changed: set[str] = set()

    def step(messages: list[Message]) -> None:
        frames = [message.value() for message in messages]
        if not all(frame.startswith(header) for frame in frames):
            raise ValueError("another schema")
        batch = deserialize_array([frame[HEADER:] for frame in frames], text)
        found = batch["author"].value_counts()
        authors = found.field("values").to_pylist()
        for author, posts in zip(authors, found.field("counts").to_pylist(), strict=True):
            counts[author] = counts.get(author, 0) + posts
        changed.update(authors)

    return step, _publisher(producer, job, counts, changed)


def _publisher(
    producer: Producer, job: dict[str, Any], counts: dict[str, int], changed: set[str]
) -> Callable[[], None]:
    """Return what publishes the counts that changed since the last commit."""
    produce, topic, encode = producer.produce, job["output"]["topic"], contracts(job)[1].encode

    def publish() -> None:
        for author in changed:
            while True:
                try:
                    produce(topic, encode({"author": author, "posts": counts[author]}), author.encode())
                except BufferError:
                    producer.poll(0.01)
                else:
                    break
        changed.clear()

    return publish


def _nothing() -> None:
    pass


STEPS = {
    "map": _map,
    "poison": _map,
    "filter": _filter,
    "fan_out": _fan_out,
    "convert": _convert,
    "count": _count,
    "group": _group,
}


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
    loop = Loop(json.load(sys.stdin))

    def stop(_number: int, _frame: object) -> None:
        loop.stopped = True

    signal.signal(signal.SIGTERM, stop)
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # as the toolkit's worker does
    loop.run()


if __name__ == "__main__":
    main()
