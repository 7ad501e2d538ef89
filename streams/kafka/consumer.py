"""Reading: the group's consumer, and the assign-only reader of changelogs and tables."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Assigned

from streams.errors import AbortedError, FencedError, IncompatibleError
from streams.kafka.config import Config
from streams.kafka.errors import error_of, made, translate
from streams.record import Polled, Positions, RawRecord, TopicPartition, as_records, runs

_log = structlog.get_logger(__name__)

_UNKNOWN = object()
_METADATA_WAIT = 5.0  # seconds


class Listener(Protocol):
    """Told of every change of the assignment, from inside `poll`, on the same thread.

    `on_assigned` has to call `assign`. An error that it raises comes out of `poll`.
    """

    def on_assigned(self, partitions: list[TopicPartition]) -> None:
        """Take over partitions."""

    def on_revoked(self, partitions: list[TopicPartition]) -> None:
        """Commit and give up partitions."""

    def on_lost(self, partitions: list[TopicPartition]) -> None:
        """Give up partitions that somebody else may own already; nothing of them may be committed."""


class GroupConsumer:
    """The consumer of one slot in its group. Not thread-safe."""

    def __init__(self, config: Config, linger: float = 0.0) -> None:
        """`linger` is how many seconds a poll that may wait waits for more records than the first."""
        self._linger = linger
        self._servers = config["bootstrap.servers"]
        self._remedy = _GO_ON.format(group=config["group.id"])
        self._consumer = made(Consumer, config)
        self._raised: BaseException | None = None

    def subscribe(self, topic: str, listener: Listener) -> None:
        """Join the group for a topic; the listener hears of it in `poll`."""
        self._consumer.subscribe(
            [topic],
            on_assign=lambda _, assigned: self._tell(listener.on_assigned, assigned),
            on_revoke=lambda _, assigned: self._give_up(listener.on_revoked, assigned),
            on_lost=lambda _, assigned: self._give_up(listener.on_lost, assigned),
        )

    def poll(self, most: int, timeout: float) -> Polled:
        """Wait up to `timeout` seconds for a first record, then take what is there or comes soon, `most` at the most.

        Raises:
            StreamsError: the consumer cannot go on; also whatever the listener raised.
        """
        messages = self._consumer.consume(1, timeout)
        if messages and most > 1:
            messages += self._consumer.consume(most - 1, self._linger if timeout else 0)
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised
        return _polled(messages, self._servers, self._remedy)

    def committed(self, partitions: Iterable[TopicPartition], timeout: float) -> dict[TopicPartition, int | None]:
        """Return the group's committed offsets, waiting until the transactions of previous owners are decided.

        Raises:
            FencedError: that did not happen within `timeout` seconds.
        """
        asked = [Assigned(tp.topic, tp.partition) for tp in partitions]
        try:
            answered = self._consumer.committed(asked, timeout)
        except KafkaException as raised:
            raise self._no_offsets(error_of(raised)) from raised
        failed = next((tp.error for tp in answered if tp.error is not None), None)
        if failed is not None:  # not to be taken for a partition without an offset
            raise self._no_offsets(failed)
        return {_key(tp): tp.offset if tp.offset >= 0 else None for tp in answered}

    def _no_offsets(self, error: KafkaError) -> FencedError:
        return FencedError(
            f"the committed offsets are not to be had: {error.str()}",
            where=f"bootstrap_servers {self._servers}",
            fix="a fresh worker asks again; a transaction of the owner before may still be open",
        )

    def assign(self, positions: Positions) -> None:
        """Begin to read more partitions, each at its position."""
        at = _at(positions)
        self._consumer.incremental_assign(at)
        self._consumer.resume(at)  # a pause of an earlier life survives (measured)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop delivering partitions that stay assigned."""
        self._consumer.pause([Assigned(*tp) for tp in partitions])

    def restart(self, positions: Positions) -> None:
        """Read assigned partitions from these positions, whether paused or not; what was fetched of them is dropped.

        The order wakes the fetcher: after a seek that precedes the resume it may sleep for another second (measured).
        """
        at = _at(positions)
        self._consumer.resume(at)
        for partition in at:
            self._consumer.seek(partition)

    def group_metadata(self) -> Any:
        """Return the member's generation, without which a transaction's offsets are not fenced."""
        return self._consumer.consumer_group_metadata()

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit offsets as a member of the group, and wait for the answer.

        Raises:
            AbortedError: they were not committed, or that is not known; the partitions may have another owner by now.
            FencedError: somebody else has this member's id.
        """
        asked = [Assigned(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        try:
            answered = self._consumer.commit(offsets=asked, asynchronous=False)
        except KafkaException as raised:
            raise self._not_committed(error_of(raised)) from raised
        failed = next((tp.error for tp in answered or () if tp.error is not None), None)
        if failed is not None:
            raise self._not_committed(failed)

    def _not_committed(self, error: KafkaError) -> AbortedError | FencedError:
        told = f"the offsets could not be committed: {error.str()}"
        if error.fatal() or error.code() == KafkaError.FENCED_INSTANCE_ID:
            return FencedError(told, where=f"bootstrap_servers {self._servers}")
        return AbortedError(told)

    def close(self) -> None:
        """Leave; as a static member the partitions stay reserved for one session timeout."""
        self._consumer.close()

    def _tell(self, callback: Any, assigned: list[Assigned]) -> None:
        try:
            callback([_key(tp) for tp in assigned])
        except BaseException as raised:  # noqa: BLE001 - an error in here must not pass through C; poll raises it
            self._raised = self._raised or raised

    def _give_up(self, callback: Any, assigned: list[Assigned]) -> None:
        self._tell(callback, assigned)
        self._consumer.incremental_unassign(assigned)


def share_anew(config: Config, topic: str, timeout: float) -> None:
    """Have a group share its partitions anew: a member without a lasting name joins and leaves, and reads nothing.

    It gives up after `timeout` seconds.
    """
    told: list[Any] = []
    consumer = made(Consumer, {name: value for name, value in config.items() if name != "group.instance.id"})
    deadline = time.monotonic() + timeout
    try:
        consumer.subscribe([topic], on_assign=lambda _, assigned: told.append(assigned))
        while not told and time.monotonic() < deadline:
            consumer.poll(0.1)
    finally:
        consumer.close()


class Reader:
    """Reads partitions that it is told to, outside any group. Not thread-safe."""

    def __init__(self, config: Config) -> None:
        self._servers = config["bootstrap.servers"]
        self._consumer = made(Consumer, config)
        self._positions: dict[TopicPartition, object] = {}

    def follow(self, positions: Positions) -> None:
        """Read these partitions too; the ones that are read already are not disturbed."""
        for topic in {tp.topic for tp in positions} - {tp.topic for tp in self._positions}:
            self._consumer.list_topics(
                topic, _METADATA_WAIT
            )  # or the first record comes half a second later (measured)
        self._positions.update(positions)
        self._consumer.incremental_assign(_at(positions))

    def unfollow(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these partitions no longer."""
        dropped = [tp for tp in partitions if self._positions.pop(tp, _UNKNOWN) is not _UNKNOWN]
        if dropped:
            self._consumer.incremental_unassign([Assigned(*tp) for tp in dropped])

    def poll(self, most: int, timeout: float) -> Polled:
        """Take what is there, waiting up to `timeout` seconds for the first record."""
        if not self._positions:
            return Polled([], {})
        messages = self._consumer.consume(1, timeout)
        if messages and most > 1:
            messages += self._consumer.consume(most - 1, 0)
        polled = _polled(messages, self._servers, _START_AGAIN)
        records: list[RawRecord] = []
        for source, run in runs(polled.records):
            if source in self._positions:
                self._positions[source] = run[-1].offset + 1
                records += run
        ends = {tp: end for tp, end in polled.ends.items() if tp in self._positions}
        self._positions.update(ends)
        return Polled(records, ends)

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()


