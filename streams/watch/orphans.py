"""Partitions that nobody owns although their group is at rest.

A cooperative rebalance has two rounds: members give partitions up and say so, then others get them. A worker that dies
between the two comes back as the same static member; the broker lets it in without another round, and what it gave up
belongs to nobody until the next one, which may never come (seen with Kafka 4.3 and librdkafka 2.16).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import structlog

from streams.errors import StreamsError
from streams.record import TopicPartition

_log = structlog.get_logger(__name__)

Owners = Callable[[], dict[str, list[TopicPartition]] | None]


class OrphanWatch(threading.Thread):
    """Looks for orphans from time to time, in a thread of its own, and has the group share its partitions anew."""

    def __init__(
        self,
        me: str,
        partitions: Iterable[TopicPartition],
        owners: Owners,
        share_anew: Callable[[], None],
        every: float,
    ) -> None:
        """Look every so many seconds; what nobody owns at two looks in a row is an orphan.

        `owners` names the group's members with their partitions, or answers None while the group is not at rest. Only
        the first of them by name, `me` perhaps, calls `share_anew`.
        """
        super().__init__(name="orphan-watch", daemon=True)
        self._me = me
        self._partitions = set(partitions)
        self._owners = owners
        self._share_anew = share_anew
        self._every = every
        self._seen: set[TopicPartition] = set()
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until it is closed; the thread's own."""
        while not self._ended.wait(self._every):
            try:
                self.look()
            except StreamsError as error:
                _log.warning("owners are not to be had", reason=error.what)

    def close(self) -> None:
        """Look no more."""
        self._ended.set()

    def look(self) -> None:
        """Look once.

        Raises:
            StreamsError: Kafka does not answer.
        """
        owners = self._owners()
        before, self._seen = self._seen, set()
        if not owners or min(owners) != self._me:
            return
        self._seen = self._partitions - {partition for owned in owners.values() for partition in owned}
        orphans = before & self._seen
        if orphans:
            _log.warning("partitions without an owner, sharing anew", partitions=sorted(p.partition for p in orphans))
            self._seen = set()
            self._share_anew()
