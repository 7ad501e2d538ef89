"""The Faust app around a processor: its consumer, one agent over raw bytes, its producer; nothing else is switched on.

Acknowledgements are not Faust's: it commits past records that are not finished (faust-streaming issues 527 and 606).
The topic is read without them, and the worker commits its own table of `offset + 1` through Faust's consumer (INV-10).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import faust
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from faust.exceptions import ProducerSendError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, Message

from streams.errors import FencedError, SendError
from streams.faust_engine import clients
from streams.faust_engine.host import Host
from streams.kafka.admin import partition_of
from streams.record import UNSET, RawRecord, Record, TopicPartition
from streams.settings import Settings
from streams.topology import Processor

BUFFER = 10_000  # records of all partitions between Faust's consumer and ours
MOST_REQUEST_BYTES = 64 << 20  # a topic's own limit decides
FRAMING_BYTES = 128  # what a record and its batch take besides key, value and headers, at the most
_HALF_MILLISECOND = 0.0005
_RECORD_FAULTS = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidTimestampError)


class _CommittedReads(AIOKafkaConsumerThread):
    """Faust reads what was rolled back too, unless it runs transactions of its own."""

    def _create_worker_consumer(self, transport: Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # noqa: SLF001 - there is no setting for it
        return consumer


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _CommittedReads(self, loop=self.loop, beacon=self.beacon)


class _Transport(Transport):
    Consumer = _Consumer


def faust_app(processor: Processor, settings: Settings, client_id: str, folder: Path) -> faust.App:
    """Make the app of one processor; its id is the processor's group, so the committed offsets are the same.

    Raises:
        UsageError: a setting of the clients has no counterpart in Faust.
    """
    session = settings.session_timeout.total_seconds()
    app = faust.App(
        processor.group,
        broker=clients.broker(settings),
        broker_credentials=clients.credentials(settings.kafka),
        broker_client_id=client_id,
        broker_session_timeout=session,
        broker_heartbeat_interval=min(1.0, session / 3),
        broker_request_timeout=max(90.0, session),
        broker_max_poll_interval=settings.max_poll_interval.total_seconds(),
        broker_max_poll_records=settings.poll_records,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 << 20,
        producer_partitioner=partitioned,
        producer_max_request_size=MOST_REQUEST_BYTES,
        stream_buffer_maxsize=BUFFER,
        stream_wait_empty=False,
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        autodiscover=False,
        web_enabled=False,
        store="memory://",
        datadir=folder,
    )
    app.transport = _Transport(app.conf.broker_consumer, app)
    return app


def raw_topic(app: faust.App, name: str) -> Any:
    """Return a topic of bytes; Faust neither decodes nor acknowledges its records."""
    return app.topic(name, acks=False, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


def raw_record(message: Message) -> RawRecord:
    """Return a record as it was read; Faust's timestamps are seconds."""
    timestamp = UNSET if message.timestamp is None else round(message.timestamp * 1000)
    given: Any = message.headers or ()
    headers = tuple(given.items() if isinstance(given, Mapping) else given)
    return Record(message.topic, message.key, message.value, timestamp, message.partition, message.offset, headers)


def partitioned(key: bytes | None, everyone: Sequence[int], available: Sequence[int]) -> int:
    """Choose a record's partition as the native engine does: by murmur2, at random without a key."""
    return random.choice(available or everyone) if key is None else partition_of(key, len(everyone))  # noqa: S311 - no secret