def _key(assigned: Assigned) -> TopicPartition:
    return TopicPartition(assigned.topic, assigned.partition)


def _at(positions: Positions) -> list[Assigned]:
    return [
        Assigned(tp.topic, tp.partition, OFFSET_BEGINNING if position is None else position)
        for tp, position in positions.items()
    ]


def _polled(messages: list[Message], servers: object, remedy: str) -> Polled:
    ends: dict[TopicPartition, int] = {}
    told = [message for message in messages if message.error() is not None]
    if told:
        messages = [message for message in messages if message.error() is None]
    for message in told:
        error = message.error()
        if error.code() == KafkaError._PARTITION_EOF:
            ends[TopicPartition(message.topic(), message.partition())] = message.offset()
        else:
            _answer(error, message, servers, remedy)
    rows = [
        (
            message.topic(),
            message.key(),
            message.value(),
            message.timestamp()[1],
            message.partition(),
            message.offset(),
            tuple(headers) if (headers := message.headers()) else (),
        )
        for message in messages
    ]
    return Polled(list(as_records(rows)), ends)


def _answer(error: KafkaError, message: Message, servers: object, remedy: str) -> None:
    """Raise what cannot pass; log what librdkafka goes on retrying by itself."""
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise IncompatibleError(
            f"the offset to read from no longer exists: {error.str()}",
            where=f"{message.topic()}[{message.partition()}]",
            fix=remedy,
        )
    if error.fatal() or error.code() in _FOR_GOOD:
        raise translate(error, f"reading {message.topic()}", servers)
    _log.warning("kafka is not answering", reason=error.str(), code=error.name())


_GO_ON = (
    "records were deleted before they were read; `streams group reset {group} --to committed` shows what is lost, "
    "and with --execute goes on with the first record that is left"
)
_START_AGAIN = "records were deleted while they were read; start it again"

_FOR_GOOD = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
