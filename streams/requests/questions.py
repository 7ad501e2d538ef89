"""The questions of one instance: each has an id, and somebody who waits for its reply. Thread-safe, without I/O."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable
from concurrent.futures import Future
from typing import NamedTuple

from streams.errors import StreamsError
from streams.record import RawRecord
from streams.requests.replies import CORRELATION_ID

MOST_WAITING = 10_000
MOST_REMEMBERED = 10_000  # ids whose time was over; a reply to an older one counts as unknown

_NEVER = object()


class RequestCounts(NamedTuple):
    """What became of the requests of one instance: `asked` = `answered` + `given_up` + `failed` + `waiting`.

    Nobody waits any more for those `given_up`, and `late` replies came to them all the same; `unknown` ones came to no
    question of this instance, or to an answered one.
    """

    asked: int
    answered: int
    given_up: int
    failed: int
    waiting: int
    late: int
    unknown: int


class Questions:
    """Brings replies to those who wait for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[bytes, Future[RawRecord]] = {}
        self._given_up: dict[bytes, None] = {}
        self._asked = self._answered = self._abandoned = self._failed = self._late = self._unknown = 0

    def ask(self) -> tuple[bytes, Future[RawRecord]]:
        """Begin a question: its id, and what holds the reply later.

        Raises:
            StreamsError: too many wait already.
        """
        question, reply = uuid.uuid4().hex.encode(), Future[RawRecord]()
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                raise StreamsError(
                    f"{MOST_WAITING:,} requests wait for their replies",
                    fix="ask less at once, and look whether the processor keeps up",
                )
            self._waiting[question] = reply
            self._asked += 1
        return question, reply

    def answer(self, records: Iterable[RawRecord]) -> None:
        """Take replies; those that nobody waits for are counted and discarded."""
        for record in records:
            question = dict(record.headers).get(CORRELATION_ID) or b""
            with self._lock:
                reply = self._waiting.pop(question, None)
                if reply is None:
                    late = self._given_up.pop(question, _NEVER) is None
                    self._late += late
                    self._unknown += not late
                    continue
                self._answered += 1
            if reply.set_running_or_notify_cancel():
                reply.set_result(record)

    def give_up(self, question: bytes) -> None:
        """Wait no longer; a reply that comes all the same is late."""
        with self._lock:
            if self._waiting.pop(question, None) is None:
                return
            self._abandoned += 1
            self._given_up[question] = None
            if len(self._given_up) > MOST_REMEMBERED:
                del self._given_up[next(iter(self._given_up))]

    def fail(self, question: bytes, error: BaseException) -> None:
        """Tell whoever waits that the request could not be sent."""
        with self._lock:
            reply = self._waiting.pop(question, None)
            self._failed += reply is not None
        if reply is not None and reply.set_running_or_notify_cancel():
            reply.set_exception(error)

    def fail_all(self, error: BaseException) -> None:
        """Tell everybody who waits that no reply will come."""
        for question in list(self._waiting):
            self.fail(question, error)

    def counts(self) -> RequestCounts:
        """Return what became of the requests until now."""
        with self._lock:
            return RequestCounts(
                asked=self._asked,
                answered=self._answered,
                given_up=self._abandoned,
                failed=self._failed,
                waiting=len(self._waiting),
                late=self._late,
                unknown=self._unknown,
            )

    def outstanding(self) -> int:
        """Count the questions whose replies may still come."""
        with self._lock:
            return len(self._waiting) + len(self._given_up)
