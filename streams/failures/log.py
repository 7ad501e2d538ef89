"""Telling of failed records in the log: enough to see what is wrong, never a flood."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from streams.failures.dead_letters import describe
from streams.failures.failures import Told

_log = structlog.get_logger(__name__)

MOST = 5  # of each interval; the counts say how many there were
INTERVAL = 10.0  # seconds


class FailureLog:
    """Logs where records lie that failed, why, and what became of them; with one traceback of a handler."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self._told = 0
        self._traced = False

    def tell(self, failed: Sequence[Told]) -> None:
        """Log the first failures of each interval."""
        if self._clock() - self._since >= INTERVAL:
            self._since, self._told = self._clock(), 0
        for record, error, outcome in failed[: MOST - self._told]:
            self._told += 1
            first = error.__cause__ is not None and not self._traced
            self._traced = self._traced or first
            _log.warning(
                "record failed",
                outcome=outcome,
                stage=error.stage,
                error=describe(error),
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                exc_info=error.__cause__ if first else None,
            )
