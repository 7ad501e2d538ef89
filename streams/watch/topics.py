"""Whether a worker's topics are still there and may be used: a client that waits for one waits in silence.

A consumer is not told of a topic that was deleted (90 s waited), and a producer waits for it until its transaction is
out of time. A fresh process would only meet the same again, so it is people who have to hear of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from streams.errors import IncompatibleError, StreamsError

EVERY = 10.0  # seconds
AGAIN = 1.0


class TopicWatch(threading.Thread):
    """Looks from time to time, in a thread of its own; what is wrong at two looks in a row is told."""

    def __init__(self, there: Callable[[], None], as_declared: Callable[[], None], every: float = EVERY) -> None:
        """`there` raises IncompatibleError where topics are missing or forbidden, `as_declared` also if they differ.

        Both may raise other StreamsErrors where Kafka does not answer.
        """
        super().__init__(name="topic-watch", daemon=True)
        self._there = there
        self._as_declared = as_declared
        self._every = every
        self._found: IncompatibleError | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until something is wrong or it is closed; the thread's own."""
        while self._found is None and not self._ended.wait(self._every):
            self._found = self._wrong(self._there)

    def close(self) -> None:
        """Look no more."""
        self._ended.set()

    def tell(self) -> None:
        """Tell what was found wrong.

        Raises:
            IncompatibleError: the worker cannot go on until somebody mends it.
        """
        if self._found is not None:
            raise self._found

    def examine(self) -> None:
        """Look now, because something failed that is no record's fault.

        Raises:
            IncompatibleError: this is why.
        """
        self._found = self._found or self._wrong(self._as_declared)
        self.tell()

    def _wrong(self, look: Callable[[], None]) -> IncompatibleError | None:
        """Look twice: brokers hear of a new topic one after the other."""
        found = _look(look)
        if found is None or self._ended.wait(AGAIN):
            return None
        return _look(look)


def _look(look: Callable[[], None]) -> IncompatibleError | None:
    try:
        look()
    except IncompatibleError as found:
        return found
    except StreamsError:  # then that is what is wrong, and others tell of it
        return None
    return None
