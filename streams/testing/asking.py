"""Asking in a cluster in memory, as one instance of a `Requester` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from streams.errors import ReplyTimeoutError, UsageError
from streams.requests.replies import CORRELATION_ID, Address, reply_topic
from streams.testing.memory import Log
from streams.topic import Topic
from streams.topology import Processor, TopicSpec

STEPS = 20  # in which time passes while a reply does not come
INSTANCE = "0000000000000-000000000000"


class Asker:
    """Has a reply topic for each topic that it asks in, and counts its questions."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._questions = 0

    def question(self, requests: str) -> Address:
        """Begin a question."""
        topic = reply_topic(requests, INSTANCE)
        self._log.create(TopicSpec(topic, 1, {}))
        self._questions += 1
        return Address(topic, str(self._questions).encode())

    def reply(self, asked: Address, advance: Callable[[timedelta], None], timeout: timedelta) -> bytes:
        """Return the committed reply to a question; let time pass until it is there.

        Raises:
            ReplyTimeoutError: it did not come in time.
        """
        header = (CORRELATION_ID, asked.correlation_id)
        for step in range(STEPS + 1):
            if step:
                advance(timeout / STEPS)
            for record in self._log.committed(asked.topic):
                if header in record.headers and record.value is not None:
                    return record.value
        raise ReplyTimeoutError(f"no reply in {asked.topic} within {timeout}")


def replying(processors: Iterable[Processor], requests: Topic[Any]) -> Topic[Any]:
    """Return what stands for the replies to requests of a topic.

    Raises:
        UsageError: nobody replies.
    """
    found = next((one.reply for one in processors if one.reply and one.source.name == requests.name), None)
    if found is None:
        raise UsageError(
            f"no processor replies to requests in {requests.name}", fix="declare it with @app.processor(…, reply=…)"
        )
    return found
