"""Replies go out only to instances that are still there: a record for a topic that is gone would stop the producer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from streams.errors import AbortedError, StreamsError
from streams.ports import Output
from streams.record import RawRecord
from streams.requests.replies import made_at
from streams.topology import Processor

_log = structlog.get_logger(__name__)

MOST_REMEMBERED = 1000  # topics that are gone; each is told once


class ReplyGate:
    """A producer that drops replies to topics that do not exist, and passes everything else on."""

    def __init__(self, producer: Output, requests: str, existing: Callable[[Iterable[str]], set[str]]) -> None:
        """`requests` is the topic whose requests are answered; `existing` says which topics there are now."""
        self._producer = producer
        self._requests = requests
        self._existing = existing
        self._told: set[str] = set()
        self.send_tracked = producer.send_tracked
        self.flush = producer.flush
        self.commit = producer.commit
        self.abort = producer.abort

    def send(self, records: list[RawRecord]) -> None:
        """Hand records over, after a question to Kafka where replies are among them.

        Raises:
            AbortedError: Kafka did not answer it.
        """
        asking = {record.topic for record in records if made_at(record.topic, self._requests) is not None}
        if asking:
            try:
                gone = asking - self._existing(asking)
            except StreamsError as error:
                raise AbortedError(f"replies could not be sent: {error.what}") from error
            records = [record for record in records if record.topic not in gone]
            self._tell(gone - self._told)
        self._producer.send(records)

    def _tell(self, gone: set[str]) -> None:
        if gone:
            _log.warning("replies dropped: whoever asked is gone", topics=sorted(gone))
            self._told = self._told | gone if len(self._told) < MOST_REMEMBERED else gone


def gated(processor: Processor, producer: Output, existing: Callable[[Iterable[str]], set[str]]) -> Output:
    """Return the producer of a processor's worker: with a gate if the processor replies."""
    return producer if processor.reply is None else ReplyGate(producer, processor.source.name, existing)
