"""Asking a processor over topics and waiting for its reply: for web requests and scripts."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from concurrent.futures import Future
from datetime import timedelta
from types import TracebackType
from typing import Generic, Self, TypeVar

import structlog

from streams.avro.codec import Codec
from streams.avro.model import schema_of
from streams.avro.registry import Registry
from streams.duration import duration
from streams.errors import ReplyTimeoutError, StreamsError, UnknownSchemaError, UsageError
from streams.kafka.asking import ReplyBox
from streams.local import default_settings
from streams.record import RawRecord, Record
from streams.requests.questions import Questions, RequestCounts
from streams.requests.replies import Address, made_at, reply_topic, request_headers
from streams.settings import Settings, require
from streams.topic import Topic, check_topic_name

Q = TypeVar("Q")
A = TypeVar("A")

BEAT = 60.0  # seconds between two signs of life in the reply topic
POLL = 0.1  # seconds without a reply; a failed request is told, and the end noticed, that much later
ABANDONED = 10 * BEAT  # without one the instance is dead, and another one removes its topic

_log = structlog.get_logger(__name__)


class Requester(Generic[Q, A]):
    """Sends requests to a topic and returns the replies of the processor that reads it with `reply=`. Thread-safe.

    The replies come to a topic that this instance makes for itself and deletes in `close`. A request is carried out
    once at least, even if nobody waits for its reply any more. Make one for the life of a process, after any fork.
    """

    def __init__(
        self, requests: Topic[Q], reply: type[A], settings: Settings | None = None, *, timeout: str | timedelta = "10s"
    ) -> None:
        """Connect, make the reply topic, and remove those of instances that died; `timeout` is for asks that name none.

        Without `settings`, those of the environment and `streams.toml` hold, else the local cluster of this folder.

        Raises:
            UsageError: nothing names a cluster, or a name would be too long.
            StreamsError: Kafka or the registry does not answer, or a contract is not registered.
        """
        self._timeout = duration(timeout).total_seconds()
        settings = settings or default_settings()
        instance = f"{time.time_ns() // 1_000_000}-{uuid.uuid4().hex[:12]}"
        self.reply_topic = reply_topic(requests.name, instance)
        check_topic_name(self.reply_topic)
        self._topic = requests
        self._key_of = requests.key_of()
        self._registry = Registry(require(settings.schema_registry_url, "schema_registry_url"))
        self._requests = Codec(requests.model, self._registry.lookup(requests.subject, schema_of(requests.model).text))
        self._replies = Codec(reply)
        self._codecs = threading.Lock()  # a codec is of one thread at a time
        self._questions = Questions()
        self._stopped: StreamsError | None = None
        self._box = ReplyBox(settings, self.reply_topic, requests.name)
        self._sweep()
        self._reading = threading.Thread(target=self._read, name="replies", daemon=True)
        self._reading.start()

    @property
    def counts(self) -> RequestCounts:
        """What became of the requests until now."""
        return self._questions.counts()

    def ask(self, value: Q, timeout: str | timedelta | None = None) -> A:
        """Send a request and wait for the reply.

        Raises:
            ReplyTimeoutError: none came in time; the request may be carried out all the same.
            EncodeError: the value does not fit the contract; nothing was sent.
            DecodeError: the reply is not of the declared model.
            StreamsError: Kafka refuses the request, or the requester is closed.
        """
        seconds = self._seconds(timeout)
        question, reply = self._send(value)
        try:
            return self._decode(reply.result(seconds))
        except TimeoutError:
            raise self._too_late(seconds) from None
        finally:
            self._questions.give_up(question)

    async def ask_async(self, value: Q, timeout: str | timedelta | None = None) -> A:  # noqa: ASYNC109 - as in `ask`
        """Send a request and wait for the reply, as `ask` does, without blocking the event loop."""
        seconds = self._seconds(timeout)
        question, reply = self._send(value)
        try:
            async with asyncio.timeout(seconds):
                record = await asyncio.wrap_future(reply)
        except TimeoutError:
            raise self._too_late(seconds) from None
        finally:
            self._questions.give_up(question)
        return await asyncio.to_thread(self._decode, record)

    def close(self) -> None:
        """Stop; whoever waits is told. The reply topic is deleted, unless replies may still come.

        One that vanishes just when a reply is written costs the processor a transaction; it is left for a later start.
        """
        outstanding = self._questions.outstanding()
        self._stop(UsageError("the requester is closed", fix="ask before it is closed"))
        self._reading.join()
        if outstanding:
            _log.info("reply topic left for late replies", topic=self.reply_topic, outstanding=outstanding)
        self._box.close(delete=not outstanding)

    def __enter__(self) -> Self:
        """Be used as a block, at whose end it is closed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _send(self, value: Q) -> tuple[bytes, Future[RawRecord]]:
        with self._codecs:
            (frame,) = self._requests.encode([value])
            key = self._key_of(value)
        question, reply = self._questions.ask()
        headers = request_headers(Address(self.reply_topic, question))
        record: RawRecord = Record(self._topic.name, key, frame, time.time_ns() // 1_000_000, headers=headers)
        try:
            if self._stopped is not None:  # looked at behind `ask`, so that `_stop` misses no question
                raise self._stopped
            self._box.send(record, lambda error: self._questions.fail(question, error))
        except StreamsError as error:
            self._questions.fail(question, error)
        return question, reply

    def _decode(self, record: RawRecord) -> A:
        frame = record.value or b""
        with self._codecs:
            try:
                return self._replies.decode([frame])[0]
            except UnknownSchemaError as unknown:
                schema_id = unknown.schema_id
        text = self._registry.schema(schema_id)
        with self._codecs:
            self._replies.learn(schema_id, text)
            return self._replies.decode([frame])[0]

    def _seconds(self, timeout: str | timedelta | None) -> float:
        return self._timeout if timeout is None else duration(timeout).total_seconds()

    def _too_late(self, seconds: float) -> ReplyTimeoutError:
        return ReplyTimeoutError(f"no reply to a request in {self._topic.name} within {seconds:g} s")

    def _read(self) -> None:
        """Bring replies to those who wait, until it is stopped."""
        beat = time.monotonic()
        while self._stopped is None:
            try:
                self._questions.answer(self._box.poll(POLL))
                if time.monotonic() - beat >= BEAT:
                    beat = time.monotonic()
                    self._box.beat()
            except StreamsError as error:
                _log.exception("replies cannot be read any more", topic=self.reply_topic)
                self._stop(error)

    def _stop(self, error: StreamsError) -> None:
        self._stopped = self._stopped or error
        self._questions.fail_all(error)

    def _sweep(self) -> None:
        """Remove the reply topics of instances that died."""
        since = self._box.broker_ms - int(ABANDONED * 1000)
        try:
            old = [name for name in self._box.topics() if (made_at(name, self._topic.name) or since) < since]
            dead = self._box.abandoned(old, since)
            if dead:
                self._box.delete(dead)
                _log.info("reply topics of dead instances removed", topics=dead)
        except StreamsError as error:  # another instance does the same, perhaps
            _log.warning("reply topics of dead instances were not removed", reason=str(error))
