"""Where partitions end, asked from time to time: a consumer learns that only of what it fetches.

What is held, restored or stuck is not fetched, and that is when people look at its lag.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from streams.errors import StreamsError
from streams.record import TopicPartition

EVERY = 2.0  # seconds
RESTS = 20  # times what a look costs: of a thousand partitions it is tens of milliseconds of CPU


class EndWatch(threading.Thread):
    """Asks Kafka for the ends of some partitions, in a thread of its own: the answer may take long."""

    def __init__(
        self,
        partitions: Callable[[], Iterable[TopicPartition]],
        ask: Callable[[Iterable[TopicPartition]], Mapping[TopicPartition, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ask` may raise StreamsError; it is called for what `partitions` names then."""
        super().__init__(name="end-watch", daemon=True)
        self._partitions = partitions
        self._ask = ask
        self._clock = clock
        self._ended = threading.Event()
        self._unanswered_since: float | None = None
        self.ends: Mapping[TopicPartition, int] = {}
        """The newest answer; replaced and never changed, so any thread may read it."""

    @property
    def unanswered(self) -> float:
        """For how many seconds Kafka has not answered."""
        since = self._unanswered_since
        return 0.0 if since is None else self._clock() - since

    def run(self) -> None:
        """Ask until it is closed; the thread's own."""
        cost = 0.0
        while not self._ended.wait(max(EVERY, RESTS * cost)):
            before = time.thread_time()
            self.look()
            cost = time.thread_time() - before

    def close(self) -> None:
        """Ask no more."""
        self._ended.set()

    def look(self) -> None:
        """Ask once."""
        partitions, asked_at = list(self._partitions()), self._clock()
        try:
            self.ends = self._ask(partitions) if partitions else {}
            self._unanswered_since = None
        except StreamsError:
            self._unanswered_since = asked_at if self._unanswered_since is None else self._unanswered_since