class Outlet(NamedTuple):
    """Sends through an app's producer; `limits` are the bytes that each topic takes, `compacted` those that need keys.

    Both are looked at before anything is sent: what a broker refuses may take others of its batch along.
    """

    app: faust.App
    limits: Mapping[str, int]
    compacted: frozenset[str]

    async def send(self, records: Sequence[RawRecord]) -> None:
        """Send records in their order and wait until the brokers have all of them (INV-2).

        Raises:
            SendError: one of them is refused for good; the others may have been sent.
            FencedError: they were not delivered, which is no record's fault.
        """
        for record in records:
            self._check(record)
        sent = [(record.topic, await self._hand_over(record)) for record in records]
        failed: FencedError | SendError | None = None
        for topic, delivery in sent:
            try:
                await delivery
            except KafkaError as error:
                failed = failed if isinstance(failed, SendError) else _refused(topic, error)
        if failed is not None:
            raise failed

    async def _hand_over(self, record: RawRecord) -> Awaitable[Any]:
        headers: Any = list(record.headers)  # its hints know no header without a value
        try:
            return await self.app.producer.send(
                record.topic,
                record.key,
                record.value,
                None if record.partition == UNSET else record.partition,
                record.timestamp_ms / 1000 + _HALF_MILLISECOND,  # Faust cuts off what is behind the millisecond
                headers,
            )
        except ProducerSendError as error:
            raise _refused(record.topic, error.__cause__ or error) from error

    def _check(self, record: RawRecord) -> None:
        if record.key is None and record.value is None:
            raise SendError("Faust's producer sends no record that has neither key nor value", topic=record.topic)
        if record.key is None and record.topic in self.compacted:
            raise SendError("a compacted topic takes no record without a key", topic=record.topic)
        headers = sum(len(name) + len(value or b"") + 4 for name, value in record.headers)
        size = len(record.key or b"") + len(record.value or b"") + headers + FRAMING_BYTES
        limit = self.limits.get(record.topic, MOST_REQUEST_BYTES)
        if size > limit:
            raise SendError(
                f"a record of {size:,} bytes, and the topic takes {limit:,}",
                topic=record.topic,
                fix=f"raise max.message.bytes of {record.topic}",
            )


def _refused(topic: str, error: BaseException) -> SendError | FencedError:
    told = str(error) or type(error).__name__
    if isinstance(error, _RECORD_FAULTS):
        return SendError(told, topic=topic, fix=f"look at the settings of {topic}")
    return FencedError(f"an output for {topic} was not delivered: {told}", fix="a fresh worker sends it again")


async def commit(app: faust.App, offsets: Mapping[TopicPartition, int]) -> bool:
    """Commit offsets as a member of the group; False if the partitions are somebody else's by now."""
    consumer: Any = app.consumer
    return bool(await consumer._commit({TP(*tp): offset for tp, offset in offsets.items()}))  # noqa: SLF001 - ADR 15


async def position(app: faust.App, source: TopicPartition) -> int | None:
    """Return the next offset that is fetched of a partition."""
    found: int | None = await app.consumer.position(TP(*source))
    return found


def why_ended(app: faust.App, starting: asyncio.Task[None]) -> BaseException | None:
    """Return what ended Faust, or its membership of the group, which it does not tell of; None while it goes on."""
    consumer: Any = app.consumer
    client = consumer._thread._consumer  # noqa: SLF001 - there is no other way to it
    joining = getattr(getattr(client, "_coordinator", None), "_coordination_task", None)
    failed = next((task.exception() for task in (starting, joining) if task and _failed(task)), None)
    return failed or (app.crash_reason if app.crashed else None)


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


def press(app: faust.App, source: TopicPartition, *, full: bool) -> None:
    """Have Faust fetch no more of a partition, or again."""
    tell = app.consumer.on_buffer_full if full else app.consumer.on_buffer_drop
    tell(TP(*source))


def connect(app: faust.App, topic: str, host: Host, name: str) -> None:
    """Have Faust hand the records of a topic over, and tell of rebalances."""

    async def take(stream: Any) -> None:
        try:
            async for event in stream.noack().events():
                if event.message.generation_id == app.consumer_generation_id:  # else it was read before a rebalance
                    host.receive(raw_record(event.message))
        except Exception as error:
            host.fail(error)  # or Faust would start the agent again, behind the record
            raise

    async def assigned(_app: Any, partitions: Iterable[Any], **_: Any) -> None:
        host.assigned(TopicPartition(one.topic, one.partition) for one in partitions)

    async def revoked(_app: Any, _partitions: Iterable[Any], **_: Any) -> None:
        await host.revoked()

    app.agent(raw_topic(app, topic), name=name)(take)
    signals: Any = app
    signals.on_partitions_assigned.connect(assigned)
    signals.on_partitions_revoked.connect(revoked)
