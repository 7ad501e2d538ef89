"""Telling of refused records in the log: enough to see what is wrong, never a flood."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from streams.errors import RecordError
from streams.policy import describe
from streams.record import RawRecord

_log = structlog.get_logger(__name__)

MOST = 5  # of each interval; the counts say how many there were
INTERVAL = 10.0  # seconds

Refusal = tuple[RawRecord, RecordError]


class RefusalLog:
    """Logs where refused records lie and why, with the traceback of the first that a handler raised for."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self._told = 0
        self._traced = False

    def tell(self, refusals: Sequence[Refusal]) -> None:
        """Log the first refusals of each interval."""
        if self._clock() - self._since >= INTERVAL:
            self._since, self._told = self._clock(), 0
        for record, error in refusals[: MOST - self._told]:
            self._told += 1
            first = error.__cause__ is not None and not self._traced
            self._traced = self._traced or first
            _log.warning(
                "record refused",
                stage=error.stage,
                error=describe(error),
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                exc_info=error.__cause__ if first else None,
            )
